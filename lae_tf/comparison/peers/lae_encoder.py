"""LAE's own encoder as a plain classifier: what remains without decoder and alignment."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.comparison.peers.peer import Peer, image_input
from lae_tf.config.model import ModelConfig
from lae_tf.model.experts import Mixture, build_encoder, temper, train_experts
from lae_tf.model.head import EvidenceHead


@keras.saving.register_keras_serializable("lae_tf")
class LAEEncoder(Peer):
    """The encoder of the default model, both experts and the gate, with global average pooling and one logit.

    Each expert is trained on the view of the images that is its own in LAE too, and the gate by the same loss; of the
    forgeries it reads the labels alone. Validation chooses how the experts share an image, and the scale of degraded
    ones, as LAE's.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        self.encoder = build_encoder(image_size, ModelConfig())
        self.head = EvidenceHead("gap", name="head")
        return keras.Model(image, {"logit": self.head(self.encoder(image))}, name="network")

    @property
    def mixture(self) -> Mixture:
        """What weighs the experts."""
        return self.encoder.get_layer("mixture")

    def temper(self, decision: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        return temper(self.encoder, decision, images)

    def training_pass(self, batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        batch, features, gate_loss = train_experts(self.encoder, batch)
        return batch, {"logit": self.head(features), "gate_loss": gate_loss}

    def loss_of(self, batch: dict[str, Any], outputs: dict[str, Any]) -> Any:
        return super().loss_of(batch, outputs) + outputs.get("gate_loss", 0.0)
