"""Encoder and decoder as Keras functional models, every layer named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lae_tf.config.model import ModelConfig
from lae_tf.model.self_correlation import SelfCorrelation
from lae_tf.model.shapes import Shape
from lae_tf.model.trunk import STRIDES, build_trunk
from lae_tf.runtime import addons

# First-, second- and third-order residuals of the spatial rich model (Fridrich & Kodovsky 2012), each with
# coefficients that sum to zero, centred in 5 x 5, so that smooth content vanishes.
_RESIDUALS = np.zeros((3, 5, 5), np.float32)
_RESIDUALS[0, 2, 1:4] = np.array([1, -2, 1]) / 2
_RESIDUALS[1, 1:4, 1:4] = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
_RESIDUALS[2] = (
    np.array([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]) / 12
)


def _asinh(x: tf.Tensor) -> tf.Tensor:
    """Return asinh of x >= 0 by operations that TFLite has, none of which leaves the range of x when quantised."""
    share = 1.0 / (1.0 + x)
    return tf.math.log(1.0 + x) + tf.math.log(1.0 - share + tf.sqrt(1.0 - 2.0 * share * (1.0 - share)))


@keras.saving.register_keras_serializable("lae_tf")
class HighPass(keras.layers.Layer):
    """Fixed high-pass residuals of an image: (B, H, W, 3) in [0, 1] to (B, H, W, 9).

    Either compressed, asinh(r) / 3 of a residual r in grey levels (of 255), within [-2.6, 2.6]: the small residuals,
    which tell a forgery, are told apart, and those of a sharp photograph, several times as large as a portrait's, are
    not cut off (ours). Or truncated, as in the spatial rich model: r / truncation, within [-1, 1].

    Args:
        truncation: grey levels at which residuals are cut; None compresses them.
    """

    def __init__(self, truncation: float | None = None, **kwargs: Any):
        # Cast to half precision the image would lose the residuals before they are taken.
        super().__init__(**{"trainable": False, "autocast": False, **kwargs})
        self.truncation = truncation
        self._kernel = np.tile(_RESIDUALS.transpose(1, 2, 0)[:, :, None, :], (1, 1, 3, 1))

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = tf.pad(tf.cast(images, tf.float32), [[0, 0], [2, 2], [2, 2], [0, 0]], mode="REFLECT")
        residuals = tf.nn.depthwise_conv2d(images, tf.constant(self._kernel), [1, 1, 1, 1], "VALID")
        if self.truncation is None:
            residuals = tf.sign(residuals) * _asinh(tf.abs(255.0 * residuals)) / 3.0
        else:
            residuals = tf.clip_by_value(residuals * (255.0 / self.truncation), -1.0, 1.0)
        return tf.cast(residuals, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 9)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "truncation": self.truncation}


@keras.saving.register_keras_serializable("lae_tf")
class Contrast(keras.layers.Layer):
    """Puts beside each feature its deviation from the image's mean: (B, H, W, C) to (B, H, W, 2 C).

    A local manipulation is what differs from the rest of its own image, whatever that image is like.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # In half precision a sum over many pixels would overflow.
        mean = tf.reduce_mean(tf.cast(x, tf.float32), axis=(1, 2), keepdims=True)
        return tf.concat([x, x - tf.cast(mean, x.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 2 * input_shape[-1])


@keras.saving.register_keras_serializable("lae_tf")
class Doubling(keras.layers.Layer):
    """Doubles height and width by repeating pixels: ``UpSampling2D``, whose gradient XLA lacks in Keras 2."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels)


@keras.saving.register_keras_serializable("lae_tf")
class SubPixels(keras.layers.Layer):
    """Doubles height and width by turning four channels into four pixels: (B, H, W, 4 C) to (B, 2 H, 2 W, C)."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels // 4)


def _convolution(width: int, name: str, size: int = 3) -> Callable[..., tf.Tensor]:
    def apply(x: tf.Tensor, activate: bool = True) -> tf.Tensor:
        x = keras.layers.Conv2D(width, size, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = addons.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return keras.layers.Activation("relu", name=f"{name}_relu")(x) if activate else x

    return apply


def _residual_block(x: tf.Tensor, width: int, name: str) -> tf.Tensor:
    hidden = _convolution(width, f"{name}_a")(x)
    hidden = _convolution(width, f"{name}_b")(hidden, activate=False)
    hidden = keras.layers.Add(name=f"{name}_add")([x, hidden])
    return keras.layers.Activation("relu", name=f"{name}_out")(hidden)


def build_fine_encoder(image_size: int, config: ModelConfig, name: str) -> keras.Model:
    """Build the encoder of faint traces: (B, S, S, 3) to features (B, S / stride, S / stride, widths[-1]).

    The stem keeps the full resolution, where the traces of a manipulation are; every further width halves
    it, so that stride = 2 ** (len(widths) - 1).

    Args:
        image_size: S in pixels, a multiple of the stride.
        config: widths, blocks, high_pass, contrast and self_correlation count.
        name: of the encoder.
    """
    image = keras.Input((image_size, image_size, 3), name="image")
    views = [image]
    if config.high_pass:
        views.append(HighPass(name="high_pass")(image))
    if config.self_correlation:
        views.append(SelfCorrelation(name="self_correlation")(image))
    x = keras.layers.Concatenate(name="stem_input")(views) if len(views) > 1 else image
    x = _convolution(config.widths[0], "stem")(x)
    for stage, width in enumerate(config.widths[1:], start=1):
        x = keras.layers.AveragePooling2D(2, name=f"stage{stage}_pool")(x)
        x = _convolution(width, f"stage{stage}_entry")(x)
        for block in range(config.blocks):
            x = _residual_block(x, width, f"stage{stage}_block{block + 1}")
        if config.contrast:
            x = Contrast(name=f"stage{stage}_contrast")(x)
    if config.contrast:
        x = _convolution(config.widths[-1], "mix", size=1)(x)
    return keras.Model(image, x, name=name)


def build_trunk_encoder(image_size: int, config: ModelConfig) -> keras.Model:
    """Build the encoder on the pretrained trunk: (B, S, S, 3) to features of the same shape as the fine one's.

    Both of the trunk's outputs are brought to the encoder's stride and mixed.

    Args:
        image_size: S in pixels, a multiple of ``config.size_step``.
        config: widths, contrast, trunk and trunk_weights count.

    Raises:
        LAEError: the trunk's weights cannot be had.
    """
    image = keras.Input((image_size, image_size, 3), name="image")
    outputs = build_trunk(image_size, pretrained=config.trunk_weights is not None)(image)
    at_stride = []
    for output, stride in zip(outputs, STRIDES, strict=True):
        if stride < config.stride:
            output = keras.layers.AveragePooling2D(config.stride // stride, name=f"trunk{stride}_pool")(output)
        for doubling in range((stride // config.stride).bit_length() - 1):
            output = Doubling(name=f"trunk{stride}_double{doubling + 1}")(output)
        at_stride.append(output)
    x = keras.layers.Concatenate(name="trunk_outputs")(at_stride)
    x = _convolution(config.widths[-1], "trunk_mix", size=1)(x)
    if config.contrast:
        x = Contrast(name="trunk_contrast")(x)
    return keras.Model(image, _convolution(config.widths[-1], "mix")(x), name="robust")


def build_decoder(grid: int, channels: int, widths: Sequence[int], name: str = "decoder") -> keras.Model:
    """Build the decoder: features (B, grid, grid, channels) to an image (B, S, S, 3) in [0, 1], float32.

    The last doubling is a sub-pixel convolution (Shi et al. 2016, arXiv 1609.05158): without feature maps of the full
    resolution, a training step costs a quarter less.

    Args:
        grid: side of the feature maps.
        channels: C of the features.
        widths: channels after each doubling of the resolution but the last; S = grid * 2 ** (len(widths) + 1).
    """
    features = keras.Input((grid, grid, channels), name="features")
    x = features
    for stage, width in enumerate(widths, start=1):
        x = Doubling(name=f"up{stage}")(x)
        x = _convolution(width, f"up{stage}")(x)
    x = keras.layers.Conv2D(12, 3, padding="same", dtype="float32", name="subpixels")(x)
    x = SubPixels(dtype="float32", name="shuffle")(x)
    x = keras.layers.Activation("sigmoid", dtype="float32", name="reconstruction")(x)
    return keras.Model(features, x, name=name)
