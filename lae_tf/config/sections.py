"""Typed configuration of a run, read from and written to YAML. Unknown keys are refused by name.

The text below a field is its meaning: `lae-tf config`, docs/reference/config.md, the JSON Schema and errors show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from lae_tf.config.model import ModelConfig
from lae_tf.config.section import NonNegative, Positive, Probability, Section, problem
from lae_tf.config.yaml_values import apply_override, read_yaml
from lae_tf.errors import ProblemsError
from lae_tf.files.atomic import write_text
from lae_tf.presets.finding import DEFAULT, built_in


class ConfigError(ProblemsError):
    """A configuration with unknown keys or values out of range."""

    exit_code = 2


class DataConfig(Section):
    """What to train on."""

    manifest: str
    """CSV or Parquet file; a relative path is relative to the configuration's own folder."""
    image_size: int = Field(128, ge=16, le=4096)
    """Side of the model's input in pixels, a multiple of the model's stride (8 by default)."""
    batch_size: int = Field(16, ge=2)
    """Images a step, over all devices; a multiple of their number."""
    view: Literal["whole", "faces", "windows"] = "whole"
    """What the model gets to see of an image: the whole of it, made smaller; the faces in it; or windows all over it at
    its own resolution, which a small forgery in a large photograph needs (docs/guides/views.md)."""
    train_methods: tuple[str, ...] | None = None
    """Manipulations to train and validate on; null means all in the manifest."""
    mask_share: Probability | None = None
    """Use the masks of at most this share of the training images, drawn at random by the seed; null uses all."""
    self_forged: Annotated[float, Field(ge=0, lt=0.5)] = 0.35
    """Share of every batch that is forged on the fly from real images, with masks that are known for free: they
    cost no one's time and are not part of the mask budget."""


class AugmentConfig(Section):
    """Paired augmentation of image and mask; real and fake images go through the same."""

    flip: Probability = 0.5
    """Probability of a horizontal flip."""
    geometry: Probability = 0.3
    """Probability of one joint rotation, translation and crop."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest angle in degrees."""
    translation: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Largest shift as a share of the side."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest share of the side cut away; the rest is enlarged."""
    jpeg: Probability = 0.0
    """Probability of JPEG compression of what counts as stored."""
    jpeg_quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] = (60, 95)
    """Lowest and highest quality of that compression."""
    blur: Probability = 0.0
    """Probability of a Gaussian blur of what counts as stored."""
    blur_sigma: Positive = 1.0
    """Largest sigma of the blur in pixels."""
    noise: Probability = 0.0
    """Probability of Gaussian noise in what counts as stored."""
    noise_sigma: Positive = 0.02
    """Largest sigma of the noise on the [0, 1] scale."""
    colour: Probability = 0.3
    """Probability of brightness, contrast and saturation jitter."""
    colour_strength: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest relative change of each."""
    degrade: Probability = 0.6
    """Probability, after all others, of what happens to pictures on their way: one to three of JPEG, rescaling, a
    messenger, WebP, blur, noise and video coding. 0 trains for images as they are stored alone."""

    @model_validator(mode="after")
    def _check(self) -> AugmentConfig:
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError("jpeg_quality is the lowest and then the highest quality")
        return self


class LossConfig(Section):
    """Losses by role and the weights of the terms (docs/method.md)."""

    reconstruction: NonNegative = 1.0
    """l1, weight of the whole reconstruction term."""
    latent: NonNegative = 1.0
    """l2, weight of the decision term."""
    pixel: NonNegative = 1.0
    """b1, weight of the pixel loss within the reconstruction term."""
    perceptual_weight: NonNegative = 0.1
    """b2, weight of the perceptual loss within the reconstruction term."""
    adversarial_weight: NonNegative = 0.01
    """b3, weight of the adversarial loss within the reconstruction term."""
    decision: Literal["bce", "focal", "activation"] = "bce"
    """Loss of the decision; activation goes with head split, and only with it."""
    focal_gamma: Positive = 2.0
    """Focusing parameter of the focal loss."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share by which bce moves labels towards 0.5."""
    perceptual: Literal["none", "vgg16", "discriminator"] = "none"
    """Network that compares image and reconstruction."""
    vgg16_weights: str = "imagenet"
    """Weights of vgg16: imagenet (downloads them) or a file."""
    adversarial: Literal["none", "hinge", "non-saturating"] = "none"
    """Loss of the discriminator."""
    alignment: Literal["bce", "l1", "dice", "iou"] = "bce"
    """Distance between attention and mask; its weight l3 belongs to the stages."""
    alignment_positive_weight: Positive = 1.0
    """Weight of forged cells in the bce alignment; 1 weighs them as all others."""

    @model_validator(mode="after")
    def _check(self) -> LossConfig:
        if self.label_smoothing and self.decision != "bce":
            raise ValueError(f"label_smoothing goes with decision 'bce', not with '{self.decision}'")
        return self


class StageConfig(Section):
    """One training stage."""

    epochs: int = Field(ge=0)
    """Epochs at most; 0 skips the stage."""
    learning_rate: Positive = 1e-3
    """Peak; it warms up over the first 5 % of the steps and decays to zero by a cosine."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of AdamW."""
    alignment: NonNegative = 10.0
    """l3, weight of the alignment. A mask says more than a label: with 10, the first epochs learn several times as
    much as with 1."""
    patience: int = Field(0, ge=0)
    """Epochs without a better validation AUROC (of equal ones, decision loss) before the stage ends early; 0: never."""


class PretrainConfig(StageConfig):
    """Stage 1. Its alignment needs no person's mask: real images, and forgeries made on the fly."""

    epochs: int = Field(10, ge=0)
    """Epochs at most; 0 skips the stage. Few, because stage 2 teaches more: a run that will get no masks has this stage
    alone, and wants more."""


class AlignConfig(StageConfig):
    """Stage 2, when there are annotated fakes."""

    epochs: int = Field(20, ge=0)
    """Epochs at most; 0 skips the stage."""
    annotated: Annotated[float, Field(gt=0, lt=1)] = 0.125
    """Share of each batch drawn from annotated fakes."""
    real: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share drawn from real images; the rest are forged (data.self_forged), then unlabelled fakes."""

    @model_validator(mode="after")
    def _check(self) -> AlignConfig:
        if self.annotated + self.real > 1:
            raise ValueError("annotated and real are shares of one batch, and together more than all of it")
        return self


class CalibrationConfig(Section):
    """How scores become verdicts, on validation."""

    error_rate: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the real images, and of the fakes, that may get the wrong verdict; the smaller, the more are unsure.
    With fewer than 1 / error_rate - 1 validation images of a kind, no verdict is of the other."""


class StartConfig(Section):
    """What training begins with."""

    run: str | None = None
    """Trained run whose model is tuned on; null begins anew. The model and image_size are that run's, learning rates
    that are not set a tenth of its. A relative path is relative to the configuration's own folder."""
    preset: str | None = None
    """Ready model that is tuned on, in place of a run: a name, a folder (relative to the configuration's own) or
    hf://user/name; null for none. The model and image_size are its own, learning rates that are not set a tenth of the
    defaults."""
    tune: Literal["all", "last", "head"] = "all"
    """Which of its weights are trained: all, those from the encoder's last stage on, or the head's alone."""
    weights: str | None = DEFAULT
    """Where training begins anew: ready model of the same structure, whose weights the new model takes, and nothing
    else of it: a name, a folder (relative to the configuration's own) or hf://user/name; null for model.trunk_weights
    alone. The default stands for null where the model's structure is another or its trunk_weights are null. Do not
    test on photographs that it learned from; its card (lae-tf models) lists them, and says under which licence its
    weights are."""

    @model_validator(mode="before")
    @classmethod
    def of_older_versions(cls, values: Any) -> Any:
        """Return what an older version wrote, which began without a ready model, as it is written now."""
        # It left no key out that there was.
        is_older = isinstance(values, dict) and cls.model_fields.keys() - values.keys() == {"weights"}
        return {**values, "weights": None} if is_older else values

    @model_validator(mode="after")
    def _check(self) -> StartConfig:
        own = None if self.weights == DEFAULT else self.weights
        named = {"run": self.run, "preset": self.preset, "weights": own}
        given = [key for key, value in named.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} each name the model to begin with; give one of them")
        return self

    @property
    def is_set(self) -> bool:
        """Whether training goes on with a trained model, whose settings it takes."""
        return self.run is not None or self.preset is not None


class HardwareConfig(Section):
    """How to compute."""

    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Keras' precision policy."""
    distribute: Literal["none", "mirrored"] = "none"
    """mirrored uses every GPU of this machine. Of several machines, which the environment variable TF_CONFIG names for
    lae-tf train (docs/guides/scale.md), every GPU is used without it."""
    deterministic: bool = False
    """Bit-equal runs on one machine; turns XLA off and costs speed on GPUs."""
    xla: bool = False
    """Compile the training step; slower on CPUs."""


PLACES: Any = {"output": True, "data": {"manifest"}, "start": {"run", "preset", "weights"}, "losses": {"vgg16_weights"}}
"""Keys of the configuration that may name places of one machine."""


class Config(Section):
    """A whole run."""

    seed: int = Field(0, ge=0, lt=2**31)
    """Governs everything that is random."""
    output: str = "runs/lae"
    """Folder of the run."""
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    losses: LossConfig = LossConfig()
    pretrain: PretrainConfig = PretrainConfig()
    align: AlignConfig = AlignConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    hardware: HardwareConfig = HardwareConfig()
    start: StartConfig = StartConfig()

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> Config:
        """Read a YAML file and apply ``key=value`` overrides such as ``align.epochs=5``.

        A manifest, ``.csv`` or ``.parquet``, stands for the configuration that names it and keeps every default.

        Raises:
            UsageError: the file is missing or not YAML, or an override is malformed.
            ConfigError: unknown keys or bad values; all are listed.
        """
        path = Path(path)
        is_manifest = path.suffix.lower() in (".csv", ".parquet")
        values = {"data": {"manifest": path.name}} if is_manifest else read_yaml(path, "data")
        for override in overrides:
            apply_override(values, override)
        config = cls.parse(values, subject="--set" if is_manifest else str(path))
        manifest = (path.parent / config.data.manifest).resolve()
        placed: dict[str, Section] = {"data": config.data.model_copy(update={"manifest": str(manifest)})}
        if config.start.run is not None:
            placed["start"] = config.start.model_copy(update={"run": str((path.parent / config.start.run).resolve())})
        else:
            named = {key: getattr(config.start, key) for key in config.start.model_fields_set & {"preset", "weights"}}
            folders = {key: path.parent / name for key, name in named.items() if name and name not in built_in()}
            found = {key: str(folder.resolve()) for key, folder in folders.items() if folder.is_dir()}
            placed["start"] = config.start.model_copy(update=found)
        return config.model_copy(update=placed)

    @classmethod
    def parse(cls, values: dict[str, Any], subject: str = "configuration") -> Config:
        """Validate plain values; ``subject`` names them in the error."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [problem(cls, details) for details in error.errors()]
            raise ConfigError(subject, problems, "`lae-tf config` lists every key with its values.") from None

    def to_yaml(self) -> str:
        """Return the complete configuration as YAML, ready to be read again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def write(self, path: str | Path) -> None:
        """Write :meth:`to_yaml` atomically."""
        write_text(path, self.to_yaml(), durable=True)
