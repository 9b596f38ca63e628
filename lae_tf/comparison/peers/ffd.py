"""FFD: a regressed attention map on Xception, supervised by masks (Dang et al. 2020, arXiv 1910.01717)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of
from lae_tf.comparison.peers.xception import xception_trunk
from lae_tf.model.losses import AlignmentLoss

INSERT_BEFORE = "block5_sepconv1_act"  # between entry and middle flow, at 1/16 of the resolution


@keras.saving.register_keras_serializable("lae_tf")
class FFD(Peer):
    """Xception whose features are multiplied by an attention map that it regresses itself: LAE's nearest relative.

    Loss: cross-entropy of the decision plus that of the map against the mask (average-pooled) where the mask is known,
    real images included, normalised by how many those are. Deviations: weights start at random; the map is regressed
    by a 3 x 3 convolution; every batch holds the share of annotated fakes that LAE's second stage has; the paper takes
    the mean absolute distance of map and mask. Where few pixels are forged that distance is low for an empty map,
    through which no feature passes: with it validation AUROC stayed near 0.5 on all three tasks of the README.
    """

    uses_masks = True

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        trunk = xception_trunk(image, image_size)
        features = trunk.get_layer(INSERT_BEFORE).input
        rest = keras.Model(features, trunk.output, name="rest")
        map_logits = keras.layers.Conv2D(1, 3, padding="same", name="attention")(features)
        attention = keras.layers.Activation("sigmoid", name="attention_sigmoid")(map_logits)
        x = rest(keras.layers.Multiply(name="attend")([features, attention]))
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        shape = map_logits.shape[1:3]
        return keras.Model(
            image, {"logit": logit_of(x), "map": keras.layers.Reshape(shape, name="map")(map_logits)}, name="network"
        )

    def loss_of(self, batch: dict[str, Any], outputs: dict[str, Any]) -> Any:
        mask = tf.image.resize(batch["mask"], outputs["map"].shape[1:3], method="area")[..., 0]
        distance = AlignmentLoss()(mask, outputs["map"])
        known = batch["mask_weight"][:, 0]
        return super().loss_of(batch, outputs) + tf.math.divide_no_nan(
            tf.reduce_sum(known * distance), tf.reduce_sum(known)
        )
