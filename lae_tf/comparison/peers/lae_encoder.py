"""LAE's own encoder as a plain classifier: what remains without decoder, alignment and free forgeries."""

from __future__ import annotations

import keras

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of
from lae_tf.config.sections import ModelConfig
from lae_tf.model.networks import build_fine_encoder

WIDTHS = (16, 24, 32, 48)


@keras.saving.register_keras_serializable("lae_tf")
class LAEEncoder(Peer):
    """The fine encoder with global average pooling and one logit, cross-entropy on image labels alone.

    Widths are those of the released protocols.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        features = build_fine_encoder(image_size, ModelConfig(widths=WIDTHS), name="encoder")(image)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(features)
        return keras.Model(image, {"logit": logit_of(x)}, name="network")
