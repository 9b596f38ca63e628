"""Where an image repeats itself: copies of a region are found by correlating the image with itself."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lae_tf.model.shapes import Shape

_BLOCKS = 4  # the image is searched for copies of each of 4 x 4 blocks
_NEAREST = 8  # pixels; every image resembles itself at smaller shifts
_WINDOW = 5  # side of the window in which two places are compared, in pixels
_NOISE = 0.3  # variance of a residual, in squared grey levels, below which a place counts as flat
_EQUAL = 2e-3  # similarity is told from 1 down to this difference


@keras.saving.register_keras_serializable("lae_tf")
class SelfCorrelation(keras.layers.Layer):
    """How exactly each place of an image is repeated elsewhere in it: (B, S, S, 3) in [0, 1] to (B, S, S, 1).

    Copy-move and filling from patches repeat pixels, which no two places of a photograph do. For each block of the
    image the circular shift is found at which its residual correlates best with the whole image's (as a product of
    discrete Fourier transforms, written as matrix products so that every runtime has them). Each place of the block
    is then compared with the one that the shift leads to, by c = 2 <r, r'> / (<r, r> + <r', r'>) over a small window of
    both residuals, and -log(1 - c) is the output, scaled to about [-0.1, 1]: 1 where a copy is exact, 0 where nothing
    is alike. Both the copy and its source are marked. Self-correlation is BusterNet's idea (Wu et al. 2018, ECCV),
    there of learned features; this layer, which learns nothing, is our definition.

    A copy that was turned, scaled or compressed is not found.
    """

    def __init__(self, **kwargs: Any):
        # Half precision would round away what tells a copy from a likeness.
        super().__init__(**{"trainable": False, "autocast": False, **kwargs})

    def call(self, images: tf.Tensor) -> tf.Tensor:
        size = images.shape[1]
        blocks = math.gcd(size, _BLOCKS)
        residual = _residual(255.0 * tf.reduce_mean(tf.stop_gradient(tf.cast(images, tf.float32)), axis=-1))
        # Of equal strength everywhere, or a few strong edges would decide the shift.
        equalised = tf.clip_by_value(residual / tf.sqrt(_window_mean(residual**2) + 1.0), -2.0, 2.0)
        correlation = _correlate(_cut(equalised, blocks), equalised)
        apart = tf.where(_too_near(size, blocks), correlation.dtype.min, correlation)
        best = tf.argmax(tf.reshape(apart, (-1, blocks**2, size**2)), axis=-1, output_type=tf.int32)
        here = tf.reshape(_cut(residual, blocks), (-1, size // blocks, size // blocks))
        there = tf.reshape(_windows(residual, best, size // blocks), tf.shape(here))
        energy = _window_mean(here**2) + _window_mean(there**2)
        similarity = 2.0 * _window_mean(here * there) / (energy + 2.0 * _NOISE)
        repeated = tf.math.log(1.0 + _EQUAL - similarity) / math.log(_EQUAL)
        return tf.cast(_join(repeated, blocks, size), self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)


def _residual(grey: tf.Tensor) -> tf.Tensor:
    """Return grey levels (B, S, S) less the mean of their four neighbours."""
    padded = tf.pad(grey, [[0, 0], [1, 1], [1, 1]], mode="REFLECT")
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return grey - around / 4.0


def _window_mean(values: tf.Tensor) -> tf.Tensor:
    """Return the mean over a window of (B, H, W), zero outside: a pooling of one channel takes 30 times as long."""
    reach = _WINDOW // 2
    height, width = values.shape[1:]
    padded = tf.pad(values, [[0, 0], [reach, reach], [reach, reach]])
    rows = tf.add_n([padded[:, step : step + height] for step in range(_WINDOW)])
    return tf.add_n([rows[:, :, step : step + width] for step in range(_WINDOW)]) / _WINDOW**2


def _cut(values: tf.Tensor, blocks: int) -> tf.Tensor:
    """Cut (B, S, S) into blocks (B, blocks ** 2, S / blocks, S / blocks), row by row."""
    side = values.shape[1] // blocks
    rows = tf.reshape(values, (-1, blocks, side, blocks, side))
    return tf.reshape(tf.transpose(rows, (0, 1, 3, 2, 4)), (-1, blocks**2, side, side))


def _join(values: tf.Tensor, blocks: int, size: int) -> tf.Tensor:
    """Put blocks (B * blocks ** 2, side, side) together again: (B, S, S, 1)."""
    side = size // blocks
    rows = tf.reshape(values, (-1, blocks, blocks, side, side))
    return tf.reshape(tf.transpose(rows, (0, 1, 3, 2, 4)), (-1, size, size, 1))


def _correlate(block: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """Return the correlation of blocks (B, N, h, h) with their image (B, S, S): (B, N, S, S).

    Entry (y, x) belongs to the block's first pixel lying on pixel (y, x) of the image, which goes on at its other
    side. Up to a positive factor.
    """
    size = whole.shape[1]
    angles = 2.0 * np.pi * np.outer(np.arange(size), np.arange(size)) / size
    cosine, sine = np.cos(angles), np.sin(angles)
    half = size // 2 + 1  # of a real image's spectrum, the rest is its conjugate

    def spectrum(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = values.shape[-1]
        c, s = (_transposed(_dot(values, wave[:length, :half])) for wave in (cosine, sine))
        rows = cosine[:length], sine[:length]
        return _dot(c, rows[0]) - _dot(s, rows[1]), -(_dot(c, rows[1]) + _dot(s, rows[0]))

    (real, imaginary), (block_real, block_imaginary) = spectrum(whole), spectrum(block)
    real, imaginary = real[:, None], imaginary[:, None]
    product = block_real * real + block_imaginary * imaginary, block_real * imaginary - block_imaginary * real
    twice = np.full((half, 1), 2.0)
    twice[0] = 1.0
    if size % 2 == 0:
        twice[-1] = 1.0
    c = _transposed(_dot(product[0], cosine) - _dot(product[1], sine))
    s = _transposed(_dot(product[0], sine) + _dot(product[1], cosine))
    return _dot(c, twice * cosine[:half]) - _dot(s, twice * sine[:half])


def _dot(values: tf.Tensor, matrix: np.ndarray) -> tf.Tensor:
    return tf.tensordot(values, tf.constant(matrix, tf.float32), axes=1)


def _transposed(values: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matrix_transpose(values)


def _too_near(size: int, blocks: int) -> tf.Tensor:
    """Return where a block lies on itself or nearly so, bool (blocks ** 2, S, S)."""
    steps = np.arange(size) - np.arange(blocks)[:, None] * (size // blocks)
    # Per axis, so that a graph holds two small tables instead of one of blocks ** 2 images.
    apart = tf.constant(np.minimum(steps % size, -steps % size) ** 2, tf.int32)
    distance = apart[:, None, :, None] + apart[None, :, None, :]
    return tf.reshape(distance < _NEAREST**2, (blocks**2, size, size))


def _windows(values: tf.Tensor, corners: tf.Tensor, side: int) -> tf.Tensor:
    """Read windows (B, N, side * side) of (B, S, S), whose first pixels are ``corners`` (B, N), row * S + column."""
    size = values.shape[1]
    steps = tf.range(side)
    rows = (corners[..., None] // size + steps) % size
    columns = (corners[..., None] % size + steps) % size
    places = tf.reshape(rows[..., :, None] * size + columns[..., None, :], (-1, corners.shape[1] * side**2))
    return tf.gather(tf.reshape(values, (-1, size**2)), places, batch_dims=1)
