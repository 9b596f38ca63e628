"""Clients for an exported model behind TensorFlow Serving or ``lae-tf serve``; nothing of TensorFlow is needed.

Images are normalised before they are sent (:func:`lae_tf.data.images.normalise`), so that EXIF orientation and
formats that the graph does not decode give the same scores as ``lae-tf predict``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, TypeVar

import httpx

from lae_tf.data.images import normalise, read_bytes
from lae_tf.errors import ImageError, LAEError

T = TypeVar("T")
_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0


class ServerError(LAEError):
    """The server refused a request, could not be reached, or sent what is no answer.

    Attributes:
        status: the HTTP status, 0 where no answer came.
    """

    def __init__(self, message: str, status: int = 0):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Score:
    """What the model says of one image; the fields of ``lae-tf predict``.

    Attributes:
        path: the file, or the name that was given.
        score: calibrated P(fake); NaN for a bad file.
        label: ``fake`` where score >= threshold, else ``real``; empty for a bad file.
        logit: s before calibration.
        threshold: of the decision.
        error: empty, or why the file could not be scored.
    """

    path: str
    score: float = float("nan")
    label: str = ""
    logit: float = float("nan")
    threshold: float = float("nan")
    error: str = ""

    def record(self) -> dict[str, object]:
        """Return the fields for tables and JSON: path and error, or path, score, label, logit, threshold."""
        if self.error:
            return {"path": self.path, "error": self.error}
        names = ("path", "score", "label", "logit", "threshold")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Explanation:
    """A score, and where in the image it comes from.

    Attributes:
        score: the score.
        heatmap_png: a PNG file: the attention over the image.
        reconstruction_error: mean absolute error of the reconstruction, in [0, 1].
    """

    score: Score
    heatmap_png: bytes
    reconstruction_error: float


class _Api:
    """What both clients share: where requests go, what is in them, and when to try again."""

    def __init__(
        self,
        url: str,
        model: str = "lae",
        *,
        version: int | None = None,
        token: str | None = None,
        timeout_seconds: float = 60.0,
        batch_size: int = 16,
        retries: int = 5,
    ):
        """Describe the server.

        Args:
            url: where it listens, for example ``http://127.0.0.1:8501``.
            model: the model's name there.
            version: a version of it; None takes the newest.
            token: bearer token, if the server asks for one.
            timeout_seconds: for connecting, and for each wait while sending and receiving.
            batch_size: images in one request.
            retries: how often a request is repeated that met a busy server (429 or 503).
        """
        part = "" if version is None else f"/versions/{version}"
        self._path = f"/v1/models/{model}{part}"
        self._batch_size = batch_size
        self._retries = retries
        self._settings: dict[str, Any] = {
            "base_url": url,
            "timeout": timeout_seconds,
            "headers": {"Authorization": f"Bearer {token}"} if token else {},
        }

    def _delay(self, response: httpx.Response, attempt: int) -> float | None:
        """Return how many seconds to wait before the next attempt, None if there is to be none."""
        if response.status_code not in _BUSY or attempt >= self._retries:
            return None
        asked = _retry_after(response.headers.get("retry-after", ""))
        return min(_LONGEST_DELAY, max(asked, _FIRST_DELAY * 2**attempt))

    def _predict_request(self, images: Sequence[bytes], signature: str) -> dict[str, Any]:
        instances = [{"b64": base64.b64encode(image).decode()} for image in images]
        content = json.dumps({"signature_name": signature, "instances": instances})
        return {"method": "POST", "url": f"{self._path}:predict", "content": content}


class Client(_Api):
    """Scores images over REST; use it in a ``with`` statement. Safe to share between threads."""

    def __enter__(self) -> Client:
        self._http = httpx.Client(**self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def versions(self) -> list[dict[str, Any]]:
        """Return the status document's versions: ``version``, ``state`` and ``status`` of each.

        Raises:
            ServerError: the server refused, or cannot be reached.
        """
        return _versions(self._send({"method": "GET", "url": self._path}))

    def predict(self, images: Sequence[bytes], names: Sequence[str] | None = None) -> list[Score]:
        """Score images in one request.

        Args:
            images: content of image files.
            names: what to call them; None numbers them.

        Raises:
            ImageError: one of them is no usable image.
            ServerError: the server refused, or cannot be reached.
        """
        named = _normalised(images, names)
        answer = self._send(self._predict_request([data for _, data in named], "serving_default"))
        return _scores(answer, [name for name, _ in named])

    def predict_files(self, paths: Iterable[str]) -> Iterator[Score]:
        """Score files, batch by batch, in their order; a bad file gets an error and never stops the rest.

        Raises:
            ServerError: the server refused for another reason than an image, or cannot be reached.
        """
        for paths_of_batch in _batched(paths, self._batch_size):
            batch = _read(paths_of_batch)
            yield from _in_order(batch, self._score(_good(batch)))

    def _score(self, named: list[tuple[str, bytes]]) -> list[Score]:
        if not named:
            return []
        try:
            answer = self._send(self._predict_request([data for _, data in named], "serving_default"))
        except ServerError as error:
            if error.status != httpx.codes.BAD_REQUEST:
                raise
            if len(named) == 1:
                return [Score(named[0][0], error=str(error))]
            return [score for item in named for score in self._score([item])]
        return _scores(answer, [name for name, _ in named])

    def explain(self, image: bytes, name: str = "image") -> Explanation:
        """Score an image and fetch its heatmap.

        Raises:
            ImageError: it is no usable image.
            ServerError: the server refused, or cannot be reached.
        """
        return _explanation(self._send(self._predict_request([normalise(image, name)], "explain")), name)

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            try:
                response = self._http.request(**request)
            except httpx.HTTPError as error:
                raise _unreachable(self._settings["base_url"], error) from None
            delay = self._delay(response, attempt)
            if delay is None:
                return _answer(response)
            time.sleep(delay)
            attempt += 1


class AsyncClient(_Api):
    """The same as :class:`Client` for asyncio; use it in an ``async with`` statement."""

    async def __aenter__(self) -> AsyncClient:
        self._http = httpx.AsyncClient(**self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def versions(self) -> list[dict[str, Any]]:
        """See :meth:`Client.versions`."""
        return _versions(await self._send({"method": "GET", "url": self._path}))

    async def predict(self, images: Sequence[bytes], names: Sequence[str] | None = None) -> list[Score]:
        """See :meth:`Client.predict`."""
        named = await asyncio.to_thread(_normalised, images, names)
        answer = await self._send(self._predict_request([data for _, data in named], "serving_default"))
        return _scores(answer, [name for name, _ in named])

    async def predict_files(self, paths: Iterable[str]) -> AsyncIterator[Score]:
        """See :meth:`Client.predict_files`."""
        for paths_of_batch in _batched(paths, self._batch_size):
            batch = await asyncio.to_thread(_read, paths_of_batch)
            for score in _in_order(batch, await self._score(_good(batch))):
                yield score

    async def _score(self, named: list[tuple[str, bytes]]) -> list[Score]:
        if not named:
            return []
        try:
            answer = await self._send(self._predict_request([data for _, data in named], "serving_default"))
        except ServerError as error:
            if error.status != httpx.codes.BAD_REQUEST:
                raise
            if len(named) == 1:
                return [Score(named[0][0], error=str(error))]
            return [score for item in named for score in await self._score([item])]
        return _scores(answer, [name for name, _ in named])

    async def explain(self, image: bytes, name: str = "image") -> Explanation:
        """See :meth:`Client.explain`."""
        data = await asyncio.to_thread(normalise, image, name)
        return _explanation(await self._send(self._predict_request([data], "explain")), name)

    async def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            try:
                response = await self._http.request(**request)
            except httpx.HTTPError as error:
                raise _unreachable(self._settings["base_url"], error) from None
            delay = self._delay(response, attempt)
            if delay is None:
                return _answer(response)
            await asyncio.sleep(delay)
            attempt += 1


def _normalised(images: Sequence[bytes], names: Sequence[str] | None) -> list[tuple[str, bytes]]:
    names = names or [f"image {index}" for index in range(len(images))]
    return [(name, normalise(data, name)) for name, data in zip(names, images, strict=True)]


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _read(paths: list[str]) -> list[tuple[str, bytes | Score]]:
    """Read and normalise files; a bad one becomes its error."""
    batch: list[tuple[str, bytes | Score]] = []
    for path in paths:
        try:
            batch.append((path, normalise(read_bytes(path), path)))
        except ImageError as error:
            batch.append((path, Score(path, error=str(error))))
    return batch


def _good(batch: list[tuple[str, bytes | Score]]) -> list[tuple[str, bytes]]:
    return [(name, data) for name, data in batch if isinstance(data, bytes)]


def _in_order(batch: list[tuple[str, bytes | Score]], scores: list[Score]) -> Iterator[Score]:
    remaining = iter(scores)
    for _, data in batch:
        yield next(remaining) if isinstance(data, bytes) else data


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        document = json.loads(response.content.decode("utf-8", "replace"))
    except ValueError:
        document = None
    if response.is_success and isinstance(document, dict):
        return document
    said = document.get("error") if isinstance(document, dict) else None
    message = said or f"{len(response.content)} bytes that are no JSON object"
    raise ServerError(f"{response.url} answered {response.status_code}: {message}", response.status_code)


def _scores(answer: dict[str, Any], names: Sequence[str]) -> list[Score]:
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != len(names):
        raise ServerError(f"The server did not answer with {len(names)} predictions; is it another model?")
    return [_score(prediction, name) for prediction, name in zip(predictions, names, strict=True)]


def _score(prediction: Any, name: str) -> Score:
    try:
        values = {key: _first(prediction[key]) for key in ("score", "label", "logit", "threshold")}
        score, logit, threshold = (float(values[key]) for key in ("score", "logit", "threshold"))
    except (KeyError, TypeError, ValueError, IndexError):
        raise ServerError("The server's answer lacks score, label, logit or threshold; is it another model?") from None
    return Score(name, score, str(values["label"]), logit, threshold)


def _first(value: Any) -> Any:
    """Return an output of one image, whether the model gives it shape (B,) or (B, 1)."""
    return value[0] if isinstance(value, list) else value


def _explanation(answer: dict[str, Any], name: str) -> Explanation:
    (score,) = _scores(answer, [name])
    (prediction,) = answer["predictions"]
    try:
        heatmap = base64.b64decode(_first(prediction["heatmap_png_bytes"])["b64"])
        error = float(_first(prediction["reconstruction_error"]))
    except (KeyError, TypeError, ValueError, IndexError):
        raise ServerError("The server's answer lacks a heatmap; is it another model?") from None
    return Explanation(score, heatmap, error)


def _versions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    versions: list[dict[str, Any]] = answer.get("model_version_status", [])
    return versions


def _unreachable(url: str, error: httpx.HTTPError) -> ServerError:
    reason = str(error) or type(error).__name__
    return ServerError(f"No answer from {url}: {reason}; is the server running?")


def _retry_after(value: str) -> float:
    """Read a Retry-After header: seconds, or a date; 0 where it is neither."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
