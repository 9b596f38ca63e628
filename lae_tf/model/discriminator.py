"""A small PatchGAN discriminator with spectral normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

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

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for convolution, width in zip(self.convolutions, self.widths, strict=True):
            convolution.build(shape)
            shape = (shape[0], -(-shape[1] // 2), -(-shape[2] // 2), width)
        self.logits.build(shape)
        self.built = True

    def call(self, images: Any, training: bool = False) -> tuple[Any, Any]:
        """Return patch logits (B, h, w, 1) and all features, flattened and joined (B, N)."""
        hidden = tf.cast(images, tf.float32)
        features = []
        for convolution in self.convolutions:
            hidden = tf.nn.leaky_relu(convolution(hidden, training=training), 0.2)
            features.append(tf.reshape(hidden, (-1, hidden.shape[1] * hidden.shape[2] * hidden.shape[3])))
        return self.logits(hidden), tf.concat(features, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths}
