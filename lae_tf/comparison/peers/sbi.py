"""Self-blended images with an EfficientNet (Shiohara and Yamasaki 2022, arXiv 2204.08376)."""

from __future__ import annotations

import keras

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of


@keras.saving.register_keras_serializable("lae_tf")
class SelfBlendedImages(Peer):
    """EfficientNet-B0 trained on real images and on forgeries made from them, never on a data set's fakes.

    Deviations: B0 in place of B4, from random weights; the forgeries are those that LAE trains on too
    (``lae_tf.forge.on_the_fly``, regions of any shape and more kinds of change than the paper's), not blends
    inside facial landmarks; AdamW in place of SAM, as for all peers.
    """

    forged_share = 0.5

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        x = keras.layers.Rescaling(255.0, name="range")(image)  # Keras' network normalises by itself
        trunk = keras.applications.EfficientNetB0(include_top=False, weights=None, input_tensor=x)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(trunk.output)
        x = keras.layers.Dropout(0.2, name="dropout")(x)
        return keras.Model(image, {"logit": logit_of(x)}, name="network")
