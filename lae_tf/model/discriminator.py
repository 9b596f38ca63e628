"""A small PatchGAN discriminator with spectral normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from lae_tf.model.shapes import Shape
from lae_tf.runtime.addons import SpectralNormalization


@keras.saving.register_keras_serializable("lae_tf")
class PatchDiscriminator(keras.layers.Layer):
    """Tells images from reconstructions patch by patch (Isola et al. 2017, arXiv 1611.07004).

    Every convolution is spectrally normalised (Miyato et al. 2018, arXiv 1802.05957). Runs in float32
    whatever the precision policy is: it is small, and needs no loss scaling that way.

    Args:
        widths: channels of the strided 4 x 4 convolutions; the receptive field grows with their number.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.widths = tuple(widths)
        self.convolutions = [
            SpectralNormalization(
                keras.layers.Conv2D(width, 4, strides=2, padding="same", dtype="float32", name=f"patch_conv_{i}"),
                dtype="float32",
                name=f"patch_norm_{i}",
            )
            for i, width in enumerate(self.widths)
        ]
        self.logits = keras.layers.Conv2D(1, 3, padding="same", dtype="float32", name="patch_logits")

    def build(self, input_shape: Shape) -> None:
        shape = input_shape
        for convolution, width in zip(self.convolutions, self.widths, strict=True):
            convolution.build(shape)
            batch, height, row, _ = shape
            shape = (batch, -(-height // 2), -(-row // 2), width)
        self.logits.build(shape)
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Return patch logits (B, h, w, 1) and all features, flattened and joined (B, N)."""
        hidden = tf.cast(images, tf.float32)
        features = []
        for convolution in self.convolutions:
            hidden = tf.nn.leaky_relu(convolution(hidden, training=training), 0.2)
            features.append(tf.reshape(hidden, (-1, hidden.shape[1] * hidden.shape[2] * hidden.shape[3])))
        return self.logits(hidden), tf.concat(features, axis=-1)

    def loss_and_gradients(
        self, images: tf.Tensor, reconstructions: tf.Tensor, adversarial: keras.losses.Loss, replicas: int
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the loss of telling images from reconstructions, both (B, S, S, 3), and its gradients.

        Args:
            images: float32 in [0, 1].
            reconstructions: of the same images; no gradient reaches what made them.
            adversarial: loss of the patch logits.
            replicas: that sum their gradients; each contributes its share of the mean.
        """
        with tf.GradientTape() as tape:
            real, _ = self(images, training=True)
            fake, _ = self(tf.stop_gradient(reconstructions), training=True)
            loss = tf.reduce_mean(adversarial(tf.ones_like(real), real) + adversarial(tf.zeros_like(fake), fake))
            scaled = loss / replicas
        return loss, tape.gradient(scaled, self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths}
