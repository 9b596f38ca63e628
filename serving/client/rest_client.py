"""Clients for an exported model behind TensorFlow Serving or ``lae-tf serve``; nothing of TensorFlow is needed.

Images are normalised before they are sent (:func:`lae_tf.images.files.normalise`), so that EXIF orientation and
formats that the graph does not decode give the same scores as ``lae-tf predict``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from lae_tf.errors import MissingExtraError, UsageError
from lae_tf.serving.client.results import Explanation, R, Score, ServerError, read_predictions
from lae_tf.serving.client.scoring import OF_ITS_IMAGES, Scoring
from lae_tf.serving.client.uploads import Named, Upload, batched, faces_of, halves, normalised
from lae_tf.video.face_places import FACES

try:
    import httpx
except ImportError:
    raise MissingExtraError("the REST client", "serve") from None

__all__ = ["AsyncClient", "Client", "Explanation", "Score", "ServerError"]

H = TypeVar("H", httpx.Client, httpx.AsyncClient)
# Names that no host can have fail in the codec of IDNA.
_NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0


def require_http(url: str) -> None:
    """Check the address of a server.

    Raises:
        UsageError: it does not begin with http:// or https://.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UsageError(f"{url}: expected an address that begins with http://, such as http://localhost:8501.")


class _Api:
    """What both clients share: where requests go, what is in them, and when to try again."""

    def __init__(  # noqa: PLR0913 - all but the first have defaults
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
            retries: how often a request is repeated that met a busy server (429, 503, or 413 for now).
        """
        require_http(url)
        part = "" if version is None else f"/versions/{version}"
        self._path = f"/v1/models/{model}{part}"
        self._batch_size = batch_size
        self._retries = retries
        self._with_faces: bool | None = None  # not known before the server was asked
        self._settings: dict[str, Any] = {
            "base_url": url,
            "timeout": timeout_seconds,
            "headers": {"Authorization": f"Bearer {token}"} if token else {},
        }

    def _opened(self, kind: type[H]) -> H:
        try:
            return kind(**self._settings)
        except httpx.InvalidURL as error:
            raise UsageError(f"{self._settings['base_url']} is not a URL: {error}.") from None
        except UnicodeEncodeError:
            raise UsageError("the token has characters that are not ASCII; copy it anew.") from None

    def _delay(self, response: httpx.Response, attempt: int) -> float | None:
        """Return how many seconds to wait before the next attempt, None if there is to be none."""
        # 413 with a time to retry at: too many pixels are in progress, not in this request.
        later = response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE and "retry-after" in response.headers
        if not (later or response.status_code in _BUSY) or attempt >= self._retries:
            return None
        asked = _retry_after(response.headers.get("retry-after", ""))
        return min(_LONGEST_DELAY, max(asked, _FIRST_DELAY * 2**attempt))

    def _request(self, images: Sequence[Named], kind: type[Score]) -> dict[str, Any]:
        instances: list[dict[str, Any]] = [{"b64": base64.b64encode(image.data).decode()} for image in images]
        if (faces := faces_of(images)) is not None:
            rows = zip(instances, faces.tolist(), strict=True)
            instances = [{"image_bytes": file, FACES: places} for file, places in rows]
        content = json.dumps({"signature_name": kind.signature, "instances": instances})
        return {"method": "POST", "url": f"{self._path}:predict", "content": content}

    def _metadata(self) -> dict[str, Any]:
        return {"method": "GET", "url": f"{self._path}/metadata"}


class Client(_Api, Scoring):
    """Scores images over REST, by ``Scoring``'s methods; use it in a ``with`` statement. Threads may share it."""

    def __enter__(self) -> Client:
        self._http = self._opened(httpx.Client)
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def versions(self) -> list[dict[str, Any]]:
        """Return the status document's versions: ``version``, ``state`` and ``status`` of each.

        Raises:
            ServerError: the server refused, or cannot be reached.
        """
        return _versions(self._send({"method": "GET", "url": self._path}))

    def _takes_faces(self) -> bool:
        if self._with_faces is None:
            try:
                self._with_faces = _names_faces(self._send(self._metadata()))
            except ServerError:  # the request for scores will say why
                return False
        return self._with_faces

    def _ask(self, images: list[Named], kind: type[R]) -> list[R]:
        return _results(self._send(self._request(images, kind)), images, kind)

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            try:
                response = self._http.request(**request)
            except _NO_ANSWER as error:
                raise _unreachable(self._settings["base_url"], error) from None
            delay = self._delay(response, attempt)
            if delay is None:
                return _answer(response)
            time.sleep(delay)
            attempt += 1


class AsyncClient(_Api):
    """The same as :class:`Client` for asyncio; use it in an ``async with`` statement."""

    async def __aenter__(self) -> AsyncClient:
        self._http = self._opened(httpx.AsyncClient)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def versions(self) -> list[dict[str, Any]]:
        """See :meth:`Client.versions`."""
        return _versions(await self._send({"method": "GET", "url": self._path}))

    async def predict(self, images: Sequence[bytes], names: Sequence[str] | None = None) -> list[Score]:
        """See :meth:`Client.predict`."""
        with_faces = await self._takes_faces()
        return await self._ask(await asyncio.to_thread(normalised, images, names, with_faces), Score)

    async def explain(self, image: bytes, name: str = "image") -> Explanation:
        """See :meth:`Client.explain`."""
        with_faces = await self._takes_faces()
        return (await self._ask(await asyncio.to_thread(normalised, [image], [name], with_faces), Explanation))[0]

    def predict_files(self, paths: Iterable[str]) -> AsyncIterator[Score]:
        """See :meth:`Client.predict_files`."""
        return self._files(paths, Score)

    def explain_files(self, paths: Iterable[str]) -> AsyncIterator[Explanation]:
        """See :meth:`Client.explain_files`."""
        return self._files(paths, Explanation)

    async def _files(self, paths: Iterable[str], kind: type[R]) -> AsyncIterator[R]:
        for batch in batched(paths, self._batch_size):
            upload = await asyncio.to_thread(Upload, batch, await self._takes_faces())
            for result in upload.in_order(await self._ask_in_parts_if_refused(upload.images, kind), kind):
                yield result

    async def _takes_faces(self) -> bool:
        if self._with_faces is None:
            try:
                self._with_faces = _names_faces(await self._send(self._metadata()))
            except ServerError:
                return False
        return self._with_faces

    async def _ask_in_parts_if_refused(self, images: list[Named], kind: type[R]) -> list[R]:
        try:
            return await self._ask(images, kind)
        except ServerError as error:
            if error.status not in OF_ITS_IMAGES:
                raise
            if len(images) == 1:
                return [kind(images[0].name, error=str(error))]
        return [result for part in halves(images) for result in await self._ask_in_parts_if_refused(part, kind)]

    async def _ask(self, images: list[Named], kind: type[R]) -> list[R]:
        return _results(await self._send(self._request(images, kind)), images, kind) if images else []

    async def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            try:
                response = await self._http.request(**request)
            except _NO_ANSWER as error:
                raise _unreachable(self._settings["base_url"], error) from None
            delay = self._delay(response, attempt)
            if delay is None:
                return _answer(response)
            await asyncio.sleep(delay)
            attempt += 1


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


def _results(answer: dict[str, Any], images: Sequence[Named], kind: type[R]) -> list[R]:
    return read_predictions(answer.get("predictions"), [image.name for image in images], kind)


def _names_faces(metadata: dict[str, Any]) -> bool:
    """Tell whether the signature for scores has an input for faces."""
    found: Any = metadata
    for key in ("metadata", "signature_def", "signature_def", Score.signature, "inputs"):
        found = found.get(key) if isinstance(found, dict) else None
    return isinstance(found, dict) and FACES in found


def _versions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    versions: list[dict[str, Any]] = answer.get("model_version_status", [])
    return versions


def _unreachable(url: str, error: Exception) -> ServerError:
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
