"""Heads: from the last feature maps to the logit of "fake"."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.model.shapes import Shape

POOLINGS = ("lse", "gap")


@keras.saving.register_keras_serializable("lae_tf")
class EvidenceHead(keras.layers.Layer):
    """Linear evidence at every location, pooled to one logit.

    Evidence e = F w + b. ``gap`` averages it, which equals global average pooling followed by a dense
    layer. ``lse`` (our default) is the log-mean-exp, s = (1/r) log mean exp(r e): between the mean
    (r -> 0) and the maximum (r -> infinity). With ``gap`` and an attention threshold of 0 alignment fights the
    decision: evidence has to be negative outside a small forgery, and then its mean is negative too.

    Args:
        pooling: ``lse`` or ``gap``.
        sharpness: r of ``lse``, > 0.
    """

    def __init__(self, pooling: str = "lse", sharpness: float = 2.0, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}. Received instead {pooling!r}.")
        if not sharpness > 0:
            raise ValueError(f"sharpness must be > 0. Received instead {sharpness!r}.")
        self.pooling = pooling
        self.sharpness = sharpness

    def build(self, input_shape: Shape) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 1), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")
        self.built = True

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return self.pool(self.evidence(features))

    def evidence(self, features: tf.Tensor) -> tf.Tensor:
        """Return the evidence of features (B, h, w, C): float32 (B, h, w)."""
        return tf.tensordot(tf.cast(features, tf.float32), self.kernel, axes=1)[..., 0] + self.bias

    def pool(self, evidence: tf.Tensor) -> tf.Tensor:
        """Return the logit (B, 1) of evidence (B, h, w)."""
        if self.pooling == "gap":
            return tf.reduce_mean(evidence, axis=(1, 2))[:, None]
        locations = tf.cast(tf.shape(evidence)[1] * tf.shape(evidence)[2], tf.float32)
        pooled = tf.reduce_logsumexp(self.sharpness * evidence, axis=(1, 2)) - tf.math.log(locations)
        return pooled[:, None] / self.sharpness

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pooling": self.pooling, "sharpness": self.sharpness}


@keras.saving.register_keras_serializable("lae_tf")
class SplitLatentHead(keras.layers.Layer):
    """The split latent of ForensicTransfer (Cozzolino et al. 2018, arXiv 1812.02510).

    z = GAP(F) is cut in halves, z = [z_real, z_fake], with activations a_c = mean |z_c|. The logit is
    k (a_fake - a_real); k is ours and fixed, since the activations are driven to 0 and 1.

    Args:
        scale: k, > 0.
    """

    def __init__(self, scale: float = 4.0, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.scale = scale

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] % 2:
            raise ValueError(f"a split latent needs an even number of channels. Received {input_shape[-1]}.")
        self.built = True

    def call(self, features: tf.Tensor) -> tf.Tensor:
        latent = tf.reduce_mean(tf.cast(features, tf.float32), axis=(1, 2))
        activations = split_activations(latent)
        return self.scale * (activations[:, 1:] - activations[:, :1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def split_activations(latent: tf.Tensor) -> tf.Tensor:
    """Return (a_real, a_fake) as (B, 2) from a latent (B, C) with C even."""
    halves = tf.reshape(tf.abs(latent), (-1, 2, latent.shape[-1] // 2))
    return tf.reduce_mean(halves, axis=-1)


def build_head(kind: str, lse_sharpness: float) -> EvidenceHead | SplitLatentHead:
    """Return the head of a kind in ``ModelConfig.head``, not built."""
    return SplitLatentHead(name="head") if kind == "split" else EvidenceHead(kind, lse_sharpness, name="head")
