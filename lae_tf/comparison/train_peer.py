"""Train a peer on LAE's terms: images, free forgeries, degradations, steps, schedule, validation rule, masks."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import pandas as pd
import tensorflow as tf

from lae_tf.comparison.peers.peer import Peer
from lae_tf.config.sections import Config
from lae_tf.data.ingestion import decodable
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import cached, training_dataset
from lae_tf.data.sampling import Composition, Sampling
from lae_tf.training.build import optimizer_for
from lae_tf.training.callbacks import ProgressBar, StopDiverged, epoch_rank
from lae_tf.training.finishing import calibrate_in_view
from lae_tf.training.run import Run
from lae_tf.training.training_data import batch_composition, seen_parts, training_manifest, validation_dataset


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the best epoch in memory, by the rule that LAE's checkpoints follow."""

    def __init__(self) -> None:
        super().__init__()
        self.best: list[float] = []
        self.weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        rank = epoch_rank(logs, "val_loss")
        if not self.best or rank > self.best:
            self.best, self.weights = rank, self.model.get_weights()


class Fitted(NamedTuple):
    """What a training ended with.

    Attributes:
        auroc: of the best epoch on validation, to 4 digits.
        held_out: batches of validation.
        images: the images of validation, at their own size.
    """

    auroc: float
    held_out: tf.data.Dataset
    images: Manifest


class Calibrated(NamedTuple):
    """A trained model.

    Attributes:
        model: with the weights of its best epoch, calibrated.
        decision: that calibration.
        scored: the images of validation, as calibration scored them.
    """

    model: keras.Model
    decision: dict[str, Any]
    scored: pd.DataFrame


def train_peer(model: Peer, config: Config) -> Calibrated:
    """Fit a peer and calibrate it on validation, as LAE is."""
    fitted = fit_peer(model, config)
    kept = Run(config.output).image_cache / "calibration"
    return Calibrated(model, *calibrate_in_view(model, fitted.held_out, fitted.images, config, kept))


def fit_peer(model: Peer, config: Config) -> Fitted:
    """Fit a peer for as many epochs as LAE's two stages have together, and leave it the weights of its best epoch.

    Its batches are those of LAE's first stage, or, where it reads masks (``uses_masks``) and there are some, of the
    second: with as many forgeries made on the fly; and so is validation. One that takes no fake of the data set
    (``reals_alone``) finds forgeries in their place, in validation too.
    """
    manifest = training_manifest(config)
    run = Run(config.output)
    manifest = decodable(manifest, run.image_cache, progress=False)
    images, parts = manifest.select(split="val"), seen_parts(run, config, manifest)
    train_part, validation = parts.select(split="train"), parts.select(split="val")
    epochs, batch_size = config.pretrain.epochs + config.align.epochs, config.data.batch_size
    use_masks = model.uses_masks and bool((train_part.mask_state == "annotated").any())
    composition = batch_composition(config, train_part, use_masks)
    if model.reals_alone:
        images, validation = images.select(label="real"), validation.select(label="real")
        composition = Composition.forged_alone(batch_size)
    sampling = Sampling(batch_size, config.seed, range(epochs), composition)
    dataset, steps = training_dataset(train_part, model.preprocessor, sampling, config.augment)
    held_out = cached(validation_dataset(validation, model, config), len(validation), config.data.image_size)
    _forget_initial_statistics(model, steps * epochs)
    model.compile(optimizer_for(config.pretrain.model_copy(update={"epochs": epochs}), steps))
    best = BestWeights()
    model.fit(
        dataset,
        steps_per_epoch=steps,
        epochs=epochs,
        validation_data=held_out,
        shuffle=False,
        verbose=0,
        callbacks=[ProgressBar(model.name, epochs, steps, batch_size), StopDiverged(model.name), best],
    )
    model.set_weights(best.weights)
    return Fitted(best.best[0], held_out, images)


def _forget_initial_statistics(model: Peer, steps: int) -> None:
    """Let the moving statistics of batch normalisation, which begin as 0 and 1, keep no more than exp(-5) of that."""
    # Keras' momentum of 0.99, the peers', takes 500 steps for it; a comparison asked to be fast has fewer.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, max(0.0, 1 - 5 / steps))
