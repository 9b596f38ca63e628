"""What one batch does to an LAE: weights and metrics in training, metrics alone in validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from lae_tf.model.attention import pool_mask
from lae_tf.model.losses import AdversarialLoss
from lae_tf.runtime import addons

if TYPE_CHECKING:
    from lae_tf.model.lae import LAE


def learn(model: LAE, batch: dict[str, Any]) -> None:
    """Update weights and metrics on one batch, or on one replica's part of it."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    variables = model.autoencoder_variables
    with tf.GradientTape() as tape:
        outputs = model.forward(batch["image"], training=True)
        terms = model.objective.terms(batch, outputs, model.discriminator)
        # Replicas sum their gradients, so each contributes its share of the mean.
        scaled = addons.scale_loss(model.optimizer, terms["loss"] / replicas)
    addons.apply_gradients(model.optimizer, tape.gradient(scaled, variables), variables)
    if model.discriminator is not None:
        reconstruction = outputs["reconstruction"]
        terms["discriminator_loss"] = train_discriminator(model, batch["image"], reconstruction, replicas)
    _update_metrics(model, batch, outputs, terms)


def judge(model: LAE, batch: dict[str, Any]) -> None:
    """Update metrics on one batch, or on one replica's part of it."""
    # The last batch may leave a replica without images, and not every layer can do with none: it gets a blank one,
    # which counts for nothing.
    count = tf.shape(batch["image"])[0]
    blank = tf.maximum(0, 1 - count)
    filled = {name: tf.pad(part, [[0, blank], *[[0, 0]] * (len(part.shape) - 1)]) for name, part in batch.items()}
    outputs = model.forward(filled["image"], training=False)
    terms = model.objective.terms(filled, outputs, model.discriminator, count)
    _update_metrics(model, batch, {name: part[:count] for name, part in outputs.items()}, terms)


def train_discriminator(model: LAE, images: Any, reconstructions: Any, replicas: int) -> Any:
    """Let the discriminator tell images from reconstructions, both (B, S, S, 3), and return its loss."""
    adversarial = model.objective.adversarial or AdversarialLoss()
    discriminator: Any = model.discriminator
    variables = discriminator.trainable_variables
    with tf.GradientTape() as tape:
        real, _ = discriminator(images, training=True)
        fake, _ = discriminator(tf.stop_gradient(reconstructions), training=True)
        loss = tf.reduce_mean(adversarial(tf.ones_like(real), real) + adversarial(tf.zeros_like(fake), fake))
        scaled = loss / replicas
    gradients = tape.gradient(scaled, variables)
    model.discriminator_optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return loss


def _update_metrics(model: LAE, batch: dict[str, Any], outputs: dict[str, Any], terms: dict[str, Any]) -> None:
    count = tf.cast(tf.shape(batch["image"])[0], tf.float32)
    for name, mean in model.term_means.items():
        if name in terms:
            mean.update_state(terms[name], sample_weight=count)
    score = tf.sigmoid(outputs["logit"])
    for metric in model.decision_metrics:
        metric.update_state(batch["label"], score)
    fired = tf.sigmoid(outputs["map_logits"]) > 0.5
    forged = pool_mask(batch["mask"], fired.shape[1], fired.shape[2]) > 0.5
    overlap = tf.reduce_sum(tf.cast(fired & forged, tf.float32), axis=(1, 2))
    union = tf.reduce_sum(tf.cast(fired | forged, tf.float32), axis=(1, 2))
    annotated = tf.cast(batch["mask_weight"], tf.float32) * tf.cast(batch["label"], tf.float32)
    model.attention_iou.update_state(tf.math.divide_no_nan(overlap, union), sample_weight=annotated[:, 0])
