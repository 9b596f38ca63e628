"""Perceptual distances: features of a fixed comparator network, or of the discriminator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from lae_tf.errors import LAEError
from lae_tf.model.losses import SampleLoss
from lae_tf.model.weights_file import check_hdf5

VGG16_LAYERS = ("block1_conv2", "block2_conv2", "block3_conv3")


@keras.saving.register_keras_serializable("lae_tf")
class VGG16PerceptualLoss(SampleLoss):
    """Mean absolute distance of VGG16 features (Johnson et al. 2016, arXiv 1603.08155), averaged over layers.

    Takes image and reconstruction, both (B, H, W, 3) in [0, 1].

    Args:
        weights: ``imagenet`` (from the Keras cache, or downloaded where the machine is online) or a path
            to a VGG16 weights file without the top.

    Raises:
        LAEError: the weights cannot be had; says what to do.
    """

    def __init__(self, weights: str = "imagenet", **kwargs: Any):
        super().__init__(**kwargs)
        self.weights = weights
        self._features = _vgg16_features(weights)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        pairs = zip(self._features(y_true), self._features(y_pred), strict=True)
        return tf.add_n([tf.reduce_mean(tf.abs(a - b), axis=(1, 2, 3)) for a, b in pairs]) / len(VGG16_LAYERS)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights}


@keras.saving.register_keras_serializable("lae_tf")
class FeatureMatchingLoss(SampleLoss):
    """Mean absolute distance of the discriminator's features (Salimans et al. 2016, arXiv 1606.03498).

    Takes features of image and reconstruction, both (B, N). Needs no downloaded weights.
    """

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.abs(tf.cast(y_true, tf.float32) - tf.cast(y_pred, tf.float32)), axis=-1)


@functools.cache
def _vgg16_features(weights: str) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Return a function from images to features; a closure, so that Keras does not save VGG16 with the LAE."""
    if weights != "imagenet" and not Path(weights).is_file():
        raise LAEError(f"VGG16 weights {weights}: no such file; expected 'imagenet' or a weights file without top.")
    try:
        network = keras.applications.VGG16(include_top=False, weights=None if Path(weights).is_file() else weights)
        if Path(weights).is_file():
            check_hdf5(weights, stored_plainly=False)
            network.load_weights(weights)
    except Exception as error:  # Keras raises whatever its downloader or HDF5 raises.
        raise LAEError(
            "The perceptual loss 'vgg16' needs VGG16's ImageNet weights, which are neither in the Keras cache "
            f"nor could be downloaded ({type(error).__name__}). Put the file there, name one with "
            "losses.vgg16_weights, or use 'discriminator' or 'none'."
        ) from error
    network.trainable = False
    extractor = keras.Model(network.inputs, [network.get_layer(name).output for name in VGG16_LAYERS])

    def features(images: tf.Tensor) -> list[tf.Tensor]:
        scaled = keras.applications.vgg16.preprocess_input(tf.cast(images, tf.float32) * 255.0)
        return [tf.cast(output, tf.float32) for output in extractor(scaled, training=False)]

    return features
