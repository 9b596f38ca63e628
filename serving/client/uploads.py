"""Images on their way to a server: read, normalised, in batches, and their results back in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from lae_tf.errors import ImageError
from lae_tf.images.files import normalise, read_bytes
from lae_tf.serving.client.results import R
from lae_tf.video.face_places import Place, as_input, places_in_file


class Named(NamedTuple):
    """An image on its way.

    Attributes:
        name: what to call it.
        data: the normalised file.
        faces: where they are in it; None for a model that is not told.
    """

    name: str
    data: bytes
    faces: list[Place] | None


def normalised(images: Sequence[bytes], names: Sequence[str] | None, with_faces: bool = False) -> list[Named]:
    """Return images on their way; where they have no names, numbers are.

    Args:
        images: content of image files.
        names: of them.
        with_faces: look for their faces, too.

    Raises:
        ImageError: one of them is no usable image, or shows no face.
    """
    names = names or [f"image {index}" for index in range(len(images))]
    return [_normalised(data, name, with_faces) for name, data in zip(names, images, strict=True)]


def _normalised(data: bytes, name: str, with_faces: bool) -> Named:
    data = normalise(data, name)
    return Named(name, data, places_in_file(data, name) if with_faces else None)


def faces_of(images: Sequence[Named]) -> np.ndarray | None:
    """Return where the faces of images are, int32 (B, N, 3); None where they were not looked for."""
    known = [image.faces for image in images if image.faces is not None]
    return as_input(known) if len(known) == len(images) else None


class Upload:
    """Files that go to the server together; a bad one becomes its error and is not sent.

    Args:
        paths: of the files.
        with_faces: look for their faces, too.
    """

    def __init__(self, paths: Sequence[str], with_faces: bool = False):
        self._paths = paths
        self._errors: dict[int, str] = {}
        self.images: list[Named] = []
        for position, path in enumerate(paths):
            try:
                self.images.append(_normalised(read_bytes(path), path, with_faces))
            except ImageError as error:
                self._errors[position] = str(error)

    def in_order(self, results: Sequence[R], kind: type[R]) -> Iterator[R]:
        """Yield a result for each path; ``results`` are those of the images that were sent."""
        remaining = iter(results)
        for position, path in enumerate(self._paths):
            error = self._errors.get(position)
            yield next(remaining) if error is None else kind(path, error=error)


def batched(paths: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of at most ``size`` paths."""
    iterator = iter(paths)
    while batch := list(islice(iterator, size)):
        yield batch


def halves(images: list[Named]) -> tuple[list[Named], list[Named]]:
    """Cut a batch in two."""
    middle = len(images) // 2
    return images[:middle], images[middle:]
