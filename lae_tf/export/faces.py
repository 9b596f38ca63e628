"""The view ``faces`` in a graph that is told where faces are: ``lae_tf.data.views.look`` in TensorFlow's operations."""

from __future__ import annotations

import tensorflow as tf

from lae_tf.export.windows import SeenInGraph
from lae_tf.model.attention import resize_map
from lae_tf.model.lae import LAE
from lae_tf.video.face_places import MOST_FACES


def look_at_faces(model: LAE, image: tf.Tensor, faces: tf.Tensor) -> SeenInGraph:
    """Look at the faces of an image of any size.

    Args:
        model: of the view ``faces``.
        image: uint8 or float32 (H, W, 3), as ``Preprocessor.resize`` takes it.
        faces: int32 (N, 3), top, left and side of each in pixels; those of side 0 are none.

    Returns:
        The highest logit, and an attention map (H, W), 0 where no face is.

    Raises:
        tf.errors.InvalidArgumentError: at run time, for no face, more than ``MOST_FACES``, or one beyond the image.
    """
    faces = tf.boolean_mask(faces, faces[:, 2] > 0)
    size, count = tf.shape(image)[:2], tf.shape(faces)[0]
    inside = tf.reduce_all((faces[:, :2] >= 0) & (faces[:, :2] <= size - faces[:, 2:]))
    with tf.control_dependencies([size]):  # a damaged image has its own complaint, which goes before
        few = (count > 0) & (count <= MOST_FACES)
        checks = [
            tf.debugging.Assert(few, [f"faces must hold 1 to {MOST_FACES} for each image; found", count]),
            tf.debugging.Assert(inside, ["faces must lie within the image; found", faces, "in height and width", size]),
        ]
    with tf.control_dependencies(checks):  # before one is cut, whose complaint would not say why
        faces = tf.identity(faces)

    def crop(face: tf.Tensor) -> tf.Tensor:
        top, left, side = face[0], face[1], face[2]
        return model.preprocessor.resize(image[top : top + side, left : left + side])

    shape = (model.image_size, model.image_size, 3)
    crops = tf.map_fn(crop, faces, fn_output_signature=tf.TensorSpec(shape, tf.float32))
    logits, maps = model.decision_of(crops)
    attention = model.attention_scale(tf.sigmoid(maps))

    def add(canvas: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        top, left, side = faces[position][0], faces[position][1], faces[position][2]
        drawn = resize_map(attention[position][None], side, side)[0]
        around = [[top, size[0] - top - side], [left, size[1] - left - side]]
        return tf.maximum(canvas, tf.pad(drawn, around))

    canvas = tf.foldl(add, tf.range(count), tf.zeros(size), parallel_iterations=1)
    return SeenInGraph(tf.reduce_max(logits), canvas)
