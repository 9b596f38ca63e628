"""The one way from encoded bytes to the model's input, for training, prediction and the exported graph."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lae_tf.model.shapes import Shape


@keras.saving.register_keras_serializable("lae_tf")
class Preprocessor(keras.layers.Layer):
    """Decode, resize and scale.

    Called on images (uint8 [0, 255] or float [0, 1], any size) it returns float32 (B, S, S, 3) in [0, 1].
    Resizing is bilinear with an anti-aliasing filter, and ignores the aspect ratio; an image of the right
    size passes unchanged. There is no second implementation: training maps ``decode`` and ``resize`` over
    single files, serving over a batch.

    Args:
        image_size: S in pixels.
    """

    def __init__(self, image_size: int, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.image_size = image_size
        self.built = True

    @staticmethod
    def decode(data: Any) -> tf.Tensor:
        """Decode one JPEG, PNG or 24-bit BMP (string scalar) to uint8 (H, W, 3).

        Alpha is dropped, 16 bits become 8, greyscale and CMYK become RGB. Orientation tags are not
        applied: ``lae_tf.images.files.normalise`` brings such files, and other formats, into this form.
        """
        # The accurate transform decodes a JPEG as Pillow does. The default one is off by several grey levels,
        # which would tell files that went through Pillow from those that did not.
        image = tf.cond(
            tf.strings.substr(data, 0, 2) == b"\xff\xd8",
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_image(data, channels=3, dtype=tf.uint8, expand_animations=False),
        )
        image.set_shape((None, None, 3))
        return image

    def resize(self, images: tf.Tensor) -> tf.Tensor:
        """Scale to [0, 1] and resize (H, W, 3) or (B, H, W, 3) to the model's input size, float32."""
        images = tf.convert_to_tensor(images)
        largest = 255.0 if images.dtype.is_integer else 1.0
        size = (self.image_size, self.image_size)
        if images.shape[-3:-1] != size:
            # Before the scaling: as floats a large photograph would take four times its memory, twice.
            images = tf.image.resize(images, size, method="bilinear", antialias=True)
        return tf.clip_by_value(tf.cast(images, tf.float32) / largest, 0.0, 1.0)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.resize(images)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.image_size, self.image_size, 3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_size": self.image_size}
