"""What validation chose about the outputs: stored with the model's weights, so that it travels into every export."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lae_tf.metrics.verdict import NO_BOUNDS, ConformalBounds
from lae_tf.model.shapes import Shape
from lae_tf.runtime import addons


class _Fitted(keras.layers.Layer):
    """A layer of float32 scalars that are not trained but fitted on validation data."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})


@keras.saving.register_keras_serializable("lae_tf")
class Calibration(_Fitted):
    """Turns logits s into scores: sigmoid((s - boundary) / temperature).

    This is Platt's scaling (1999) with the slope 1 / temperature and the bias -boundary / temperature. Written so, a
    logit at or above ``boundary`` scores 0.5 or more in float32 too, however far from 0 the boundary lies.

    An image is "fake" where its score is at or above ``threshold``. A score below ``lowest_fake`` rules "fake" out, one
    above ``highest_real`` rules "real" out, at the rate of errors ``error_rate``; see :mod:`lae_tf.metrics.verdict`.
    """

    def build(self, input_shape: Shape | None = None) -> None:
        self.temperature = addons.fitted_scalar(self, "temperature", 1.0)
        self.threshold = addons.fitted_scalar(self, "threshold", 0.5)
        self.boundary = addons.fitted_scalar(self, "boundary", 0.0)
        self.lowest_fake = addons.fitted_scalar(self, "lowest_fake", NO_BOUNDS.lowest_fake)
        self.highest_real = addons.fitted_scalar(self, "highest_real", NO_BOUNDS.highest_real)
        self.error_rate = addons.fitted_scalar(self, "error_rate", NO_BOUNDS.error_rate)
        self.built = True

    def call(self, logit: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid((logit - self.boundary) / self.temperature)

    def load_own_variables(self, store: Any) -> None:
        # Files of older versions lack the bounds, and some the boundary: those have temperature and threshold alone.
        added = dict(enumerate([np.float32(0), *map(np.float32, NO_BOUNDS)], start=2))
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118 - a store is no mapping
        is_older = len(saved) in (2, 3)
        super().load_own_variables({**{str(at): value for at, value in added.items()}, **saved} if is_older else store)

    @property
    def bounds(self) -> ConformalBounds:
        """What rules a label out."""
        return ConformalBounds(*(float(getattr(self, name)) for name in ConformalBounds._fields))


@keras.saving.register_keras_serializable("lae_tf")
class AttentionScale(_Fitted):
    """Divides the odds of attention in [0, 1] by those of ``level``, which becomes 0.5: forged above it (ours)."""

    def build(self, input_shape: Shape | None = None) -> None:
        self.level = addons.fitted_scalar(self, "level", 0.5)
        self.built = True

    def call(self, attention: tf.Tensor) -> tf.Tensor:
        forged = attention * (1.0 - self.level)
        return forged / (forged + (1.0 - attention) * self.level)
