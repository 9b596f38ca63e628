"""ForensicTransfer (Cozzolino et al. 2018, arXiv 1812.02510)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.comparison.peers.peer import Peer, image_input
from lae_tf.model.head import SplitLatentHead
from lae_tf.model.losses import ActivationLoss
from lae_tf.model.networks import Doubling, HighPass

LATENT_MAPS = 128
RECONSTRUCTION_WEIGHT = 0.1


@keras.saving.register_keras_serializable("lae_tf")
class ForensicTransfer(Peer):
    """An autoencoder on high-pass residuals whose latent of 128 maps is split into a real and a fake half.

    The decoder is given the half of the image's own class, as the label says, and zeros for the other.
    L = activation loss + 0.1 * mean absolute error of the reconstructed residual; 196,841 trainable parameters.
    Widths and the weight are ours. Deviations: nine residual maps of our ``HighPass`` in place of a single third-order
    one; the decision is a_fake against a_real.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        residual = HighPass(truncation=8.0, name="residual")(image)
        x = residual
        for stage, (width, stride) in enumerate(((16, 2), (32, 2), (64, 2), (LATENT_MAPS, 1))):
            x = keras.layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False, name=f"down{stage}")(x)
            x = keras.layers.BatchNormalization(name=f"down{stage}_norm")(x)
            x = keras.layers.Activation("elu", name=f"down{stage}_elu")(x)
        maps = keras.layers.Activation("relu", name="maps")(x)
        latent = keras.layers.GlobalAveragePooling2D(name="latent")(maps)
        logit = SplitLatentHead(name="head")(keras.layers.Reshape((1, 1, LATENT_MAPS), name="latent_map")(latent))
        self.decoder = self._build_decoder(image_size)
        outputs = {"logit": logit, "latent": latent, "maps": maps, "residual": residual}
        return keras.Model(image, outputs, name="network")

    def _build_decoder(self, image_size: int) -> keras.Model:
        maps = x = keras.Input((image_size // 8, image_size // 8, LATENT_MAPS), name="selected")
        for stage, width in enumerate((64, 32, 16)):
            x = Doubling(name=f"up{stage}_double")(x)
            x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"up{stage}")(x)
            x = keras.layers.BatchNormalization(name=f"up{stage}_norm")(x)
            x = keras.layers.Activation("elu", name=f"up{stage}_elu")(x)
        decoded = keras.layers.Conv2D(9, 3, padding="same", activation="tanh", name="reconstruction")(x)
        return keras.Model(maps, decoded, name="decoder")

    def outputs_of(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        outputs = super().outputs_of(batch, training)
        fake = tf.cast(batch["label"], tf.float32)
        kept = tf.repeat(tf.concat([1.0 - fake, fake], axis=1), LATENT_MAPS // 2, axis=1)
        return {**outputs, "decoded": self.decoder(outputs["maps"] * kept[:, None, None, :], training=training)}

    def loss_of(self, batch: dict[str, Any], outputs: dict[str, Any]) -> Any:
        activation = tf.reduce_mean(ActivationLoss()(batch["label"], outputs["latent"]))
        return activation + RECONSTRUCTION_WEIGHT * tf.reduce_mean(tf.abs(outputs["residual"] - outputs["decoded"]))
