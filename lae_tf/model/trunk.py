"""The trunk: the first stages of EfficientNet-Lite0, which have seen the world (ImageNet) before they see forgeries.

EfficientNet-Lite (Liu et al. 2020, TensorFlow's blog) is EfficientNet (Tan and Le 2019, arXiv 1905.11946) without
squeeze-and-excitation and with ReLU6 for swish. The later stages, of stride 32, are left out: they name objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lae_tf.model.trunk_weights import trunk_weights
from lae_tf.runtime import addons

STRIDES = (8, 16)
"""Of the trunk's two outputs, in pixels."""

_STEM = 32


class _Stage(NamedTuple):
    """Blocks of equal shape; the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
)
_OUTPUT_STAGES = (2, 4)  # the last ones of stride 8 and of stride 16


def build_trunk(image_size: int, pretrained: bool) -> keras.Model:
    """Build the trunk: (B, S, S, 3) in [0, 1] to features (B, S / 8, S / 8, 40) and (B, S / 16, S / 16, 112).

    Args:
        image_size: S in pixels, a multiple of 16.
        pretrained: with ImageNet's weights, else random ones.

    Raises:
        LAEError: the weights cannot be had.
    """
    image = keras.Input((image_size, image_size, 3), name="image")
    x = keras.layers.Rescaling(255 / 128, -127 / 128, name="trunk_range")(image)
    x = keras.layers.Conv2D(_STEM, 3, 2, padding="same", use_bias=False, name="stem_conv")(x)
    x = _relu6(_norm(x, "stem_norm"), "stem_relu6")
    outputs = []
    for stage, shape in enumerate(_STAGES):
        for block in range(shape.blocks):
            x = _block(x, shape._replace(stride=1 if block else shape.stride), f"stage{stage}_block{block}")
        if stage in _OUTPUT_STAGES:
            outputs.append(x)
    trunk = keras.Model(image, outputs, name="trunk")
    if pretrained:
        _assign(trunk, trunk_weights())
    return trunk


def _block(x: tf.Tensor, shape: _Stage, name: str) -> tf.Tensor:
    """An inverted residual: widen, filter each channel by itself, narrow again."""
    entry = x
    if shape.expansion > 1:
        x = keras.layers.Conv2D(shape.expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _relu6(_norm(x, f"{name}_expand_norm"), f"{name}_expand_relu6")
    x = keras.layers.DepthwiseConv2D(
        shape.kernel, shape.stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = _relu6(_norm(x, f"{name}_depthwise_norm"), f"{name}_depthwise_relu6")
    x = keras.layers.Conv2D(shape.channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _norm(x, f"{name}_project_norm")
    if shape.stride == 1 and entry.shape[-1] == shape.channels:
        x = keras.layers.Add(name=f"{name}_add")([entry, x])
    return x


def _norm(x: tf.Tensor, name: str) -> tf.Tensor:
    return addons.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)


def _relu6(x: tf.Tensor, name: str) -> tf.Tensor:
    return keras.layers.ReLU(6.0, name=name)(x)


def _assign(trunk: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    for layer, source in _sources():
        if layer.endswith("_norm"):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [weights[f"{source}.{part}"] for part in parts]
        else:
            # A depthwise kernel is (channels, 1, height, width) there and (height, width, channels, 1) here.
            axes = (2, 3, 0, 1) if "depthwise" in layer else (2, 3, 1, 0)
            values = [weights[f"{source}.weight"].transpose(axes)]
        trunk.get_layer(layer).set_weights(values)


def _sources() -> Iterator[tuple[str, str]]:
    """Yield the name of every layer with weights, and its name in the file."""
    yield from (("stem_conv", "_conv_stem"), ("stem_norm", "_bn0"))
    number = 0
    for stage, shape in enumerate(_STAGES):
        for block in range(shape.blocks):
            ours, theirs = f"stage{stage}_block{block}", f"_blocks.{number}"
            if shape.expansion > 1:
                yield from (
                    (f"{ours}_expand_conv", f"{theirs}._expand_conv"),
                    (f"{ours}_expand_norm", f"{theirs}._bn0"),
                )
            yield from (
                (f"{ours}_depthwise_conv", f"{theirs}._depthwise_conv"),
                (f"{ours}_depthwise_norm", f"{theirs}._bn1"),
                (f"{ours}_project_conv", f"{theirs}._project_conv"),
                (f"{ours}_project_norm", f"{theirs}._bn2"),
            )
            number += 1
