"""FFD: a regressed attention map within a network, supervised by masks (Dang et al. 2020, arXiv 1910.01717)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.comparison.peers.efficientnet_lite import decision_of
from lae_tf.comparison.peers.peer import FINE_TUNING, Peer, image_input
from lae_tf.model.losses import AlignmentLoss
from lae_tf.model.trunk import build_trunk

INSERT_BEFORE = "stage4_block0_depthwise_conv"  # at 1/16 of the resolution, as in the paper


@keras.saving.register_keras_serializable("lae_tf")
class FFD(Peer):
    """A network whose features are multiplied by an attention map that it regresses itself: LAE's nearest relative.

    Loss: cross-entropy of the decision plus that of the map against the mask (average-pooled) where the mask is known,
    real images included, normalised by how many those are. Deviations: LAE's pretrained trunk in place of Xception,
    whose weights do not come with the package; the map is regressed by a 3 x 3 convolution; every batch is one of LAE's
    second stage, forgeries with their masks included; the paper takes the mean absolute distance of map and mask. Where
    few pixels are forged that distance is low for an empty map, through which no feature passes: with it, and Xception
    from random weights, validation AUROC stayed near 0.5 on all three tasks of the README.
    """

    uses_masks = True
    rate_share = FINE_TUNING

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        trunk = build_trunk(image_size, pretrained=True)
        inserted = trunk.get_layer(INSERT_BEFORE).input
        first = keras.Model(trunk.input, inserted, name="first")
        rest = keras.Model(inserted, trunk.outputs[-1], name="rest")
        features = first(image)
        map_logits = keras.layers.Conv2D(1, 3, padding="same", name="attention")(features)
        attention = keras.layers.Activation("sigmoid", name="attention_sigmoid")(map_logits)
        logit = decision_of(rest(keras.layers.Multiply(name="attend")([features, attention])))
        grid = keras.layers.Reshape(map_logits.shape[1:3], name="map")(map_logits)
        return keras.Model(image, {"logit": logit, "map": grid}, name="network")

    def loss_of(self, batch: dict[str, Any], outputs: dict[str, Any]) -> Any:
        mask = tf.image.resize(batch["mask"], outputs["map"].shape[1:3], method="area")[..., 0]
        distance = AlignmentLoss()(mask, outputs["map"])
        known = batch["mask_weight"][:, 0]
        return super().loss_of(batch, outputs) + tf.math.divide_no_nan(
            tf.reduce_sum(known * distance), tf.reduce_sum(known)
        )
