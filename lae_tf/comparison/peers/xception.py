"""Xception, the strongest detector of FaceForensics++ (Rossler et al. 2019, arXiv 1901.08971; Chollet 2017)."""

from __future__ import annotations

import keras

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of

SMALLEST = 72  # Keras' Xception takes no smaller images


@keras.saving.register_keras_serializable("lae_tf")
class XceptionPeer(Peer):
    """Xception with global average pooling, dropout and one logit: 20.8 million trainable parameters.

    Deviations: weights start at random, since no ImageNet weights come with the package; images below 72 pixels
    are enlarged, the smallest that the architecture takes.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        x = keras.layers.Rescaling(2.0, -1.0, name="range")(image)
        if image_size < SMALLEST:
            x = keras.layers.Resizing(SMALLEST, SMALLEST, name="enlarge")(x)
        trunk = keras.applications.Xception(include_top=False, weights=None, input_tensor=x)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(trunk.output)
        x = keras.layers.Dropout(0.5, name="dropout")(x)
        return keras.Model(image, {"logit": logit_of(x)}, name="network")
