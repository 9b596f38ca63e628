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
    Resizing is bilinear with an anti-aliasing filter and keeps the aspect: the longer side becomes S, and beside the
    shorter one the image goes on as its mirror image. An image of the right size passes unchanged. There is no second
    implementation: training maps ``decode`` and ``resize`` over single files, serving over a batch.

    Args:
        image_size: S in pixels.
        stretch: ignore the aspect, as models did that were made before there were views.
    """

    def __init__(self, image_size: int, stretch: bool = False, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.image_size = image_size
        self.stretch = stretch
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
        # Before the scaling: as floats a large photograph would take four times its memory, twice.
        images = self._to_square(images, "bilinear")
        return tf.clip_by_value(tf.cast(images, tf.float32) / largest, 0.0, 1.0)

    def resize_mask(self, mask: tf.Tensor) -> tf.Tensor:
        """Bring a mask (H, W, 1) in {0, 1} to where :meth:`resize` brings its image: float32 (S, S, 1) in {0, 1}."""
        return tf.cast(self._to_square(mask, "nearest"), tf.float32)

    def _to_square(self, images: tf.Tensor, method: str) -> tf.Tensor:
        size = (self.image_size, self.image_size)
        if images.shape[-3:-1] == size:
            return images
        inner = size if self.stretch else fitted(tf.shape(images)[-3:-1], self.image_size)
        images = tf.image.resize(images, inner, method=method, antialias=method == "bilinear")
        if self.stretch:
            return images
        for axis, length in ((-3, inner[0]), (-2, inner[1])):
            images = tf.gather(images, _mirrored(length, self.image_size), axis=axis)
        return images

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.resize(images)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.image_size, self.image_size, 3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_size": self.image_size, "stretch": self.stretch}


def fitted(size: tf.Tensor, side: int) -> tf.Tensor:
    """Return the height and width, int32 (2,), of an image of ``size`` (2,) whose longer side is made ``side``."""
    share = tf.cast(size, tf.float64) / tf.cast(tf.reduce_max(size), tf.float64)
    return tf.maximum(1, tf.cast(tf.round(share * side), tf.int32))


def _mirrored(length: tf.Tensor, side: int) -> tf.Tensor:
    """Return where each of ``side`` pixels comes from, int32 (side,), with ``length`` of an image in the middle."""
    back = tf.maximum(1, 2 * (length - 1))  # mirrored about its border pixels, as often as it takes
    place = tf.math.floormod(tf.range(side) - (side - length) // 2, back)
    return tf.minimum(place, 2 * (length - 1) - place)
