"""MesoInception-4 (Afchar et al. 2018, arXiv 1809.00888)."""

from __future__ import annotations

from typing import Any

import keras

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of


@keras.saving.register_keras_serializable("lae_tf")
class MesoInception4(Peer):
    """Two inception blocks with dilated convolutions, two plain blocks, one hidden layer of 16 units.

    28,615 trainable parameters at 256 x 256, as in the paper. Deviation: one logit with cross-entropy in place of
    a sigmoid unit with squared error, so that all models share the decision's loss.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        x = _inception(image, (1, 4, 4, 2), "block1")
        x = keras.layers.MaxPooling2D(2, padding="same", name="block1_pool")(x)
        x = _inception(x, (2, 4, 4, 2), "block2")
        x = keras.layers.MaxPooling2D(2, padding="same", name="block2_pool")(x)
        for name, pool in (("block3", 2), ("block4", 4)):
            x = keras.layers.Conv2D(16, 5, padding="same", activation="relu", name=f"{name}_conv")(x)
            x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
            x = keras.layers.MaxPooling2D(pool, padding="same", name=f"{name}_pool")(x)
        x = keras.layers.Flatten(name="flatten")(x)
        x = keras.layers.Dropout(0.5, name="dropout1")(x)
        x = keras.layers.Dense(16, name="hidden")(x)
        x = keras.layers.LeakyReLU(0.1, name="hidden_relu")(x)
        x = keras.layers.Dropout(0.5, name="dropout2")(x)
        return keras.Model(image, {"logit": logit_of(x)}, name="network")


def _inception(x: Any, widths: tuple[int, int, int, int], name: str) -> Any:
    """Four branches: 1 x 1, and 3 x 3 with dilations 1, 2 and 3 after a 1 x 1 of the same width."""
    branches = []
    for i, width in enumerate(widths):
        branch = keras.layers.Conv2D(width, 1, padding="same", activation="relu", name=f"{name}_{i}_point")(x)
        if i:
            branch = keras.layers.Conv2D(
                width, 3, dilation_rate=i, padding="same", activation="relu", name=f"{name}_{i}_conv"
            )(branch)
        branches.append(branch)
    x = keras.layers.Concatenate(name=f"{name}_join")(branches)
    return keras.layers.BatchNormalization(name=f"{name}_norm")(x)
