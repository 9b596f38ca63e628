"""What happens around the epochs: checkpoints that survive a kill, logs, a progress bar, image panels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lae_tf.errors import LAEError
from lae_tf.files.atomic import replacing, write_text
from lae_tf.training.records import STATE_FILE
from lae_tf.training.run import Run


class StopDiverged(keras.callbacks.Callback):
    """Ends a training whose loss is no number any more; goes before the callbacks that keep something of an epoch.

    Args:
        stage: name of the stage.
    """

    def __init__(self, stage: str):
        super().__init__()
        self.stage = stage

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """End it.

        Raises:
            LAEError: names the epoch.
        """
        for name in ("loss", "val_loss"):
            value = float((logs or {})[name])
            if not np.isfinite(value):
                raise LAEError(
                    f"{self.stage}: training has diverged in epoch {epoch + 1} ({name} {value}); lower the "
                    "learning rate."
                )


class Checkpoint(keras.callbacks.Callback):
    """Saves the last and the best model after every epoch, and stops early.

    One atomic file, ``checkpoints/state.json``, says which stage and epoch is done, which checkpoint holds
    it and what was best so far; a new state is written only after the checkpoint that it names is complete,
    so a kill at any moment leaves a consistent pair. (Keras' BackupAndRestore writes weights and epoch one
    after the other and forgets early stopping.)

    The best epoch has the highest validation AUROC (to 4 digits); ties go to the lower decision loss.

    Args:
        run: where to save.
        stage: name of the stage.
        patience: epochs without a better one before training stops; 0 never stops.
        masks: what the stage's record will say of the masks that it began with; kept in the state.
        state: what an interrupted run left, or None.
    """

    def __init__(self, run: Run, stage: str, patience: int, masks: dict[str, Any], state: dict[str, Any] | None = None):
        super().__init__()
        self.run = run
        self.stage = stage
        self.patience = patience
        self.masks = masks
        state = state or {}
        self.best: list[float] | None = state.get("best")
        self.waited: int = state.get("waited", 0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        rank = epoch_rank(logs, "val_latent_loss")
        better = self.best is None or rank > self.best
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best = rank
            save_model(self.model, self.run.checkpoints / f"{self.stage}-best.keras")
        last = f"{self.stage}-{epoch + 1:04d}.keras"
        save_model(self.model, self.run.checkpoints / last)
        stop = bool(self.patience and self.waited >= self.patience)
        state = {"stage": self.stage, "epochs": epoch + 1, "checkpoint": last, "best": self.best}
        self.run.write_json(STATE_FILE, {**state, **self.masks, "waited": self.waited, "stopped": stop})
        for older in self.run.checkpoints.glob(f"{self.stage}-[0-9]*.keras"):
            if older.name != last:
                older.unlink()
        self.model.stop_training = stop


def save_start(run: Run, stage: str, model: keras.Model, masks: dict[str, Any]) -> dict[str, Any]:
    """Save a compiled model as a stage's epoch 0, so that one that is stopped in its first epoch can go on.

    Returns:
        The state.
    """
    name = f"{stage}-0000.keras"
    save_model(model, run.checkpoints / name)
    state = {"stage": stage, "epochs": 0, "checkpoint": name, "best": None, **masks, "waited": 0, "stopped": False}
    run.write_json(STATE_FILE, state)
    return state


def epoch_rank(logs: dict[str, float], decision_loss: str) -> list[float]:
    """Return what the best epoch has most of: validation AUROC to 4 digits, then the lower decision loss."""
    return [round(float(logs["val_auroc"]), 4), -float(logs[decision_loss])]


def save_model(model: keras.Model, path: Path) -> None:
    """Save a ``.keras`` file atomically, so that it outlives a power cut."""
    with replacing(path, durable=True) as temporary:
        model.save(str(temporary))


class MetricsLog(keras.callbacks.Callback):
    """Appends one JSON line per epoch to ``metrics.jsonl``, and scalars and image panels to TensorBoard.

    Args:
        run: where to write.
        stage: name of the stage.
        first_epoch: lines of this stage from this epoch on are dropped (they are about to be repeated).
        examples: one validation batch, for the panels.
    """

    def __init__(self, run: Run, stage: str, first_epoch: int, examples: dict[str, Any]):
        super().__init__()
        self.run = run
        self.stage = stage
        self.examples = examples
        kept = [row for row in run.read_metrics() if row["stage"] != stage or row["epoch"] <= first_epoch]
        write_text(run.metrics_path, "".join(json.dumps(row) + "\n" for row in kept))
        self.writer = tf.summary.create_file_writer(str(run.tensorboard / stage))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        with self.run.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, "epoch": epoch + 1, **values}) + "\n")
        with self.writer.as_default(step=epoch + 1):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            tf.summary.image("input | reconstruction | attention | mask", self._panels(), max_outputs=8)
        self.writer.flush()

    def _panels(self) -> np.ndarray:
        # Not predict_on_batch, which gathers what all the machines of a cluster predict.
        outputs = self.model(self.examples["image"], training=False)
        attention = np.repeat(np.asarray(outputs["attention"])[..., None], 3, axis=-1)
        mask = np.repeat(np.asarray(self.examples["mask"]), 3, axis=-1)
        columns = [np.asarray(self.examples["image"]), np.asarray(outputs["reconstruction"]), attention, mask]
        return np.concatenate(columns, axis=2)


class ProgressBar(keras.callbacks.Callback):
    """A bar per epoch with images a second, on standard error.

    Args:
        stage: name of the stage.
        epochs: of the whole stage.
        steps: of one epoch.
        batch_size: images a step.
    """

    def __init__(self, stage: str, epochs: int, steps: int, batch_size: int):
        super().__init__()
        self.stage = stage
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.bar = tqdm(disable=True)

    def close(self) -> None:
        """End the bar where training was interrupted: left open, it would draw itself once more at the exit."""
        self.bar.close()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.bar = tqdm(
            total=self.steps * self.batch_size,
            desc=f"{self.stage} {epoch + 1}/{self.epochs}",
            unit=" images",
            file=sys.stderr,
            mininterval=0.5,
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.bar.update(self.batch_size)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        shown = ("loss", "val_loss", "val_auroc", "val_accuracy")
        self.bar.set_postfix_str(", ".join(f"{name} {logs[name]:.3f}" for name in shown if name in logs))
        self.bar.close()
