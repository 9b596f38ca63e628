"""Typed configuration of a run, read from and written to YAML. Unknown keys are refused by name."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lae_tf.atomic import write_text
from lae_tf.errors import ProblemsError, UsageError

# PyYAML lets through what its constructors make of a bad date or number, and of brackets within brackets.
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
_LARGEST = 1 << 20  # bytes of a file; PyYAML takes a second for some ten thousands
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 200
_repr.maxlevel = 2

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class ConfigError(ProblemsError):
    """A configuration with unknown keys or values out of range."""

    exit_code = 2


class Section(BaseModel):
    """A frozen part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class DataConfig(Section):
    """What to train on.

    Attributes:
        manifest: CSV or Parquet file; a relative path is relative to the configuration's own folder.
        image_size: side of the model's input in pixels.
        batch_size: images a step, over all devices; a multiple of their number.
        train_methods: manipulations to train and validate on; None means all in the manifest.
        mask_share: use the masks of at most this share of the training images, drawn at random by the seed;
            None uses all there are.
        self_forged: share of every batch that is forged on the fly from real images, with masks that are known
            for free (they cost no one's time and are not part of the mask budget).
    """

    manifest: str
    image_size: int = Field(128, ge=16, le=4096)
    batch_size: int = Field(16, ge=2)
    train_methods: tuple[str, ...] | None = None
    mask_share: Probability | None = None
    self_forged: Annotated[float, Field(ge=0, lt=0.5)] = 0.35


class AugmentConfig(Section):
    """Paired augmentation of image and mask; real and fake images go through the same.

    Attributes:
        flip: probability of a horizontal flip.
        geometry: probability of one joint rotation, translation and crop.
        rotation: largest angle in degrees.
        translation: largest shift as a share of the side.
        crop: largest share of the side cut away (the rest is enlarged).
        jpeg: probability of JPEG compression.
        jpeg_quality: lowest and highest quality.
        blur: probability of a Gaussian blur.
        blur_sigma: largest sigma in pixels.
        noise: probability of Gaussian noise.
        noise_sigma: largest sigma on the [0, 1] scale.
        colour: probability of brightness, contrast and saturation jitter.
        colour_strength: largest relative change of each.
    """

    flip: Probability = 0.5
    geometry: Probability = 0.3
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    translation: Annotated[float, Field(ge=0, lt=1)] = 0.05
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.1
    jpeg: Probability = 0.2
    jpeg_quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] = (60, 95)
    blur: Probability = 0.1
    blur_sigma: Positive = 1.0
    noise: Probability = 0.1
    noise_sigma: Positive = 0.02
    colour: Probability = 0.3
    colour_strength: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _check(self) -> AugmentConfig:
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError("jpeg_quality is the lowest and then the highest quality")
        return self


class ModelConfig(Section):
    """Arguments of :class:`lae_tf.model.lae.LAE`; see there."""

    widths: Annotated[tuple[Annotated[int, Field(gt=0, le=4096)], ...], Field(min_length=1, max_length=10)] = (
        24,
        48,
        96,
        128,
    )
    blocks: int = Field(1, ge=0, le=64)
    high_pass: bool = True
    contrast: bool = True
    self_correlation: bool = True
    backbone: Literal["xception", "efficientnetv2-b0", "mobilenet-v3"] | None = None
    backbone_weights: str | None = None
    backbone_stride: Literal[8, 16, 32] = 8
    head: Literal["lse", "gap", "split"] = "lse"
    lse_sharpness: Positive = 2.0
    attention: Literal["grad_cam", "cam"] = "grad_cam"
    attention_slope: Positive = 1.0
    attention_threshold: float = 2.0


class LossConfig(Section):
    """Losses by role and the weights of the terms (docs/method.md).

    Attributes:
        reconstruction: l1, weight of the whole reconstruction term.
        latent: l2, weight of the decision term.
        pixel: b1. perceptual_weight: b2. adversarial_weight: b3.
        decision: ``bce``, ``focal``, or ``activation`` (goes with head ``split``).
        focal_gamma: focusing parameter of ``focal``.
        label_smoothing: of ``bce``.
        perceptual: comparator network, or ``none``.
        vgg16_weights: ``imagenet`` or a file.
        adversarial: discriminator loss, or ``none``.
        alignment: distance between attention and mask; its weight l3 belongs to the stages.
        alignment_positive_weight: weight of forged cells in ``bce`` alignment.
    """

    reconstruction: NonNegative = 1.0
    latent: NonNegative = 1.0
    pixel: NonNegative = 1.0
    perceptual_weight: NonNegative = 0.1
    adversarial_weight: NonNegative = 0.01
    decision: Literal["bce", "focal", "activation"] = "bce"
    focal_gamma: Positive = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    perceptual: Literal["none", "vgg16", "discriminator"] = "none"
    vgg16_weights: str = "imagenet"
    adversarial: Literal["none", "hinge", "non-saturating"] = "none"
    alignment: Literal["bce", "l1", "dice", "iou"] = "bce"
    alignment_positive_weight: Positive = 1.0

    @model_validator(mode="after")
    def _check(self) -> LossConfig:
        if self.label_smoothing and self.decision != "bce":
            raise ValueError(f"label_smoothing goes with decision 'bce', not with '{self.decision}'")
        return self


class StageConfig(Section):
    """One training stage.

    Attributes:
        epochs: at most; 0 skips the stage.
        learning_rate: peak; it warms up over the first 5 % of the steps and decays to zero by a cosine.
        weight_decay: of AdamW.
        alignment: l3. A mask says more than a label: with 10, the first epochs learn several times as much as with 1.
        patience: epochs without a better validation AUROC (of equal ones, decision loss) before the stage ends early;
            0 never does.
    """

    epochs: int = Field(ge=0)
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-4
    alignment: NonNegative = 10.0
    patience: int = Field(0, ge=0)


class PretrainConfig(StageConfig):
    """Stage 1. Its alignment needs no person's mask: real images, and forgeries made on the fly.

    Short, because stage 2 teaches more. A run that will get no masks has this stage alone, and wants more epochs of it.
    """

    epochs: int = Field(10, ge=0)


class AlignConfig(StageConfig):
    """Stage 2, when there are annotated fakes.

    Attributes:
        annotated: share of each batch drawn from annotated fakes.
        real: share drawn from real images; the rest are forged (``data.self_forged``), then unlabelled fakes.
    """

    epochs: int = Field(20, ge=0)
    annotated: Annotated[float, Field(gt=0, lt=1)] = 0.125
    real: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _check(self) -> AlignConfig:
        if self.annotated + self.real > 1:
            raise ValueError("annotated and real are shares of one batch, and together more than all of it")
        return self


class HardwareConfig(Section):
    """How to compute.

    Attributes:
        precision: Keras precision policy.
        distribute: ``mirrored`` uses every GPU of this machine. Of several machines, which the environment variable
            TF_CONFIG names for ``lae-tf train`` (docs/scale.md), every GPU is used without it.
        deterministic: bit-equal runs on one machine; turns XLA off and costs speed on GPUs.
        xla: compile the training step; slower on CPUs.
    """

    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    distribute: Literal["none", "mirrored"] = "none"
    deterministic: bool = False
    xla: bool = False


class Config(Section):
    """A whole run. ``seed`` governs everything that is random."""

    seed: int = Field(0, ge=0, lt=2**31)
    output: str = "runs/lae"
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    losses: LossConfig = LossConfig()
    pretrain: PretrainConfig = PretrainConfig()
    align: AlignConfig = AlignConfig()
    hardware: HardwareConfig = HardwareConfig()

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
            _override(values, override)
        config = cls.parse(values, subject=str(path))
        manifest = (path.parent / config.data.manifest).resolve()
        return config.model_copy(update={"data": config.data.model_copy(update={"manifest": str(manifest)})})

    @classmethod
    def parse(cls, values: dict[str, Any], subject: str = "configuration") -> Config:
        """Validate plain values; ``subject`` names them in the error."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(subject, [problem(cls, details) for details in error.errors()]) from None

    def to_yaml(self) -> str:
        """Return the complete configuration as YAML, ready to be read again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def write(self, path: str | Path) -> None:
        """Write :meth:`to_yaml` atomically."""
        write_text(path, self.to_yaml(), durable=True)


def read_yaml(path: Path, required: str) -> dict[str, Any]:
    """Read a YAML mapping; ``required`` names a key it must have, for the error.

    Raises:
        UsageError: the file is missing, not YAML, or no mapping.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path}: has more than {_LARGEST} bytes; no configuration is as large.")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from None
    except YAML_ERRORS as error:
        raise UsageError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: holds {type(values).__name__}, expected a mapping with at least '{required}'.")
    return values


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UsageError(f"--set {override}: expected key=value, for example --set align.epochs=5.")
    try:
        value = yaml.safe_load(text)
    except YAML_ERRORS:
        raise UsageError(f"--set {override}: '{text}' is not a YAML value.") from None
    set_key(values, key, value, subject=f"--set {override}")


def set_key(values: dict[str, Any], key: str, value: Any, subject: str) -> None:
    """Set a dotted key such as ``align.epochs`` in place; ``subject`` begins the error.

    Raises:
        UsageError: a part of the way is a value.
    """
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:  # missing, or a section without keys
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise UsageError(f"{subject}: '{parent}' is a value, not a section.")
    values[last] = value


def shown(value: Any) -> str:
    """Return a value for an error, cut: a few lines of YAML may stand for gigabytes."""
    return _repr.repr(value)


def problem(section: Any, details: Any) -> str:
    """Return one sentence for one of pydantic's error records on a :class:`Section`, with the nearest known key."""
    location = [str(part) for part in details["loc"]]
    where = ".".join(location)
    if details["type"] == "extra_forbidden":
        for part in location[:-1]:
            section = section.model_fields[part].annotation
        close = get_close_matches(location[-1], section.model_fields, n=1, cutoff=0.5)
        known = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(section.model_fields)}."
        return f"{where}: unknown key; {known}"
    if details["type"] == "missing":
        return f"{where}: missing."
    if details["type"] == "value_error":  # of several keys together
        return f"{where}: {details['ctx']['error']}.".removeprefix(": ")
    return f"{where}: {details['msg']}; found {shown(details['input'])}."
