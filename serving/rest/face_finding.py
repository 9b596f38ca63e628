"""Finds the faces in a request's images for a model that has to be told where they are; TensorFlow Serving cannot."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from lae_tf.errors import ImageError, MissingExtraError
from lae_tf.images.files import normalise
from lae_tf.images.headers import reader_of
from lae_tf.serving.engine.signature import Tensors
from lae_tf.serving.errors import Code, ServingError, invalid
from lae_tf.serving.rest.image_limit import ENCODED
from lae_tf.video.face_places import FACES, Place, as_input, places_in, places_in_file


def with_faces(inputs: Tensors, pixels: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the inputs of a request together with where the faces in its images are.

    Files are normalised as clients do it, so that the graph sees the image in which faces were found. What holds no
    image has none: the graph refuses it with its own error.

    Args:
        inputs: the images alone, as files (``image_bytes``) or as pixels (``image``).
        pixels: of each, as they were counted before.

    Raises:
        ServingError: INVALID_ARGUMENT, an image cannot be read, hides its size, or shows no face; UNIMPLEMENTED, the
            detector is not installed.
    """
    ((name, images),) = inputs.items()
    try:
        if name == ENCODED:
            found = [_in_file(index, *one) for index, one in enumerate(zip(images.ravel(), pixels, strict=True))]
            files = np.empty(len(found), object)
            files[:] = [data for data, _ in found]
            return {name: files, FACES: as_input([places for _, places in found])}
        if images.ndim != 4 or images.shape[-1] != 3 or not images.size:
            return {name: images, FACES: as_input([[]] * len(np.atleast_1d(images)))}
        return {name: images, FACES: as_input([_in_pixels(index, image) for index, image in enumerate(images)])}
    except MissingExtraError as error:
        raise ServingError(Code.UNIMPLEMENTED, str(error)) from None


def _in_file(index: int, data: bytes, pixels: int) -> tuple[bytes, list[Place]]:
    where = f"{ENCODED} at position {index} of the batch"
    reader = reader_of(data)
    if not pixels or reader is None:
        return data, []
    try:
        width, height = reader(io.BytesIO(data)).size
        if width * height != pixels:  # more would be decoded than was counted
            raise ImageError(f"{where}: says two different sizes")
        data = normalise(data, where)
        return data, places_in_file(data, where)
    except ImageError as error:
        raise invalid(str(error)) from None
    except (OSError, ValueError, SyntaxError) as error:  # of Pillow's readers, for a damaged header
        raise invalid(f"{where}: is damaged: {error}") from None


def _in_pixels(index: int, image: np.ndarray) -> list[Place]:
    levels = image if image.dtype == np.uint8 else np.rint(255 * np.nan_to_num(image).clip(0, 1)).astype(np.uint8)
    places = places_in(np.ascontiguousarray(levels))
    if not places:
        raise invalid(f"image at position {index} of the batch: shows no face")
    return places
