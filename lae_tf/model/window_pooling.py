"""From the logits of an image's windows to the logit of the image: what validation photographs chose (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from lae_tf.model.shapes import Shape

LEVELS = 8
"""Levels whose logits are scaled each on their own; coarser ones are scaled as the last."""


class PoolingWeights(NamedTuple):
    """What is fitted, float32.

    Attributes:
        centre: (LEVELS + 1,), the median logit of real photographs' windows, of each level and, last, of the whole.
        spread: (LEVELS + 1,), > 0, of the logistic distribution with the same 99 % quantile.
        growth: (2,), mean of a real photograph's pooled windows: intercept, and slope over log(1 + windows).
        weights: (3,), of the pooled windows, of the whole, and a constant.
    """

    centre: np.ndarray
    spread: np.ndarray
    growth: np.ndarray
    weights: np.ndarray


NO_WEIGHTS = PoolingWeights(
    np.zeros(LEVELS + 1, np.float32),
    np.ones(LEVELS + 1, np.float32),
    np.zeros(2, np.float32),
    np.array([0.5, 0.5, 0.0], np.float32),
)


class WindowLogits(NamedTuple):
    """What the model says of an image's parts.

    Attributes:
        levels: logits of the windows of each level, from the finest down, float32 (N,) each, in which N may be 0.
        whole: logit of the whole image.
    """

    levels: Sequence[np.ndarray]
    whole: float

    @property
    def windows(self) -> int:
        """Number of windows."""
        return sum(len(level) for level in self.levels)


@keras.saving.register_keras_serializable("lae_tf")
class WindowPooling(keras.layers.Layer):
    """Holds :class:`PoolingWeights` and applies them.

    With u = (s - centre) / spread, 1 / p = 1 + exp(u) is the inverse of the chance that a window of a real photograph
    has a logit of s or more. The windows of a level are pooled by the mean of 1 / p, which is the harmonic mean p-value
    (Wilson 2019, doi 10.1073/pnas.1814092116): one window that stands out counts, whatever the others say, and it
    holds for windows that depend on one another. Levels have equal shares, and what the number of windows alone adds is
    taken off.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})

    def build(self, input_shape: Shape | None = None) -> None:
        self._parts = [
            self.add_weight(
                name=name, shape=value.shape, initializer=keras.initializers.Constant(value), trainable=False
            )
            for name, value in NO_WEIGHTS._asdict().items()
        ]
        self.built = True

    @property
    def fitted(self) -> PoolingWeights:
        """The weights that the layer holds."""
        return PoolingWeights(*(np.asarray(part) for part in self._parts))

    def assign(self, fitted: PoolingWeights) -> None:
        """Take fitted weights."""
        for part, value in zip(self._parts, fitted, strict=True):
            part.assign(value)

    def pooled(self, logits: WindowLogits) -> float:
        """Return the logit of the image, a float32 number."""
        fitted = self.fitted
        constant = float(fitted.weights[2])
        return float(np.float32(features(logits, fitted) @ fitted.weights[:2] + constant))

    def most_suspicious(self, logits: WindowLogits) -> tuple[int, int] | None:
        """Return level and number of the window that is least like those of real photographs; None without windows."""
        fitted = self.fitted
        highest = {
            (number, int(np.argmax(level))): _surprise(level, number, fitted).max()
            for number, level in enumerate(logits.levels)
            if len(level)
        }
        return max(highest, key=highest.__getitem__, default=None)

    def of_part(self, logits: tf.Tensor, level: int | None) -> tf.Tensor:
        """Return the logits of images of which one part alone says anything, float32 (N,).

        Args:
            logits: of that part, float32 (N,).
            level: number of the level of which it is a window; None for the whole of an image without windows.
        """
        _, _, growth, weights = self._doubles()
        if level is None:
            return self.join(tf.zeros((0,), tf.float64), tf.constant(0), logits)
        surprise = self._surprise(logits, tf.constant(level))
        found = tf.nn.softplus(surprise) - growth[0] - growth[1] * tf.math.log1p(tf.ones((), tf.float64))
        return tf.cast(weights[0] * found + weights[2], tf.float32)

    # --- the same within a graph ---------------------------------------------------------------------

    def level_mean(self, logits: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Return the logarithm of a level's mean of 1 / p, a float64 scalar that means nothing without windows.

        Args:
            logits: of its windows, float32 (N,).
            number: of the level, int32 scalar, 0 for the finest.
        """
        u = self._surprise(logits, number)
        return tf.reduce_logsumexp(tf.nn.softplus(u)) - tf.math.log(tf.cast(tf.size(u), tf.float64))

    def join(self, means: tf.Tensor, windows: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
        """Return the logit of the image, a float32 scalar.

        Args:
            means: float64 (L,), those of the levels with windows; L may be 0.
            windows: how many there were, int32 scalar.
            whole: logit of the whole image, float32 scalar, or those of several images of which all else is equal.
        """
        centre, spread, growth, weights = self._doubles()
        pooled = tf.reduce_logsumexp(means) - tf.math.log(tf.cast(tf.size(means), tf.float64))
        expected = growth[0] + growth[1] * tf.math.log1p(tf.cast(windows, tf.float64))
        found = tf.where(windows > 0, pooled - expected, tf.zeros_like(pooled))
        seen = (tf.cast(whole, tf.float64) - centre[-1]) / spread[-1]
        return tf.cast(weights[0] * found + weights[1] * seen + weights[2], tf.float32)

    def _surprise(self, logits: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        centre, spread, *_ = self._doubles()
        place = tf.minimum(number, LEVELS - 1)
        return (tf.cast(logits, tf.float64) - centre[place]) / spread[place]

    def _doubles(self) -> list[tf.Tensor]:
        return [tf.cast(part, tf.float64) for part in self._parts]


def features(logits: WindowLogits, fitted: PoolingWeights) -> np.ndarray:
    """Return what the weights weigh, float64 (2,): the pooled windows and the whole, each about 0 for real images."""
    intercept, slope = fitted.growth
    windows = pooled_windows(logits, fitted)
    expected = intercept + slope * np.log1p(logits.windows)
    whole = (logits.whole - fitted.centre[-1]) / fitted.spread[-1]
    return np.array([0.0 if windows is None else windows - expected, whole])


def pooled_windows(logits: WindowLogits, fitted: PoolingWeights) -> float | None:
    """Return the logarithm of the mean over levels of a level's mean of 1 / p; None without windows."""
    means = []
    for number, level in enumerate(logits.levels):
        if len(level):
            u = _surprise(level, number, fitted)
            means.append(logsumexp(np.logaddexp(0.0, u)) - np.log(len(u)))
    return float(logsumexp(means) - np.log(len(means))) if means else None


def _surprise(level: np.ndarray, number: int, fitted: PoolingWeights) -> np.ndarray:
    """Return how far the logits of a level lie above those of real photographs, in units of these: u, float64 (N,)."""
    place = min(number, LEVELS - 1)
    return (np.asarray(level, np.float64) - fitted.centre[place]) / fitted.spread[place]
