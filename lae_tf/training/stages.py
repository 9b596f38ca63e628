"""Training: stage 1 learns to decide and to reconstruct, stage 2 aligns attention with the masks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lae_tf.config.sections import Config, StageConfig
from lae_tf.data.ingestion import decodable, require_marked
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import cached, evaluation_dataset, training_dataset
from lae_tf.data.sampling import Composition, Sampling
from lae_tf.errors import LAEError, UsageError
from lae_tf.model import load_model
from lae_tf.model.lae import LAE
from lae_tf.training.build import compile_model
from lae_tf.training.callbacks import Checkpoint, MetricsLog, ProgressBar, StopDiverged, save_start
from lae_tf.training.distribution import Cluster, Epochs, fit, place, share_start, strategy_for
from lae_tf.training.fine_tuning import inherited, new_model, starting_model
from lae_tf.training.finishing import finish, look_back
from lae_tf.training.records import STAGES_FILE, STATE_FILE
from lae_tf.training.run import Run
from lae_tf.training.training_data import (
    batch_composition,
    describe_data,
    masks_digest,
    require_classes,
    seen_parts,
    training_manifest,
    validation_dataset,
)

PANEL_EXAMPLES = 8


@dataclass(frozen=True)
class Stage:
    """A named stage with its settings and data."""

    name: str
    settings: StageConfig
    composition: Composition | None


def train(
    config: Config,
    resume: bool = False,
    cluster: Cluster | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Train a run from its configuration, or go on where it stopped.

    Args:
        config: the resolved configuration.
        resume: go on with the run in ``config.output`` if there is one.
        cluster: the machines that train together; each calls this function, and the chief writes the run.
        callbacks: of Keras, told of every epoch of every stage after the run's own, whose checkpoint is then saved.

    Returns:
        The run, with ``model.keras`` calibrated on validation; on a worker that is not the chief the folder may
        not be there.

    Raises:
        LAEError: the data cannot be trained on, or a machine of the cluster does not answer; says why.
    """
    config = inherited(config)
    job = _Job(Run(config.output), config, strategy_for(config, cluster), cluster, tuple(callbacks))
    if cluster is None:
        return _train(job, resume)
    with cluster.lost_peers_explained(), cluster.output(config.output) as output:
        _train(job._replace(run=Run(output), config=config.model_copy(update={"output": output})), resume)
    return job.run


def _train(job: _Job, resume: bool) -> Run:
    run, config = job.run, job.config
    manifest = training_manifest(config)
    for split in ("train", "val"):
        require_classes(manifest.select(split=split), split, config.data.view)
    with run.locked():
        Run.create(config, resume)
        try:
            _train_stages(job, manifest)
        except LAEError:
            if not run.has_begun:
                run.clear()  # with the cause mended, the run begins anew
            raise
    return run


class _Job(NamedTuple):
    """What every stage of a training needs."""

    run: Run
    config: Config
    strategy: tf.distribute.Strategy
    cluster: Cluster | None
    callbacks: tuple[keras.callbacks.Callback, ...]


def _train_stages(job: _Job, manifest: Manifest) -> None:
    run, config, strategy, cluster, _ = job
    seed_everything(config)
    data, earlier = describe_data(config, manifest), run.read_json("data.json")
    if earlier is None:
        run.write_json("data.json", data)  # else it tells what the model in the folder was trained on
    else:
        data["begun_with"] = earlier.get("begun_with")  # runs of older versions have none
    if cluster is not None:
        share_start(cluster, strategy, run, config, manifest)
    require_marked(manifest.frame["mask"][manifest.mask_state == "annotated"].tolist())
    digest = masks_digest(manifest.select(split="train"))
    manifest = decodable(manifest, run.image_cache)
    parts = seen_parts(run, config, manifest)
    train_part, validation = parts.select(split="train"), parts.select(split="val")
    for split, part in (("train", train_part), ("val", validation)):
        require_classes(part, split, config.data.view)

    finished: list[dict[str, Any]] = run.read_json(STAGES_FILE) or []
    state = run.read_json(STATE_FILE)
    while stages := plan(config, train_part, finished, digest):
        stage = stages[0]
        # A state of an earlier stage is that stage's end.
        left = state if state and state["stage"] == stage.name else None
        masks = {"annotated": _annotated(train_part), "masks": digest}
        if left:  # masks that came after its start call for a stage of their own
            masks = {name: left.get(name, value) for name, value in masks.items()}
        model = _start(run, config, finished, left)
        if left:
            model.jit_compile = config.hardware.xla  # the one setting that a saved model does not hold
        else:
            compile_model(model, config, stage.settings, steps=len(train_part) // config.data.batch_size)
            left = save_start(run, stage.name, model, masks)
        model = place(model, strategy)
        _fit(job, stage, model, (train_part, validation), masks, left)
        finished.append({"stage": stage.name, **masks})
        run.model_path.unlink(missing_ok=True)  # it is made anew below, also after a kill in between
        run.write_json(STAGES_FILE, finished)
        run.write_json("data.json", data)
    if not finished:
        raise UsageError("nothing to train: pretrain.epochs is 0, and stage 2 has no epochs or no masks.")
    if not run.model_path.exists():
        best = load_model(best_checkpoint(run, finished[-1]["stage"]))
        finish(run, config, best, validation, manifest.select(split="val"))
    if config.start.is_set:
        look_back(run, config, validation)


def plan(
    config: Config, train_part: Manifest, finished: Sequence[dict[str, Any]] = (), masks: str | None = None
) -> list[Stage]:
    """Return the stages still to run.

    Stage 2 runs where there are annotated fakes, and once more, as ``align-2`` and so on, whenever there are more
    of them than the last time, or other masks. Each stage goes on from the best weights of the one before.

    Args:
        config: of the run.
        train_part: training images.
        finished: records of the stages that are done.
        masks: digest of the masks, to be compared with the last stage's; None compares their number alone.
    """
    done = [record["stage"] for record in finished]
    stages = []
    if config.pretrain.epochs and "pretrain" not in done:
        stages.append(Stage("pretrain", config.pretrain, batch_composition(config, train_part, use_masks=False)))
    annotated = _annotated(train_part)
    aligned = [record for record in finished if record["stage"] != "pretrain"]
    earlier = max((record["annotated"] for record in aligned), default=0)
    # Runs of older versions have no digest.
    corrected = bool(aligned and annotated and masks and aligned[-1].get("masks", masks) != masks)
    if (annotated > earlier or corrected) and config.align.epochs:
        composition = batch_composition(config, train_part, use_masks=True)
        rounds = sum(name.startswith("align") for name in done)
        stages.append(Stage(f"align-{rounds + 1}" if rounds else "align", config.align, composition))
    return stages


def best_checkpoint(run: Run, stage: str) -> Path:
    """Return the file that holds a stage's best epoch."""
    return run.checkpoints / f"{stage}-best.keras"


def seed_everything(config: Config) -> None:
    """Seed Python, NumPy and TensorFlow, and ask for deterministic kernels if the configuration does."""
    keras.utils.set_random_seed(config.seed)
    if config.hardware.deterministic:
        tf.config.experimental.enable_op_determinism()


def _annotated(part: Manifest) -> int:
    return int((part.mask_state == "annotated").sum())


def _start(run: Run, config: Config, finished: list[dict[str, Any]], state: dict[str, Any] | None) -> LAE:
    """Return the model that a stage begins, or goes on, with."""
    if state is not None:
        return load_model(run.checkpoints / state["checkpoint"])
    if finished:
        return load_model(best_checkpoint(run, finished[-1]["stage"]), compile=False)
    return starting_model(config.start) if config.start.is_set else new_model(config)


def _fit(
    job: _Job,
    stage: Stage,
    model: LAE,
    parts: tuple[Manifest, Manifest],
    masks: dict[str, Any],
    state: dict[str, Any] | None,
) -> None:
    """Train one stage on parts, the training and the validation images."""
    run, config, strategy, cluster, callbacks = job
    train_part, validation = parts
    finished = state["epochs"] if state else 0
    settings = stage.settings
    if finished >= settings.epochs or (state and state["stopped"]):
        return
    share = (cluster.index, len(cluster.tasks)) if cluster else (0, 1)
    epochs, batch_size = range(finished, settings.epochs), config.data.batch_size
    dataset, steps = training_dataset(
        train_part,
        model.preprocessor,
        Sampling(batch_size, config.seed, epochs, stage.composition, share),
        config.augment,
        use_masks=stage.name != "pretrain",
    )
    held_out = cached(validation_dataset(validation, model, config, share), len(validation), config.data.image_size)
    with closing(ProgressBar(stage.name, settings.epochs, steps, batch_size)) as progress:
        told = [
            progress,
            StopDiverged(stage.name),
            MetricsLog(run, stage.name, finished, _examples(validation, model)),
            Checkpoint(run, stage.name, settings.patience, masks, state),
            *callbacks,
        ]
        if cluster is not None:
            fit(strategy, model, Epochs(dataset, steps, held_out, batch_size, epochs), told)
            return
        model.fit(
            dataset,
            steps_per_epoch=steps,
            initial_epoch=finished,
            epochs=settings.epochs,
            validation_data=held_out,
            shuffle=False,
            verbose=0,
            callbacks=told,
        )


def _examples(validation: Manifest, model: LAE) -> dict[str, Any]:
    """Return one batch of validation images for the panels: fakes first."""
    rows = np.argsort(~validation.is_fake, kind="stable")[:: max(1, len(validation) // PANEL_EXAMPLES)]
    chosen = validation.take(rows[:PANEL_EXAMPLES])
    return next(iter(evaluation_dataset(chosen, model.preprocessor, PANEL_EXAMPLES)))
