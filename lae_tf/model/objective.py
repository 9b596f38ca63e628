"""What training minimises: the losses by role, their weights, and the terms that they give on a batch."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf

from lae_tf.model.attention import pool_mask
from lae_tf.model.losses import ActivationLoss, AdversarialLoss
from lae_tf.model.perceptual import FeatureMatchingLoss

Tensors = dict[str, tf.Tensor]

# l1, l2, l3 of the loss and b1, b2, b3 of the reconstruction term.
DEFAULT_WEIGHTS = {
    "reconstruction": 1.0,
    "latent": 1.0,
    "alignment": 0.0,
    "pixel": 1.0,
    "perceptual": 0.0,
    "adversarial": 0.0,
}


@dataclass(frozen=True)
class Objective:
    """The loss l1 (b1 pixel + b2 perceptual + b3 adversarial) + l2 latent + l3 alignment (docs/method.md).

    Attributes:
        pixel: image against reconstruction.
        latent: label against logit or latent, as its ``target`` says.
        alignment: mask against attention.
        perceptual: image, or its features, against the reconstruction's; None leaves the term out.
        adversarial: of the discriminator's logits; None leaves the term out.
        weights: by role, as ``DEFAULT_WEIGHTS`` names them.
    """

    pixel: keras.losses.Loss
    latent: keras.losses.Loss
    alignment: keras.losses.Loss
    perceptual: keras.losses.Loss | None
    adversarial: AdversarialLoss | None
    weights: dict[str, float]

    def check(self, head: str, discriminator: bool) -> None:
        """Raise a ValueError if these losses do not go with the model's head, or lack a discriminator."""
        if isinstance(self.latent, ActivationLoss) != (head == "split"):
            raise ValueError("ActivationLoss and head 'split' go together; one was given without the other.")
        if not discriminator and (self.adversarial is not None or isinstance(self.perceptual, FeatureMatchingLoss)):
            raise ValueError("adversarial and feature-matching losses need LAE(discriminator=True).")

    def tracked(self, discriminator: bool) -> list[str]:
        """Return the names of the terms that a training step reports."""
        names = ["loss", "reconstruction_loss", "latent_loss", "alignment_loss"]
        optional = {"perceptual_loss": self.perceptual, "adversarial_loss": self.adversarial}
        names += [name for name, loss in optional.items() if loss is not None]
        return [*names, "discriminator_loss"] if discriminator else names

    def terms(
        self,
        batch: Tensors,
        outputs: Tensors,
        discriminator: keras.layers.Layer | None = None,
        count: tf.Tensor | None = None,
    ) -> Tensors:
        """Return the batch's terms and their weighted sum ``loss``, scalars in float32.

        Args:
            batch: ``image`` (B, S, S, 3), ``label`` (B, 1), ``mask`` (B, S, S, 1) and ``mask_weight`` (B, 1).
            outputs: of ``LAE.forward``.
            discriminator: maps images to logits and features.
            count: the number of images that count, if not all do.
        """
        terms = self._reconstruction_terms(batch, outputs["reconstruction"], discriminator)
        terms["latent_loss"] = tf.reduce_mean(self.latent(batch["label"], outputs[self.latent.target]))
        terms["alignment_loss"] = self._alignment_term(batch, outputs["map_logits"], count)
        roles = ("reconstruction", "latent", "alignment")
        # One sum in one kernel: graph optimisers reorder separate additions, not in every process alike.
        weights = tf.constant([self.weights[role] for role in roles], tf.float32)
        terms["loss"] = tf.reduce_sum(weights * tf.stack([terms[f"{role}_loss"] for role in roles]))
        return terms

    def _reconstruction_terms(
        self, batch: Tensors, reconstruction: tf.Tensor, discriminator: keras.layers.Layer | None
    ) -> Tensors:
        image = tf.cast(batch["image"], tf.float32)
        terms = {"reconstruction_loss": self.weights["pixel"] * tf.reduce_mean(self.pixel(image, reconstruction))}
        if discriminator is not None:
            # The generator's view: gradients reach the decoder, never the discriminator's weights.
            fake_logits, fake_features = discriminator(reconstruction, training=False)
            if self.adversarial is not None:
                terms["adversarial_loss"] = tf.reduce_mean(self.adversarial.generator(fake_logits))
            if isinstance(self.perceptual, FeatureMatchingLoss):
                _, real_features = discriminator(image, training=False)
                distance = self.perceptual(tf.stop_gradient(real_features), fake_features)
                terms["perceptual_loss"] = tf.reduce_mean(distance)
        if self.perceptual is not None and "perceptual_loss" not in terms:
            terms["perceptual_loss"] = tf.reduce_mean(self.perceptual(image, reconstruction))
        for name in ("perceptual", "adversarial"):
            if f"{name}_loss" in terms:
                terms["reconstruction_loss"] += self.weights[name] * terms[f"{name}_loss"]
        return terms

    def _alignment_term(self, batch: Tensors, map_logits: tf.Tensor, count: tf.Tensor | None) -> tf.Tensor:
        mask = pool_mask(batch["mask"], map_logits.shape[1], map_logits.shape[2])
        known = tf.cast(batch["mask_weight"], tf.float32)[:, 0]
        alignment = self.alignment(mask, map_logits)
        # Normalised by the known masks of the whole batch, not of this replica's part of it; the factor makes the
        # mean over replicas, weighted by their images, the value of the whole batch.
        images = tf.cast(tf.shape(known)[0] if count is None else count, tf.float32)
        all_known, all_images = _over_replicas([tf.reduce_sum(known), images])
        alignment_sum = tf.reduce_sum(known * alignment) * tf.math.divide_no_nan(all_images, images)
        return tf.math.divide_no_nan(alignment_sum, all_known)


def _over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return the sums over all replicas that work on this batch."""
    context = tf.distribute.get_replica_context()
    # Without a strategy there is nothing to add, and XLA knows no all_reduce on CPUs.
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)
