"""Where the faces of image files lie, as a graph that cannot find them is told. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lae_tf.images.files import decode_image
from lae_tf.video.faces import detect

FACES = "faces"
"""Input of the signatures of a model of faces: int32 (B, N, 3), top, left and side in pixels of the upright image."""

Place = tuple[int, int, int]


def places_in(image: np.ndarray) -> list[Place]:
    """Return top, left and side of the square around each face of an image, uint8 (H, W, 3); the largest first."""
    return [box.place(*image.shape[:2]) for box in detect(image)]


def places_in_file(data: bytes, name: str) -> list[Place]:
    """Return the same of an image file.

    Raises:
        ImageError: the file cannot be read.
        MissingExtraError: the detector is not installed.
    """
    return places_in(decode_image(data, name))


def as_input(places: Sequence[Sequence[Place]]) -> np.ndarray:
    """Return the places in each of B images as the input ``FACES``; where an image has fewer, sides of 0 fill up."""
    most = max(1, *map(len, places)) if places else 1
    rows = np.zeros((len(places), most, 3), np.int32)
    for row, found in zip(rows, places, strict=True):
        if found:
            row[: len(found)] = found
    return rows
