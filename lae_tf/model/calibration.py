"""The decision as validation chose it: stored with the model's weights, so that it travels into every export."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("lae_tf")
class Calibration(keras.layers.Layer):
    """Turns logits into scores: sigmoid(s / temperature) (Guo et al. 2017, arXiv 1706.04599).

    ``temperature`` and ``threshold`` are float32 scalars, not trained but fitted on validation data. An image
    is "fake" where its score is at or above ``threshold``.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: Any = None) -> None:
        self.temperature = self._scalar("temperature", 1.0)
        self.threshold = self._scalar("threshold", 0.5)
        self.built = True

    def _scalar(self, name: str, value: float) -> Any:
        return self.add_weight(name=name, shape=(), initializer=keras.initializers.Constant(value), trainable=False)

    def call(self, logit: Any) -> Any:
        return tf.sigmoid(logit / self.temperature)
