"""The losses by role, each a ``keras.losses.Loss`` that returns one value a sample (``reduction="none"``).

Means over the batch are the model's business, because alignment is normalised by the sum of the mask
weights and not by the batch size. All losses compute in float32.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.model.head import split_activations
from lae_tf.runtime import addons


def _pixel_sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=(1, 2))


class SampleLoss(keras.losses.Loss):
    """A loss of shape (B,): no reduction, so that the model can weight samples."""

    def __init__(self, name: str | None = None, reduction: str = "none", **kwargs: Any):
        super().__init__(name=name or type(self).__name__, reduction=reduction, **kwargs)


@keras.saving.register_keras_serializable("lae_tf")
class PixelLoss(SampleLoss):
    """Mean absolute error between image and reconstruction, both (B, H, W, 3) in [0, 1]; range [0, 1]."""

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.abs(tf.cast(y_true, tf.float32) - tf.cast(y_pred, tf.float32)), axis=(1, 2, 3))


@keras.saving.register_keras_serializable("lae_tf")
class DecisionLoss(SampleLoss):
    """Binary cross-entropy between label (B, 1) and logit (B, 1), optionally focal.

    Args:
        gamma: focusing parameter of the focal loss (arXiv 1708.02002); 0 is plain cross-entropy.
        label_smoothing: in [0, 1); moves labels towards 0.5. Not with the focal form.
    """

    target = "logit"

    def __init__(self, gamma: float = 0.0, label_smoothing: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        if gamma < 0:
            raise ValueError(f"gamma must be >= 0. Received instead {gamma!r}.")
        if not 0 <= label_smoothing < 1 or (label_smoothing and gamma):
            raise ValueError(f"label_smoothing must be in [0, 1), and 0 with gamma. Received {label_smoothing!r}.")
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        # alpha = 0.5 weighs both classes alike; the factor 2 makes gamma -> 0 the plain cross-entropy.
        self._focal = addons.SigmoidFocalCrossEntropy(from_logits=True, alpha=0.5, gamma=gamma) if gamma else None

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        label, logit = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        if self._focal is not None:
            return 2.0 * self._focal(label, logit)
        label = label * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        return tf.nn.sigmoid_cross_entropy_with_logits(label, logit)[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("lae_tf")
class ActivationLoss(SampleLoss):
    """Split-latent loss of ForensicTransfer (arXiv 1812.02510): L = |a_real - [y=0]| + |a_fake - [y=1]|.

    Takes the label (B, 1) and the latent z (B, C), C even. Goes with ``SplitLatentHead``.
    """

    target = "latent"

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        label = tf.cast(y_true, tf.float32)
        wanted = tf.concat([1.0 - label, label], axis=-1)
        return tf.reduce_sum(tf.abs(split_activations(tf.cast(y_pred, tf.float32)) - wanted), axis=-1)


@keras.saving.register_keras_serializable("lae_tf")
class AlignmentLoss(SampleLoss):
    """Distance between the mask (B, h, w) in [0, 1] and the attention, given as map logits (B, h, w).

    With a = sigmoid(map logits), m the mask, sums over locations and means over h * w:

    ========  ==================================================================================
    ``bce``   mean of -(p m log a + (1 - m) log(1 - a)), p the weight of forged pixels
    ``l1``    mean |a - m|
    ``dice``  1 - (2 sum a m + 1) / (sum a + sum m + 1)
    ``iou``   1 - (sum a m + 1) / (sum a + sum m - sum a m + 1)
    ========  ==================================================================================

    The 1 in dice and iou makes an empty map on an empty mask a perfect match (loss 0).

    Args:
        kind: one of the four above.
        positive_weight: p of ``bce``, > 0.
    """

    kinds = ("bce", "l1", "dice", "iou")

    def __init__(self, kind: str = "bce", positive_weight: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        if kind not in self.kinds:
            raise ValueError(f"kind must be one of {self.kinds}. Received instead {kind!r}.")
        if not positive_weight > 0:
            raise ValueError(f"positive_weight must be > 0. Received instead {positive_weight!r}.")
        self.kind = kind
        self.positive_weight = positive_weight

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        mask, logits = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        if self.kind == "bce":
            losses = tf.nn.weighted_cross_entropy_with_logits(mask, logits, self.positive_weight)
            return tf.reduce_mean(losses, axis=(1, 2))
        attention = tf.sigmoid(logits)
        if self.kind == "l1":
            return tf.reduce_mean(tf.abs(attention - mask), axis=(1, 2))
        overlap = _pixel_sum(attention * mask)
        total = _pixel_sum(attention) + _pixel_sum(mask)
        if self.kind == "dice":
            return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
        return 1.0 - (overlap + 1.0) / (total - overlap + 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "positive_weight": self.positive_weight}


@keras.saving.register_keras_serializable("lae_tf")
class AdversarialLoss(SampleLoss):
    """Loss of a patch discriminator on its logits (B, h, w, 1).

    ``hinge``: D minimises max(0, 1 - d(x)) + max(0, 1 + d(x^)); the decoder minimises -d(x^).
    ``non-saturating``: binary cross-entropy for both; the decoder's target is "real".

    Calling it with y_true of ones (image) or zeros (reconstruction) gives the discriminator's loss.

    Args:
        kind: ``hinge`` or ``non-saturating``.
    """

    kinds = ("hinge", "non-saturating")

    def __init__(self, kind: str = "hinge", **kwargs: Any):
        super().__init__(**kwargs)
        if kind not in self.kinds:
            raise ValueError(f"kind must be one of {self.kinds}. Received instead {kind!r}.")
        self.kind = kind

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(y_pred, tf.float32)
        target = tf.cast(y_true, tf.float32)
        if self.kind == "hinge":
            losses = tf.nn.relu(1.0 - (2.0 * target - 1.0) * logits)
        else:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
        return tf.reduce_mean(losses, axis=(1, 2, 3))

    def generator(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the decoder's loss (B,) from the discriminator's logits on reconstructions."""
        if self.kind == "hinge":
            return -tf.reduce_mean(tf.cast(logits, tf.float32), axis=(1, 2, 3))
        return self.call(tf.ones_like(logits), logits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}
