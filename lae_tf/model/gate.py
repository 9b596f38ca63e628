"""The gate: whether an image still is as it was stored, or was degraded on its way, told by its pixels.

The statistics and their use are our definition.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from lae_tf.model.shapes import Shape

_BLOCK = 8  # side of JPEG's blocks in pixels
_FLAT = 1.5  # grey levels; smaller differences are what quantisation leaves of noise
_DIAGONAL = 6  # i + j of the frequencies whose coefficients are looked at: JPEG 95 drops them where nothing is sharp
_ZERO = 1.0  # grey levels; rounding pixels leaves about 0.3 of a coefficient that was dropped
_PLANES = (  # of RGB: grey, the difference of red and green, and JPEG's Y, Cb and Cr
    (1 / 3, 1 / 3, 1 / 3),
    (1.0, -1.0, 0.0),
    (0.299, 0.587, 0.114),
    (-0.1687, -0.3313, 0.5),
    (0.5, -0.4187, -0.0813),
)
_STATISTICS = (2 * _BLOCK + 10) + 3 + 2 * 5
_SHARPNESS = 5.0  # a short training, whose steps are right for convolutions, would leave the gate half open
_STORED_WEIGHT = 0.25


@keras.saving.register_keras_serializable("lae_tf")
class QualityStatistics(keras.layers.Layer):
    """What compression, scaling, blur and noise leave in an image: (B, S, S, 3) in [0, 1] to float32 (B, 39), S >= 15.

    - 26 of the grey levels' differences of first, second and third order: how the second ones are spread over the
      phases of a grid of 8 pixels, across and down (JPEG's blocks), the logarithms of their means and of the means'
      ratios, and of the shares that are nearly zero; of the difference of red and green, the same for the second order.
    - 3 of the coefficients of a discrete cosine transform of blocks of 8 x 8 pixels: how near they are to zero, from 0
      to 1, at the one of the 64 places of the grid where they are nearest, on average over the places, and the two's
      difference. JPEG sets coefficients to zero on its own grid alone.
    - 10 of chroma: the logarithms of the mean differences of Cb and of Cr across, down, and of both orders, and of
      those between even and odd places less those between odd and even ones. Most JPEG, WebP and video has colour at
      half the resolution.
    """

    def __init__(self, **kwargs: object):
        # Half precision would round away what is measured.
        super().__init__(**{"trainable": False, "autocast": False, "dtype": "float32", **kwargs})

    def call(self, images: tf.Tensor) -> tf.Tensor:
        planes = tf.tensordot(tf.cast(images, tf.float32), 255.0 * np.transpose(_PLANES).astype(np.float32), axes=1)
        grey, colour, luma, *chroma = tf.unstack(planes, axis=-1)
        parts = [_of_differences(grey, colour), _of_blocks(luma), *map(_of_chroma, chroma)]
        return tf.concat(parts, axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int]:
        return (input_shape[0], _STATISTICS)


def build_gate(image_size: int) -> keras.Model:
    """Build the gate: (B, S, S, 3) in [0, 1] to the logit of "as it was stored", float32 (B, 1)."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = QualityStatistics(name="statistics")(image)
    x = keras.layers.BatchNormalization(momentum=0.9, dtype="float32", name="statistics_norm")(x)
    x = keras.layers.Rescaling(_SHARPNESS, dtype="float32", name="sharpened")(x)
    x = keras.layers.Dense(64, activation="relu", dtype="float32", name="hidden")(x)
    x = keras.layers.Dense(1, dtype="float32", name="evidence")(x)
    return keras.Model(image, keras.layers.Rescaling(_SHARPNESS, dtype="float32", name="logit")(x), name="gate")


def gate_loss(stored: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """Return the gate's cross-entropy, a scalar, in which a degraded image weighs four times as much as a stored one.

    The fine expert is far off on what it was not trained on, the robust one nearly as good on stored images.

    Args:
        stored: float32 (B, 1), 1 where the image is as it was stored.
        logit: float32 (B, 1), of the gate.
    """
    return tf.reduce_mean(tf.nn.weighted_cross_entropy_with_logits(stored, logit, _STORED_WEIGHT))


def _of_differences(grey: tf.Tensor, colour: tf.Tensor) -> tf.Tensor:
    """Return (B, 26) of grey levels and of a difference of colours, (B, S, S) each."""
    first = tf.abs(_difference(grey))
    second = tf.abs(_difference(_difference(grey)))
    down = tf.abs(_difference(_difference(tf.linalg.matrix_transpose(grey))))
    third = tf.abs(_difference(_difference(_difference(grey))))
    colour = tf.abs(_difference(_difference(colour)))
    strength = tf.reduce_mean(second, axis=(1, 2))[:, None]
    logarithms = [_logarithm(x) for x in (second, down, third, first, colour)]
    flat = [tf.reduce_mean(tf.cast(x < _FLAT, tf.float32), axis=(1, 2)) for x in (second, first, colour)]
    ratios = [logarithms[0] - logarithms[3], logarithms[2] - logarithms[0]]
    others = [*logarithms, *(tf.math.log(share + 0.01) for share in flat), *ratios]
    phases = [_phases(x) / (strength + 0.1) for x in (second, down)]
    return tf.concat([*phases, tf.stack(others, axis=-1)], axis=-1)


def _of_blocks(luma: tf.Tensor) -> tf.Tensor:
    """Return (B, 3) of levels of luma (B, S, S)."""
    coefficients = tf.nn.depthwise_conv2d(luma[..., None], _cosines(), strides=(1, 1, 1, 1), padding="VALID")
    # Not a count below a threshold: one coefficient that another runtime rounds to its other side would change it.
    nearness = tf.reduce_mean(tf.nn.relu(1.0 - tf.abs(coefficients) / _ZERO), axis=-1)
    blocks = nearness.shape[1] // _BLOCK
    whole = nearness[:, : blocks * _BLOCK, : blocks * _BLOCK]
    by_place = tf.reduce_mean(tf.reshape(whole, (-1, blocks, _BLOCK, blocks, _BLOCK)), axis=(1, 3))
    highest, mean = tf.reduce_max(by_place, axis=(1, 2)), tf.reduce_mean(by_place, axis=(1, 2))
    return tf.stack([highest, mean, highest - mean], axis=-1)


def _of_chroma(levels: tf.Tensor) -> tf.Tensor:
    """Return (B, 5) of levels (B, S, S) of one plane of colour."""
    across, down = _difference(levels), _difference(tf.linalg.matrix_transpose(levels))
    both = _difference(tf.linalg.matrix_transpose(across))
    columns = [tf.reduce_mean(tf.abs(x), axis=1, keepdims=True) for x in (across, down)]  # in a few numbers every other
    phases = [_logarithm(x[:, :, ::2]) - _logarithm(x[:, :, 1::2]) for x in columns]
    return tf.stack([*(_logarithm(tf.abs(x)) for x in (across, down, both)), *phases], axis=-1)


def _difference(values: tf.Tensor) -> tf.Tensor:
    """Return the differences of neighbours in a row of (B, H, W)."""
    return values[:, :, 1:] - values[:, :, :-1]


def _logarithm(values: tf.Tensor) -> tf.Tensor:
    """Return the logarithm of the mean of each of (B, H, W): (B,)."""
    return tf.math.log(tf.reduce_mean(values, axis=(1, 2)) + 0.05)


def _phases(values: tf.Tensor) -> tf.Tensor:
    """Return the mean of (B, H, W) over the columns of each phase of the grid: (B, 8)."""
    height, width = values.shape[1], values.shape[2] // _BLOCK * _BLOCK
    return tf.reduce_mean(tf.reshape(values[:, :, :width], (-1, height, width // _BLOCK, _BLOCK)), axis=(1, 2))


def _cosines() -> np.ndarray:
    """Return the orthonormal basis of the frequencies on the diagonal, float32 (8, 8, 1, 7)."""
    place, diagonal = np.arange(_BLOCK), np.arange(_DIAGONAL + 1)
    waves = np.cos(np.pi * (2 * place + 1) * diagonal[:, None] / (2 * _BLOCK)) / 2  # by frequency and place
    waves[0] /= np.sqrt(2)
    return np.einsum("fy,fx->yxf", waves, waves[::-1])[:, :, None].astype(np.float32)
