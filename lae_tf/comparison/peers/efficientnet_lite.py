"""A plain classifier on the pretrained trunk: what ImageNet and fine-tuning give without anything of LAE's."""

from __future__ import annotations

from typing import Any

import keras

from lae_tf.comparison.peers.peer import FINE_TUNING, Peer, image_input, logit_of
from lae_tf.model.trunk import build_trunk


@keras.saving.register_keras_serializable("lae_tf")
class EfficientNetLite(Peer):
    """EfficientNet-Lite0 from ImageNet's weights, to stride 16 as in LAE: global average pooling, dropout, one logit.

    Fine-tuned whole at a small learning rate, by cross-entropy on image labels alone.
    """

    rate_share = FINE_TUNING

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        _, features = build_trunk(image_size, pretrained=True)(image)
        return keras.Model(image, {"logit": decision_of(features)}, name="network")


def decision_of(features: Any) -> Any:
    """Return the logit (B, 1) of the trunk's last features (B, h, w, C)."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    # The features are of a linear layer and of any scale; as they are, the first logits would be far from 0.
    x = keras.layers.BatchNormalization(momentum=0.9, name="pool_norm")(x)
    return logit_of(keras.layers.Dropout(0.2, name="dropout")(x))
