"""Images on their way to a server: read, normalised, in batches, and their results back in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from lae_tf.errors import ImageError
from lae_tf.images.files import normalise, read_bytes
from lae_tf.serving.client.results import R

Named = tuple[str, bytes]


def normalised(images: Sequence[bytes], names: Sequence[str] | None) -> list[Named]:
    """Return names (numbers, where None) and normalised files.

    Raises:
        ImageError: one of them is no usable image.
    """
    names = names or [f"image {index}" for index in range(len(images))]
    return [(name, normalise(data, name)) for name, data in zip(names, images, strict=True)]


class Upload:
    """Files that go to the server together; a bad one becomes its error and is not sent."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths
        self._errors: dict[int, str] = {}
        self.images: list[Named] = []
        for position, path in enumerate(paths):
            try:
                self.images.append((path, normalise(read_bytes(path), path)))
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
