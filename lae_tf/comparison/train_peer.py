"""Train a peer under the same conditions as LAE: data, augmentation, steps, schedule, validation rule, masks."""

from __future__ import annotations

from typing import Any

import keras

from lae_tf.comparison.peers.peer import Peer
from lae_tf.config.sections import Config
from lae_tf.data.ingestion import decodable
from lae_tf.data.pipeline import cached, evaluation_dataset, training_dataset, with_degraded
from lae_tf.data.sampling import Composition, Sampling
from lae_tf.training.build import optimizer_for
from lae_tf.training.calibrate import calibrate_model
from lae_tf.training.callbacks import ProgressBar, StopDiverged, epoch_rank
from lae_tf.training.run import Run
from lae_tf.training.training_data import training_manifest


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the best epoch in memory, by the rule that LAE's checkpoints follow."""

    def __init__(self) -> None:
        super().__init__()
        self.best: list[float] | None = None
        self.weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        rank = epoch_rank(logs, "val_loss")
        if self.best is None or rank > self.best:
            self.best, self.weights = rank, self.model.get_weights()


def train_peer(model: Peer, config: Config) -> tuple[Peer, dict[str, Any]]:
    """Fit a peer for as many epochs as LAE's two stages have together.

    A peer that trains on forgeries made from real images (``forged_share``) validates on such ones too. One that
    reads masks (``uses_masks``) finds as many annotated fakes in every batch as LAE's second stage does.

    Returns:
        The model with the weights of its best epoch, calibrated on validation, and that calibration.
    """
    manifest = training_manifest(config)
    cache = Run(config.output).image_cache
    manifest = decodable(manifest, cache, progress=False)
    train_part, validation = manifest.select(split="train"), manifest.select(split="val")
    epochs = config.pretrain.epochs + config.align.epochs
    batch_size = config.data.batch_size
    composition = forge_seed = None
    if model.uses_masks and (train_part.mask_state == "annotated").any():
        unlabelled = bool((train_part.mask_state == "unlabelled").any())
        composition = Composition.align(batch_size, config.align.annotated, config.align.real, 0, unlabelled)
    elif model.forged_share:
        forged = round(batch_size * model.forged_share)
        composition, forge_seed = Composition(real=batch_size - forged, forged=forged), config.seed
        validation = validation.select(label="real")
    dataset, steps = training_dataset(
        train_part,
        model.preprocessor,
        Sampling(batch_size, config.seed, range(epochs), composition),
        config.augment,
    )
    held_out = evaluation_dataset(validation, model.preprocessor, batch_size, forge_seed)
    if config.augment.degrade:
        held_out = with_degraded(held_out, held_out, config.seed)
    held_out = cached(held_out, len(validation), config.data.image_size)
    settings = config.pretrain.model_copy(update={"epochs": epochs})
    _forget_initial_statistics(model, steps * epochs)
    model.compile(optimizer_for(settings, steps))
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
    decision, _ = calibrate_model(model, held_out)
    return model, decision


def _forget_initial_statistics(model: Peer, steps: int) -> None:
    """Let the moving statistics of batch normalisation, which begin as 0 and 1, keep no more than exp(-5) of that."""
    # Keras' momentum of 0.99, the peers', takes 500 steps for it; a comparison asked to be fast has fewer.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, max(0.0, 1 - 5 / steps))
