"""LAE's own encoder as a plain classifier: what remains without decoder and alignment."""

from __future__ import annotations

from typing import Any

import keras

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of
from lae_tf.config.model import ModelConfig
from lae_tf.model.experts import build_encoder, train_experts


@keras.saving.register_keras_serializable("lae_tf")
class LAEEncoder(Peer):
    """The encoder of the default model, both experts and the gate, with global average pooling and one logit.

    Each expert is trained on the view of the images that is its own in LAE too, and the gate by the same loss; of the
    forgeries it reads the labels alone.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        self.encoder = build_encoder(image_size, ModelConfig())
        features = keras.Input(self.encoder.output_shape[1:], name="features")
        pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
        self.decision = keras.Model(features, logit_of(pooled), name="decision")
        return keras.Model(image, {"logit": self.decision(self.encoder(image))}, name="network")

    def training_pass(self, batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        batch, features, gate_loss = train_experts(self.encoder, batch)
        return batch, {"logit": self.decision(features), "gate_loss": gate_loss}

    def loss_of(self, batch: dict[str, Any], outputs: dict[str, Any]) -> Any:
        return super().loss_of(batch, outputs) + outputs.get("gate_loss", 0.0)
