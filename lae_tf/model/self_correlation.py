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
        best = _best_shifts(_correlate(_cut(equalised, blocks), equalised), size, blocks)
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


def _correlate(block: tf.Tensor, whole: tf.Tensor) -> list[tf.Tensor]:
    """Return the correlation of blocks (B, N, h, h) with their image (B, S, S) in four quarters (B, N, H, H).

    Entry (y, x), with H = S // 2 + 1, belongs to the block's first pixel lying on pixel (y, x), (y, -x), (-y, x) or
    (-y, -x) of the image, which goes on at its other side. Up to a positive factor.

    At frequencies k and S - k cosines are alike and sines opposite, and so are their sums at places y and S - y: with
    half of the frequencies and half of the places, matrix products take a third of the time.
    """
    size = whole.shape[1]
    half = np.arange(size // 2 + 1)
    cosine, sine = (wave(2.0 * np.pi * np.outer(half, half) / size) for wave in (np.cos, np.sin))
    once = np.where(2 * half % size == 0, 0.5, 1.0)[:, None]  # frequencies that are their own opposites count once

    def spectrum(values: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], ...]:
        """Return real and imaginary parts of (..., h, w) at frequencies (u, v) and (u, -v), as (..., H, H)."""
        down, across = (np.outer(np.arange(length), half) * 2.0 * np.pi / size for length in values.shape[-2:])
        c, s = (_transposed(_dot(values, wave(across))) for wave in (np.cos, np.sin))
        (cc, cs), (sc, ss) = ((_dot(part, np.cos(down)), _dot(part, np.sin(down))) for part in (c, s))
        return (cc - ss, -sc - cs), (cc + ss, cs - sc)

    def product(block: tuple[tf.Tensor, tf.Tensor], whole: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        real, imaginary = (part[:, None] for part in whole)
        return block[0] * real + block[1] * imaginary, block[0] * imaginary - block[1] * real

    (real, imaginary), (real_opposite, imaginary_opposite) = map(product, spectrum(block), spectrum(whole))
    even_real, even_imaginary = (
        _dot(one + other, once * cosine) for one, other in ((real, real_opposite), (imaginary, imaginary_opposite))
    )
    odd_real, odd_imaginary = _dot(imaginary_opposite - imaginary, sine), _dot(real - real_opposite, sine)
    quarters = []
    for sign in (1.0, -1.0):  # of y
        even = _dot(_transposed(even_real + sign * odd_real), once * cosine)
        odd = _dot(_transposed(even_imaginary + sign * odd_imaginary), sine)
        quarters += [even - odd, even + odd]
    return quarters


def _best_shifts(quarters: list[tf.Tensor], size: int, blocks: int) -> tf.Tensor:
    """Return on which pixel of the image each block lies best, row * S + column, int32 (B, N), itself left out.

    Args:
        quarters: of :func:`_correlate`, of N = ``blocks`` ** 2 blocks.
        size: S.
        blocks: in a row.
    """
    half = size // 2 + 1
    signs = [(down, across) for down in (1, -1) for across in (1, -1)]
    apart = [
        tf.reshape(tf.where(_too_near(size, blocks, sign), quarter.dtype.min, quarter), (-1, half**2))
        for sign, quarter in zip(signs, quarters, strict=True)
    ]
    place = tf.argmax(tf.maximum(tf.maximum(*apart[:2]), tf.maximum(*apart[2:])), axis=-1, output_type=tf.int32)
    highest = tf.concat([tf.gather(quarter, place[:, None], batch_dims=1) for quarter in apart], axis=-1)
    # Beside its mirror images a narrow image repeats itself equally well to both sides: rounding must not decide.
    highest *= 1.0 - 1e-4 * np.arange(len(apart), dtype=np.float32)
    down, across = (tf.gather(sign, tf.argmax(highest, axis=-1)) for sign in zip(*signs, strict=True))
    # Of negative numbers not every runtime takes the same remainder.
    row, column = (size + down * (place // half)) % size, (size + across * (place % half)) % size
    return tf.reshape(row * size + column, (-1, blocks**2))


def _dot(values: tf.Tensor, matrix: np.ndarray) -> tf.Tensor:
    return tf.tensordot(values, tf.constant(matrix, tf.float32), axes=1)


def _transposed(values: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matrix_transpose(values)


def _too_near(size: int, blocks: int, sign: tuple[int, int]) -> tf.Tensor:
    """Return where in a quarter a block lies on itself or nearly so, bool (blocks ** 2, H, H)."""
    places, corners = np.arange(size // 2 + 1), np.arange(blocks)[:, None] * (size // blocks)
    steps = (one * places - corners for one in sign)
    # Per axis, so that a graph holds two small tables instead of one of blocks ** 2 images.
    down, across = (tf.constant(np.minimum(step % size, -step % size) ** 2, tf.int32) for step in steps)
    distance = down[:, None, :, None] + across[None, :, None, :]
    return tf.reshape(distance < _NEAREST**2, (blocks**2, len(places), len(places)))


def _windows(values: tf.Tensor, corners: tf.Tensor, side: int) -> tf.Tensor:
    """Read windows (B, N, side * side) of (B, S, S), whose first pixels are ``corners`` (B, N), row * S + column."""
    size = values.shape[1]
    steps = tf.range(side)
    rows = (corners[..., None] // size + steps) % size
    columns = (corners[..., None] % size + steps) % size
    places = tf.reshape(rows[..., :, None] * size + columns[..., None, :], (-1, corners.shape[1] * side**2))
    return tf.gather(tf.reshape(values, (-1, size**2)), places, batch_dims=1)
