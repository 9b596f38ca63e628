"""A CNN whose features are global statistics of feature maps (Rahmouni et al. 2017, "Distinguishing Computer
Graphics from Natural Images Using Convolution Neural Networks")."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.comparison.peers.peer import Peer, image_input, logit_of


@keras.saving.register_keras_serializable("lae_tf")
class MapStatistics(keras.layers.Layer):
    """Mean, variance, maximum and minimum of every map: (B, H, W, C) to (B, 4 C), in this order."""

    def call(self, maps: Any) -> Any:
        mean, variance = tf.nn.moments(maps, axes=(1, 2))
        return tf.concat([mean, variance, tf.reduce_max(maps, (1, 2)), tf.reduce_min(maps, (1, 2))], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (input_shape[0], 4 * input_shape[-1])


@keras.saving.register_keras_serializable("lae_tf")
class StatisticsCNN(Peer):
    """Stats-2L: two convolutions of 32 and 64 filters, four statistics of each map, one hidden layer of 1024.

    Deviations: the whole image in place of 100 x 100 patches with a vote; the statistics are normalised by batch.
    """

    def build_network(self, image_size: int) -> keras.Model:
        image = image_input(image_size)
        x = keras.layers.Conv2D(32, 3, activation="relu", name="conv1")(image)
        x = keras.layers.Conv2D(64, 3, activation="relu", name="conv2")(x)
        x = MapStatistics(name="statistics")(x)
        x = keras.layers.BatchNormalization(name="statistics_norm")(x)
        x = keras.layers.Dense(1024, activation="relu", name="hidden")(x)
        x = keras.layers.Dropout(0.25, name="dropout")(x)
        return keras.Model(image, {"logit": logit_of(x)}, name="network")
