"""What all peers share: the contract of a batch in, a logit out, and one training step."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from lae_tf.comparison.peers import PEER_SIZES, PEER_VIEWS
from lae_tf.model.attention import resize_map
from lae_tf.model.batches import to_images
from lae_tf.model.calibration import AttentionScale, Calibration
from lae_tf.model.preprocessing import Preprocessor
from lae_tf.model.window_pooling import WindowPooling
from lae_tf.runtime import addons

FINE_TUNING = 0.3
"""Share of the learning rate for networks that start from pretrained weights."""
_STRIDE = 16  # of a map that says nothing, of a peer without one


class Peer(keras.Model):
    """A detector under LAE's contract: batches of ``lae_tf.data.pipeline`` in, a dict of outputs out.

    A subclass builds ``self.network``, a functional model from images float32 (B, S, S, 3) in [0, 1] to a dict
    with ``logit`` (B, 1) and, if it localises, ``map`` (B, h, w), logits of a forged location; further entries are
    its own, for :meth:`outputs_of` and :meth:`loss_of`.

    Called on images or on a batch dict it returns ``logit`` float32 (B, 1), ``score`` (B, 1) and, if it localises,
    ``attention`` float32 (B, S, S) in [0, 1], both calibrated as LAE's.

    Attributes:
        uses_masks: whether training reads the masks of fakes.
        reals_alone: whether fakes of the data set take no part: half of each batch is then real, the rest forged from
            it on the fly.
        rate_share: its learning rate as a share of the protocol's.

    Args:
        image_size: S in pixels, a multiple of 16 from 32 to 256.
        view: what it sees of an image of another size, as LAE's: ``whole`` or ``windows``.
    """

    uses_masks: ClassVar[bool] = False
    reals_alone: ClassVar[bool] = False
    rate_share: ClassVar[float] = 1.0

    def __init__(self, image_size: int, view: str = "whole", **kwargs: Any):
        super().__init__(**kwargs)
        if image_size not in PEER_SIZES:
            raise ValueError(f"image_size must be a multiple of 16 from 32 to 256. Received {image_size!r}.")
        if view not in PEER_VIEWS:
            raise ValueError(f"view must be one of {PEER_VIEWS}. Received {view!r}.")
        self.image_size = image_size
        self.view = view
        self.preprocessor = Preprocessor(image_size, name="preprocessor")
        self.network = self.build_network(image_size)
        self.calibration = Calibration(name="calibration")
        self.calibration.build()
        self.attention_scale = AttentionScale(name="attention_scale")
        self.attention_scale.build()
        if view == "windows":
            self.window_pooling = WindowPooling(name="window_pooling")
            self.window_pooling.build()
        self._look = tf.function(self._look_at, reduce_retracing=True, autograph=False)
        self.built = True

    @property
    def localises(self) -> bool:
        """Whether it says where."""
        return "map" in self.network.output

    @property
    def stride(self) -> int:
        """How many pixels a value of its map stands for."""
        return self.image_size // int(self.network.output["map"].shape[1]) if self.localises else _STRIDE

    def build_network(self, image_size: int) -> keras.Model:
        raise NotImplementedError

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        images = inputs["image"] if isinstance(inputs, dict) else inputs
        outputs = self.network(images, training=training)
        logit = self.temper(outputs["logit"], images)
        results = {"logit": logit, "score": self.calibration(logit)}
        if "map" in outputs:
            attention = resize_map(tf.sigmoid(outputs["map"]), self.image_size, self.image_size)
            results["attention"] = self.attention_scale(attention)
        return results

    def decide_on_batch(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """Say of images (B, S, S, 3), uint8 or floats in [0, 1], what looking at windows takes of LAE.

        Returns:
            The logits, float32 (B,), and those of the map, (B, h, w), zeros of a peer that has none.
        """
        logit, evidence = self._look(tf.convert_to_tensor(images))
        return np.asarray(logit)[:, 0], np.asarray(evidence)

    def _look_at(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = to_images(images, self.image_size)
        outputs = self.network(images, training=False)
        grid = self.image_size // self.stride
        return self.temper(outputs["logit"], images), outputs.get("map", tf.zeros((tf.shape(images)[0], grid, grid)))

    def temper(self, decision: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Return the logits (B, 1) from the network's; another peer's may depend on how images look."""
        return decision

    def outputs_of(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        """Return what the loss of a batch reads: the network's outputs, unless training needs more than them."""
        outputs: dict[str, Any] = self.network(batch["image"], training=training)
        return outputs

    def training_pass(self, batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a batch as training shows it, what may have become of its images in their place, and its outputs."""
        batch = {**batch, "image": batch.get("degraded", batch["image"])}
        return batch, self.outputs_of(batch, training=True)

    def loss_of(self, batch: dict[str, Any], outputs: dict[str, Any]) -> Any:
        """Return the loss of a batch, a float32 scalar: binary cross-entropy unless a peer has its own."""
        losses = tf.nn.sigmoid_cross_entropy_with_logits(batch["label"], outputs["logit"])
        return tf.reduce_mean(losses)

    def after_update(self) -> None:
        """Enforce what has to hold after every update; nothing by default."""

    def compile(self, optimizer: Any, **kwargs: Any) -> None:
        """Take the optimizer; the loss is the peer's own."""
        super().compile(optimizer=optimizer, **{"jit_compile": False, **kwargs})
        self._loss = keras.metrics.Mean(name="loss")
        self._decision = [
            keras.metrics.BinaryAccuracy(name="accuracy"),
            keras.metrics.AUC(name="auroc", num_thresholds=500),
        ]

    @property
    def metrics(self) -> list[Any]:
        return [self._loss, *self._decision] if hasattr(self, "_decision") else []

    def _update(self, batch: dict[str, Any], loss: Any, logit: Any) -> dict[str, Any]:
        self._loss.update_state(loss, sample_weight=tf.cast(tf.shape(logit)[0], tf.float32))
        for metric in self._decision:
            metric.update_state(batch["label"], tf.sigmoid(logit))
        return {metric.name: metric.result() for metric in self.metrics}

    def train_step(self, data: dict[str, Any]) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            batch, outputs = self.training_pass(data)
            loss = self.loss_of(batch, outputs)
        variables = self.trainable_variables
        addons.apply_gradients(self.optimizer, tape.gradient(loss, variables), variables)
        self.after_update()
        return self._update(batch, loss, outputs["logit"])

    def test_step(self, data: dict[str, Any]) -> dict[str, Any]:
        outputs = self.outputs_of(data, training=False)
        return self._update(data, self.loss_of(data, outputs), outputs["logit"])

    def get_compile_config(self) -> None:
        """Return nothing: a saved peer is for scoring, and is compiled anew to train on."""

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "image_size": self.image_size, "view": self.view}


def image_input(image_size: int) -> Any:
    """Return the network's input, float32 (B, S, S, 3) in [0, 1]."""
    return keras.Input((image_size, image_size, 3), name="image")


def logit_of(x: Any) -> Any:
    """Return a dense layer's logit (B, 1) in float32."""
    return keras.layers.Dense(1, dtype="float32", name="logit")(x)
