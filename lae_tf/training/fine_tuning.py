"""Beginning with a trained run or a preset: what it decides about the new run, and whether what it knew was kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lae_tf.config.sections import (
    Config,
    DataConfig,
    HardwareConfig,
    LossConfig,
    ModelConfig,
    Section,
    StartConfig,
)
from lae_tf.data.views import WHOLE_VIEWS
from lae_tf.errors import LAEError, UsageError
from lae_tf.metrics.detection import detection_metrics
from lae_tf.model.lae import LAE
from lae_tf.model.preset import begin_with, other_structure
from lae_tf.model.tuning import set_tuned
from lae_tf.presets.finding import DEFAULT, built_in, open_preset
from lae_tf.training.build import build_model
from lae_tf.training.run import Run
from lae_tf.training.sources import ModelSource

RECORD = "fine_tuning.json"
"""In the run: scores on both validations, before and after."""
FORGOTTEN = 0.02
"""A fall of the AUROC on the earlier run's validation by more than this is called forgetting (ours)."""
RATE_SHARE = 0.1
"""Of the earlier run's learning rates, where none is set (ours)."""

# Part of the network, or loaded with it.
_FIXED = {
    "model": set(ModelConfig.model_fields),
    "data": {"image_size", "view"},
    "hardware": {"precision"},
    "losses": {"decision", "perceptual", "adversarial"},
}


def inherited(config: Config) -> Config:
    """Return a configuration with what that decides which it begins with.

    Model, size of the images, precision and kinds of losses are the earlier run's, and its weights of the losses where
    none are set. Learning rates that are not set are a tenth of that run's. A preset tells the model alone; for the
    rest it has the defaults. Where training begins anew, ``start.weights`` is null if the model cannot begin with them.

    Raises:
        UsageError: there is no trained run or no preset, or the configuration sets something that is decided otherwise.
        LAEError: a preset cannot be fetched, or is damaged.
    """
    if config.start.run is not None:
        place, old = _settings_of_run(config.start.run, config.output)
    elif config.start.preset is not None:
        place, old = config.start.preset, _settings_of_preset(config.start.preset, config.data.manifest)
    else:
        return config.model_copy(update={"start": config.start.model_copy(update={"weights": _weights(config)})})
    sections: dict[str, Section] = {"start": config.start.model_copy(update={"weights": None})}
    conflicts = []
    for name, keys in _FIXED.items():
        ours, theirs = getattr(config, name), getattr(old, name)
        for key in sorted(ours.model_fields_set & keys):
            here, there = getattr(ours, key), getattr(theirs, key)
            if here != there:
                conflicts.append(f"{name}.{key} is {here!r} here and {there!r} there")
        sections[name] = ours.model_copy(update={key: getattr(theirs, key) for key in keys})
    if conflicts:
        raise UsageError(f"{place} decides what begins with it, but {'; '.join(conflicts)}: leave it out.")
    sections["losses"] = old.losses.model_copy(update=_given(config.losses))
    for name in ("pretrain", "align"):
        stage = getattr(config, name)
        rate = {"learning_rate": RATE_SHARE * getattr(old, name).learning_rate}
        sections[name] = stage.model_copy(update={**rate, **_given(stage)})
    return config.model_copy(update=sections)


def _weights(config: Config) -> str | None:
    """Return the preset whose weights a new model begins with; None where the default is none for this model."""
    weights = config.start.weights
    is_default = weights == DEFAULT
    if weights is None or (is_default and (weights not in built_in() or config.model.trunk_weights is None)):
        return None
    leave_out = "or set start.weights to null"
    try:
        differences = other_structure(config.model, open_preset(weights))
    except UsageError as error:
        raise UsageError(f"start.weights: {str(error).rstrip('.')}; {leave_out}.") from None
    if differences and not is_default:
        raise UsageError(
            f"start.weights: {weights} is a model of another structure than this one, in which "
            f"{' and '.join(differences)}; leave that out, {leave_out}."
        )
    return None if differences else weights


def _settings_of_run(path: str, output: str) -> tuple[str, Config]:
    run = Run.open(path)
    if not run.model_path.is_file():
        raise UsageError(f"{run.path}: not trained yet (no model.keras); finish that run before beginning with it.")
    if run.path.resolve() == Path(output).resolve():
        raise UsageError(f"{run.path} cannot begin with itself; choose another output.")
    return str(run.path), run.config


def _settings_of_preset(preset: str, manifest: str) -> Config:
    """Return the settings that a preset's model goes with, by which it could be trained on a manifest.

    No model is built: several machines must be joined before TensorFlow begins.
    """
    arguments = open_preset(preset).config
    view = arguments.get("view", "stretched")
    try:
        model = ModelConfig.of({name: arguments[name] for name in ModelConfig.model_fields if name in arguments})
        return Config(
            data=DataConfig(
                manifest=manifest,
                image_size=arguments["image_size"],
                view="whole" if view in WHOLE_VIEWS else view,
            ),
            model=model,
            losses=LossConfig(decision="activation" if model.head == "split" else "bce"),
            hardware=HardwareConfig(precision=arguments["dtype"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LAEError(f"{preset}: its config.json cannot be trained from: {error}") from None


def source_of(start: StartConfig) -> ModelSource:
    """Return the model that a configuration begins with."""
    return ModelSource.of_run(str(start.run)) if start.preset is None else ModelSource.of_preset(start.preset)


def _given(section: Section) -> dict[str, Any]:
    return {key: getattr(section, key) for key in section.model_fields_set}


def new_model(config: Config) -> LAE:
    """Return the model of a resolved configuration, not compiled, with the weights of ``start.weights``."""
    model = build_model(config)
    if config.start.weights is not None:
        begin_with(model, open_preset(config.start.weights))
    return model


def starting_model(start: StartConfig) -> LAE:
    """Return the trained model to begin with, not compiled, its weights frozen but for the part to be tuned."""
    model = source_of(start).load()
    if model.mixture is not None:
        # Epochs are chosen by one scale for all images; that of degraded ones is fitted again in the end.
        model.mixture.assign(flattened=0.0, withheld=0.0)
    set_tuned(model, start.tune)
    return model


def compare_with_start(models: tuple[LAE, LAE], batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Score a validation by two models, each deciding at its own threshold.

    Args:
        models: before and after.
        batches: of the pipeline.

    Returns:
        ``images``, and for ``before`` and ``after`` ``auroc`` and ``accuracy``, None where undefined.
    """
    labels: list[np.ndarray] = []
    scores: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for batch in batches:
        labels.append(np.asarray(batch["label"])[:, 0])
        for model, found in zip(models, scores, strict=True):
            found.append(model.score_on_batch(batch["image"])["score"][:, 0])
    truth = np.concatenate(labels).astype(int)
    result: dict[str, Any] = {"images": len(truth)}
    for name, model, found in zip(("before", "after"), models, scores, strict=True):
        values = detection_metrics(truth, np.concatenate(found), float(model.calibration.threshold))
        result[name] = {key: None if np.isnan(values[key]) else values[key] for key in ("auroc", "accuracy")}
    return result


def forgotten(old_validation: dict[str, Any] | None) -> bool | None:
    """Tell whether the AUROC on the earlier run's validation fell by more than ``FORGOTTEN``; None if not known."""
    if old_validation is None:
        return None
    before, after = (old_validation[name]["auroc"] for name in ("before", "after"))
    return None if before is None or after is None else bool(before - after > FORGOTTEN)
