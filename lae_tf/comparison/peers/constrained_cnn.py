"""The constrained convolutional network (Bayar and Stamm 2016), in the deeper form of their paper of 2018."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of


@keras.saving.register_keras_serializable("lae_tf")
class ConstrainedCNN(Peer):
    """The first layer predicts each pixel from its neighbours: centre weight -1, the others sum to 1.

    The constraint is enforced on every kernel and input channel after every update. Deviations: RGB in place of
    one grey or green channel; global average pooling before the two hidden layers of 200 units, so that any image
    size fits.
    """

    def __init__(self, image_size: int, **kwargs: Any):
        super().__init__(image_size, **kwargs)
        self.after_update()

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        x = keras.layers.Conv2D(3, 5, use_bias=False, padding="same", name="constrained")(image)
        for stage, (width, size, stride) in enumerate(((96, 7, 2), (64, 5, 1), (64, 5, 1), (128, 1, 1)), start=1):
            x = keras.layers.Conv2D(width, size, strides=stride, padding="same", name=f"conv{stage}")(x)
            x = keras.layers.BatchNormalization(name=f"conv{stage}_norm")(x)
            x = keras.layers.Activation("tanh", name=f"conv{stage}_tanh")(x)
            pool = keras.layers.AveragePooling2D if stage == 4 else keras.layers.MaxPooling2D
            x = pool(3, strides=2, padding="same", name=f"conv{stage}_pool")(x)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        for number in (1, 2):
            x = keras.layers.Dense(200, activation="tanh", name=f"hidden{number}")(x)
        return keras.Model(image, {"logit": logit_of(x)}, name="network")

    def after_update(self) -> None:
        kernel = self.network.get_layer("constrained").kernel
        values = tf.convert_to_tensor(kernel)
        centre = tf.scatter_nd([[2, 2]], [1.0], (5, 5))[:, :, None, None]
        around = values * (1.0 - centre)
        total = tf.reduce_sum(around, axis=(0, 1), keepdims=True)
        # Dividing by a sum near zero would blow the weights up; adding to each keeps the constraint as well.
        shifted = around + (1.0 - total) / 24.0 * (1.0 - centre)
        small = tf.abs(total) < 1e-3
        scaled = around / tf.where(small, tf.ones_like(total), total)
        kernel.assign(tf.where(small, shifted, scaled) - centre)
