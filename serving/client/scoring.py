"""What every client that waits for its answers can do, given a way to ask for one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus

from lae_tf.serving.client.results import Explanation, R, Score, ServerError
from lae_tf.serving.client.uploads import Named, Upload, batched, halves, normalised

# Answers that are about a request's images: one is damaged, or they are too large together.
OF_ITS_IMAGES = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Scoring(ABC):
    """Scores and explains images, one batch after the other."""

    _batch_size: int

    @abstractmethod
    def _ask(self, images: list[Named], kind: type[R]) -> list[R]:
        """Return results of images that are normalised, at least one.

        Raises:
            ServerError: the server refused, or cannot be reached.
        """

    @abstractmethod
    def _takes_faces(self) -> bool:
        """Tell whether the model has to be told where faces are; what is no answer counts as no."""

    def predict(self, images: Sequence[bytes], names: Sequence[str] | None = None) -> list[Score]:
        """Score images in one request.

        Args:
            images: content of image files.
            names: what to call them; None numbers them.

        Raises:
            ImageError: one of them is no usable image.
            ServerError: the server refused, or cannot be reached.
        """
        return self._ask(normalised(images, names, self._takes_faces()), Score) if images else []

    def explain(self, image: bytes, name: str = "image") -> Explanation:
        """Score an image and fetch its heatmap.

        Raises:
            ImageError: it is no usable image.
            ServerError: the server refused, or cannot be reached.
        """
        return self._ask(normalised([image], [name], self._takes_faces()), Explanation)[0]

    def predict_files(self, paths: Iterable[str]) -> Iterator[Score]:
        """Score files, batch by batch, in their order; a bad file gets an error and never stops the rest.

        Raises:
            ServerError: the server refused for another reason than an image, or cannot be reached.
        """
        return self._files(paths, Score)

    def explain_files(self, paths: Iterable[str]) -> Iterator[Explanation]:
        """The same as :meth:`predict_files`, with heatmaps."""
        return self._files(paths, Explanation)

    def _files(self, paths: Iterable[str], kind: type[R]) -> Iterator[R]:
        for batch in batched(paths, self._batch_size):
            upload = Upload(batch, self._takes_faces())
            results = self._ask_in_parts_if_refused(upload.images, kind) if upload.images else []
            yield from upload.in_order(results, kind)

    def _ask_in_parts_if_refused(self, images: list[Named], kind: type[R]) -> list[R]:
        """Find out which images the server refuses, if it does, and send fewer together where they are too large."""
        try:
            return self._ask(images, kind)
        except ServerError as error:
            if error.status not in OF_ITS_IMAGES:
                raise
            if len(images) == 1:
                return [kind(images[0].name, error=str(error))]
        return [result for part in halves(images) for result in self._ask_in_parts_if_refused(part, kind)]
