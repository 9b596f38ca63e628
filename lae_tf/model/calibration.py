"""The decision as validation chose it: stored with the model's weights, so that it travels into every export."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("lae_tf")
class Calibration(keras.layers.Layer):
    """Turns logits into scores and puts attention on a scale on which a pixel is marked as forged above 0.5.

    Called on a dict of ``logit`` float32 (B, 1) and, if the model localises, ``attention`` float32 (B, S, S) in
    [0, 1], it returns a dict of ``score`` = sigmoid(logit / temperature) (Guo et al. 2017, arXiv 1706.04599) and
    ``attention`` with its odds divided by those of ``attention_level`` (ours), of the same shapes. An image is "fake"
    where its score is at or above ``threshold``. All three are float32 scalars, not trained but fitted on validation
    data.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: Any = None) -> None:
        self.temperature = self._scalar("temperature", 1.0)
        self.threshold = self._scalar("threshold", 0.5)
        self.attention_level = self._scalar("attention_level", 0.5)
        self.built = True

    def _scalar(self, name: str, value: float) -> Any:
        return self.add_weight(name=name, shape=(), initializer=keras.initializers.Constant(value), trainable=False)

    def call(self, outputs: dict[str, Any]) -> dict[str, Any]:
        calibrated = {"score": tf.sigmoid(outputs["logit"] / self.temperature)}
        if "attention" in outputs:
            forged = outputs["attention"] * (1.0 - self.attention_level)
            untouched = (1.0 - outputs["attention"]) * self.attention_level
            calibrated["attention"] = forged / (forged + untouched)
        return calibrated
