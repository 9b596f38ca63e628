"""Training: stage 1 learns to decide and to reconstruct, stage 2 aligns attention with the masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lae_tf.config import AlignConfig, Config, StageConfig
from lae_tf.data.images import ingest
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import Composition, evaluation_dataset, training_dataset
from lae_tf.errors import LAEError, UsageError
from lae_tf.model import load_model
from lae_tf.model.lae import LAE
from lae_tf.training.build import build_model, compile_model, distribution
from lae_tf.training.calibrate import calibrate
from lae_tf.training.callbacks import STATE_FILE, Checkpoint, MetricsLog, ProgressBar, save_model
from lae_tf.training.run import Run

PANEL_EXAMPLES = 8


@dataclass(frozen=True)
class Stage:
    """A named stage with its settings and data."""

    name: str
    settings: StageConfig
    composition: Composition | None


def train(config: Config, resume: bool = False) -> Run:
    """Train a run from its configuration, or go on where it stopped.

    Args:
        config: the resolved configuration.
        resume: go on with the run in ``config.output`` if there is one.

    Returns:
        The run, with ``model.keras`` calibrated on validation.

    Raises:
        LAEError: the data cannot be trained on; says why.
    """
    run = Run.create(config, resume)
    seed_everything(config)
    manifest = training_manifest(config)
    run.write_json("data.json", describe_data(config, manifest))
    manifest = manifest.with_files(lambda files: ingest(files, run.image_cache))
    train_part, validation = manifest.select(split="train"), manifest.select(split="val")
    _require_both_classes(train_part, "train")
    _require_both_classes(validation, "val")

    strategy = distribution(config)
    stages = plan(config, train_part)
    state = run.read_json(STATE_FILE) if resume else None
    position = [stage.name for stage in stages].index(state["stage"]) if state else 0
    model: LAE | None = None
    for index, stage in enumerate(stages[position:], start=position):
        steps = len(train_part) // config.data.batch_size
        with strategy.scope():
            model = _start(run, config, stages, index, state)
            if state is None:
                compile_model(model, config, stage.settings, steps)
        _fit(run, config, stage, model, train_part, validation, state)
        state = None
    if model is None:
        raise UsageError("nothing to train: pretrain.epochs and align.epochs are both 0.")
    best = load_model(run.checkpoints / f"{stages[-1].name}-best.keras")
    finish(run, config, best, validation)
    return run


def plan(config: Config, train_part: Manifest) -> list[Stage]:
    """Return the stages to run: stage 2 only where there are annotated fakes."""
    stages = [Stage("pretrain", config.pretrain, None)] if config.pretrain.epochs else []
    annotated = int((train_part.mask_state == "annotated").sum())
    if annotated and config.align.epochs:
        has_unlabelled = bool((train_part.mask_state == "unlabelled").any())
        shares: AlignConfig = config.align
        composition = Composition.of(config.data.batch_size, shares.annotated, shares.real, has_unlabelled)
        stages.append(Stage("align", config.align, composition))
    return stages


def finish(run: Run, config: Config, model: LAE, validation: Manifest) -> None:
    """Choose temperature and threshold on validation, store them in the model, and save it."""
    dataset = evaluation_dataset(validation, model.preprocessor, config.data.batch_size)
    logits = np.concatenate([np.asarray(model.predict_on_batch(batch["image"])["logit"]) for batch in dataset])
    decision = calibrate(logits[:, 0], validation.is_fake.astype(int))
    model.calibration.temperature.assign(decision["temperature"])
    model.calibration.threshold.assign(decision["threshold"])
    run.write_json("calibration.json", decision)
    save_model(model, run.model_path)


def training_manifest(config: Config) -> Manifest:
    """Read the manifest and keep the images and masks to train and validate with."""
    manifest = Manifest.read(config.data.manifest)
    methods = config.data.train_methods
    if methods is not None:
        known = set(manifest.frame["method"]) - {""}
        unknown = sorted(set(methods) - known)
        if unknown:
            raise UsageError(f"data.train_methods names {unknown}; {config.data.manifest} has {sorted(known)}.")
        manifest = manifest.select(methods=methods)
    manifest = Manifest(manifest.frame[manifest.frame["split"] != "test"].reset_index(drop=True), manifest.root)
    if config.data.mask_share is not None:
        manifest = limit_masks(manifest, config.data.mask_share, config.seed)
    return manifest


def limit_masks(manifest: Manifest, share: float, seed: int) -> Manifest:
    """Hide masks of training fakes at random until at most ``share`` of the training images have one."""
    frame = manifest.frame.copy()
    in_train = (frame["split"] == "train").to_numpy()
    annotated = np.flatnonzero(in_train & (manifest.mask_state == "annotated"))
    allowed = int(share * in_train.sum())
    hidden = np.random.default_rng((seed, 1)).permutation(annotated)[allowed:]
    frame.loc[hidden, "mask"] = ""
    return Manifest(frame, manifest.root)


def describe_data(config: Config, manifest: Manifest) -> dict[str, Any]:
    """Return what the run was trained on: manifest, counts, hash, and the share of images with a mask."""
    return {
        "manifest": config.data.manifest,
        "sha256": manifest.digest(),
        "counts": manifest.counts(),
        "methods": sorted(set(manifest.frame["method"]) - {""}),
        "mask_budget": manifest.mask_budget(),
    }


def seed_everything(config: Config) -> None:
    """Seed Python, NumPy and TensorFlow, and ask for deterministic kernels if the configuration does."""
    keras.utils.set_random_seed(config.seed)
    if config.hardware.deterministic:
        tf.config.experimental.enable_op_determinism()


def _require_both_classes(part: Manifest, split: str) -> None:
    fakes = int(part.is_fake.sum())
    if not 0 < fakes < len(part):
        raise LAEError(
            f"split '{split}' has {fakes} fake and {len(part) - fakes} real images; training needs both kinds."
        )


def _start(run: Run, config: Config, stages: list[Stage], index: int, state: dict[str, Any] | None) -> LAE:
    """Return the model that the stage at ``index`` begins, or goes on, with."""
    if state is not None:
        return load_model(run.checkpoints / state["checkpoint"])
    if index == 0:
        return build_model(config)
    return load_model(run.checkpoints / f"{stages[index - 1].name}-best.keras")


def _fit(
    run: Run,
    config: Config,
    stage: Stage,
    model: LAE,
    train_part: Manifest,
    validation: Manifest,
    state: dict[str, Any] | None,
) -> None:
    finished = state["epochs"] if state else 0
    settings = stage.settings
    if finished >= settings.epochs or (state and state["stopped"]):
        return
    dataset, steps = training_dataset(
        train_part,
        model.preprocessor,
        config.data.batch_size,
        config.augment,
        seed=config.seed,
        epochs=range(finished, settings.epochs),
        composition=stage.composition,
        use_masks=stage.composition is not None,
    )
    held_out = evaluation_dataset(validation, model.preprocessor, config.data.batch_size).cache()
    examples = _examples(validation, model)
    model.fit(
        dataset,
        steps_per_epoch=steps,
        initial_epoch=finished,
        epochs=settings.epochs,
        validation_data=held_out,
        shuffle=False,
        verbose=0,
        callbacks=[
            ProgressBar(stage.name, settings.epochs, steps, config.data.batch_size),
            MetricsLog(run, stage.name, finished, examples),
            Checkpoint(run, stage.name, settings.patience, state),
        ],
    )


def _examples(validation: Manifest, model: LAE) -> dict[str, Any]:
    """Return one batch of validation images for the panels: fakes first."""
    rows = np.argsort(~validation.is_fake, kind="stable")[:: max(1, len(validation) // PANEL_EXAMPLES)]
    chosen = Manifest(validation.frame.iloc[rows[:PANEL_EXAMPLES]].reset_index(drop=True), validation.root)
    return next(iter(evaluation_dataset(chosen, model.preprocessor, PANEL_EXAMPLES)))
