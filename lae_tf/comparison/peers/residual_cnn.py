"""A CNN on fixed high-pass residuals, after Cozzolino et al. 2017 (arXiv 1703.04615)."""

from __future__ import annotations

import keras

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of
from lae_tf.model.networks import HighPass


@keras.saving.register_keras_serializable("lae_tf")
class ResidualCNN(Peer):
    """Residual-based local descriptors as a shallow network: residuals, local co-occurrence, pooling, decision.

    The paper recasts the pipeline residual, quantisation, co-occurrence and histogram as convolutions that it then
    fine-tunes; we had its abstract alone, so widths and depth are ours (30,049 trainable parameters). Deviations: the
    residual filters stay fixed (three of the spatial rich model for each colour), and the co-occurrence stage is
    learned from random weights.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        x = HighPass(truncation=8.0, name="residual")(image)
        for stage, (width, size) in enumerate(((32, 5), (64, 3)), start=1):
            x = keras.layers.Conv2D(width, size, padding="same", use_bias=False, name=f"descriptor{stage}")(x)
            x = keras.layers.BatchNormalization(name=f"descriptor{stage}_norm")(x)
            x = keras.layers.Activation("relu", name=f"descriptor{stage}_relu")(x)
            x = keras.layers.AveragePooling2D(2, name=f"descriptor{stage}_pool")(x)
        x = keras.layers.Conv2D(64, 1, activation="relu", name="codes")(x)
        x = keras.layers.GlobalAveragePooling2D(name="histogram")(x)
        return keras.Model(image, {"logit": logit_of(x)}, name="network")
