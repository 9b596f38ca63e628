"""Finds the faces in a request's images for a model that has to be told where they are; TensorFlow Serving cannot."""

from __future__ import annotations

import numpy as np

from lae_tf.errors import ImageError, MissingExtraError
from lae_tf.serving.engine.signature import Tensors
from lae_tf.serving.errors import Code, ServingError, invalid
from lae_tf.serving.rest.image_limit import ENCODED
from lae_tf.video.face_places import Place, as_input, places_in, places_in_file


def faces_in(inputs: Tensors) -> np.ndarray:
    """Return where the faces of the images are, int32 (B, N, 3).

    A file that cannot be read has none: the graph refuses it with its own error.

    Args:
        inputs: the images, as files (``image_bytes``) or as pixels (``image``), counted before.

    Raises:
        ServingError: INVALID_ARGUMENT, an image shows no face; UNIMPLEMENTED, the detector is not installed.
    """
    ((name, images),) = inputs.items()
    try:
        found = [_places(image) for image in (images.ravel().tolist() if name == ENCODED else images)]
    except MissingExtraError as error:
        raise ServingError(Code.UNIMPLEMENTED, str(error)) from None
    without = [str(position) for position, places in enumerate(found) if places == []]
    if without:
        raise invalid(f"No face was found in {name} at position {', '.join(without)} of the batch")
    return as_input([places or [] for places in found])


def _places(image: bytes | np.ndarray) -> list[Place] | None:
    """Return the faces of an image; None where it cannot be looked at."""
    if isinstance(image, bytes):
        try:
            return places_in_file(image, "image")
        except ImageError:
            return None
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        return None
    levels = image if image.dtype == np.uint8 else np.rint(255 * np.nan_to_num(image).clip(0, 1)).astype(np.uint8)
    return places_in(np.ascontiguousarray(levels))
