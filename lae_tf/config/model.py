"""The section of a configuration that says what the model is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from lae_tf.config.section import Positive, Section, problem


class ModelConfig(Section):
    """Arguments of the model, lae_tf.LAE (docs/method.md)."""

    widths: Annotated[tuple[Annotated[int, Field(gt=0, le=4096)], ...], Field(min_length=1, max_length=10)] = (
        16,
        24,
        32,
        48,
    )
    """Channels of the encoder's stem and stages, two or more; the stride is 2 to the number of stages."""
    blocks: int = Field(1, ge=0, le=64)
    """Residual blocks per stage."""
    high_pass: bool = True
    """Give the stem fixed high-pass residuals beside RGB."""
    contrast: bool = True
    """Let every stage see how far its features are from their mean over the image."""
    self_correlation: bool = True
    """Give the stem a map of what the image repeats beside RGB."""
    trunk: Literal["efficientnet-lite0", "none"] = "efficientnet-lite0"
    """Pretrained network beside the encoder's own stages; none for the encoder alone."""
    trunk_weights: Literal["imagenet"] | None = "imagenet"
    """Weights that the trunk begins with: ImageNet's, from an installed package, or null for random ones."""
    head: Literal["lse", "gap", "split"] = "lse"
    """Pooling of the evidence: log-mean-exp or mean; split is ForensicTransfer's latent."""
    lse_sharpness: Positive = 2.0
    """r of the log-mean-exp pooling: towards 0 it is the mean, towards infinity the maximum."""
    attention: Literal["grad_cam", "cam"] = "grad_cam"
    """Where the attention comes from in training; cam is its closed form, for linear heads (lse, gap) only, which
    predictions use under either name."""
    attention_slope: Positive = 1.0
    """w of the attention's T(A) = sigmoid(w (A - t))."""
    attention_threshold: float = 2.0
    """t of T. A pixel is forged far more rarely than an image is fake: with 2, evidence of 0, where the decision is
    open, is 12 % attention."""

    @property
    def stride(self) -> int:
        """Pixels of the input for each cell of the features, a power of two."""
        return 2 ** (len(self.widths) - 1)

    @property
    def size_step(self) -> int:
        """Pixels that the side of the input must be a multiple of."""
        return self.stride if self.trunk == "none" else max(self.stride, 16)

    @model_validator(mode="before")
    @classmethod
    def of_older_versions(cls, values: Any) -> Any:
        """Return values that were written before there was a trunk as they are written now; others as they are.

        Raises:
            ValueError: they name a backbone.
        """
        if not isinstance(values, dict) or "backbone" not in values:
            return values
        if values["backbone"] is not None:
            raise ValueError("backbone is no longer there; the key trunk has taken its place")
        kept = {name: value for name, value in values.items() if not name.startswith("backbone")}
        return {"trunk": "none", **kept}

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.stride < 2:
            raise ValueError(f"widths are those of the stem and of at least one stage; found {self.widths}")
        if self.attention == "cam" and self.head == "split":
            raise ValueError("attention 'cam' needs a linear head ('lse' or 'gap'); found head 'split'")
        return self

    @classmethod
    def of(cls, values: dict[str, Any]) -> ModelConfig:
        """Return the hyperparameters with these values; the others keep their defaults.

        Raises:
            ValueError: names every value that is out of range, or what does not go together.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(" ".join(problem(cls, details) for details in error.errors())) from None
