"""Where the faces of image files lie, as a graph that cannot find them is told. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lae_tf.errors import ImageError
from lae_tf.images.files import decode_image
from lae_tf.video.faces import detect

FACES = "faces"
"""Input of the signatures of a model of faces: int32 (B, N, 3), top, left and side in pixels of the upright image."""

MOST_FACES = 64
"""Faces of one image that are looked at, the largest first (ours): each costs as much as an image of its own."""

Place = tuple[int, int, int]


def places_in(image: np.ndarray) -> list[Place]:
    """Return top, left and side of the square around each face of an image, uint8 (H, W, 3), the largest first."""
    return [box.place(*image.shape[:2]) for box in detect(image)[:MOST_FACES]]


def places_in_file(data: bytes, name: str) -> list[Place]:
    """Return the same of an image file, at least one.

    Raises:
        ImageError: the file cannot be read, or shows no face.
        MissingExtraError: the detector is not installed.
    """
    places = places_in(decode_image(data, name))
    if not places:
        raise ImageError(f"{name}: shows no face")
    return places


def as_input(places: Sequence[Sequence[Place]]) -> np.ndarray:
    """Return the places in each of B images as the input ``FACES``; where an image has fewer, sides of 0 fill up.

    N is a power of two, so that requests are mostly of one shape, which servers can run together.
    """
    most = max([1, *map(len, places)])
    rows = np.zeros((len(places), 1 << (most - 1).bit_length(), 3), np.int32)
    for row, found in zip(rows, places, strict=True):
        if found:
            row[: len(found)] = found
    return rows
