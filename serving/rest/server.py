"""The HTTP application: TensorFlow Serving's REST API over ASGI.

Paths are matched as TensorFlow Serving does it, on the raw target with its query string, so Starlette's
router, which sees decoded paths, has no part in it. Large bodies are converted in threads, signatures run in
the batcher's; the event loop only waits.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lae_tf.runtime.hosts import KnownHosts
from lae_tf.serving.engine.batching import Batcher
from lae_tf.serving.engine.loaded_model import LoadedModel
from lae_tf.serving.engine.memory import MemoryRelease
from lae_tf.serving.engine.metrics import Metrics
from lae_tf.serving.engine.model_manager import LARGEST_VERSION, ModelManager, VersionStatus
from lae_tf.serving.errors import Code, ServingError, TooLarge, forget_frames, from_exception, invalid
from lae_tf.serving.rest import example_json, response_json
from lae_tf.serving.rest.access_log import Exchange, log_request
from lae_tf.serving.rest.demo import DEMO_PATH, DemoPage
from lae_tf.serving.rest.json_text import error_body
from lae_tf.serving.rest.large_runs import LargeRuns, is_large
from lae_tf.serving.rest.preparation import INLINE_BYTES, Preparation
from lae_tf.serving.rest.request_body import BodyRefused, Intake, Limits

logger = logging.getLogger(__name__)

T = TypeVar("T")
_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_FLAGS = re.IGNORECASE | re.ASCII
_PATTERNS = {
    "POST": re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", _FLAGS),
    "GET": re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<verb>metadata))?", _FLAGS),
}
_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_METHODS = {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"}
_HOST_SHOWN = 100
_LARGE_BODY = 8 * 2**20  # bytes, from which on the memory is given back afterwards
# One at a time, so that the others find a core free.
_LARGE_RUNS = 1
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


class _MalformedVersion(Exception):
    """A version beyond int64, which TensorFlow Serving answers with 400 and nothing else."""


class Access(NamedTuple):
    """Who may ask.

    Attributes:
        token: bearer token that every request must carry; None asks for none.
        cors: let web pages of other origins call the API.
        hosts: names that requests may give as Host; None does not look.
    """

    token: str | None = None
    cors: bool = False
    hosts: KnownHosts | None = None


class RestApi:
    """The ASGI application.

    Args:
        models: the models, already started.
        batcher: runs the signatures.
        limits: what clients may ask for.
        access: who may ask.
        metrics_path: URL path of the metrics page; None has none.
        demo: page at ``/demo``, for which no token is asked; None has none.
    """

    def __init__(
        self,
        models: ModelManager,
        batcher: Batcher,
        limits: Limits | None = None,
        access: Access | None = None,
        metrics_path: str | None = None,
        demo: DemoPage | None = None,
    ):
        token, cors, hosts = access or Access()
        self._models = models
        self._batcher = batcher
        self._limits = limits or Limits()
        self._metrics_path = metrics_path
        self._token = token
        self._cors = dict(_CORS) if cors else {}
        if cors and token is not None:
            self._cors["Access-Control-Allow-Headers"] += ", Authorization"
        self._demo = demo
        self._hosts = hosts
        self._metrics = Metrics()
        self._intake = Intake(self._limits)
        self._preparation = Preparation(self._limits)
        self._large_runs = LargeRuns(_LARGE_RUNS, self._limits.pixels_held)
        self._memory = MemoryRelease()

    def close(self) -> None:
        """Stop what nobody waits for any more."""
        self._large_runs.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"Only HTTP is served, not {scope['type']}")
        began = time.perf_counter()
        exchange = Exchange()
        target = _target(scope)
        response = None
        self._intake.enter()
        try:
            response = await self._respond(Request(scope, receive), target, exchange)
        except ClientDisconnect:
            exchange.status = Code.CANCELLED.name
        finally:
            self._intake.leave(exchange)
            if exchange.bytes_held > _LARGE_BODY:
                self._memory.soon()
        if response is not None:
            await response(scope, receive, send)
        if exchange.api:
            # A name that no model has is not kept: clients could fill the memory with them.
            model = exchange.model if exchange.model in self._models.loaded_versions() else ""
            self._metrics.count_request(model, exchange.status)
            self._metrics.observe_request(model, exchange.api, time.perf_counter() - began)
        log_request(scope, target, exchange, response, time.perf_counter() - began)

    async def _respond(self, request: Request, target: str, exchange: Exchange) -> Response:
        host = request.headers.get("host", "")  # missing in HTTP/1.0, which no browser speaks
        if self._hosts is not None and host and host not in self._hosts:
            exchange.status = Code.PERMISSION_DENIED.name
            said = f"This server does not answer to the name {host[:_HOST_SHOWN]}; --allowed-host lets it"
            return _json(error_body(said), HTTPStatus.MISDIRECTED_REQUEST, {"Connection": "close"})
        if request.method not in _METHODS:
            exchange.status = Code.UNIMPLEMENTED.name
            return _html(HTTPStatus.NOT_IMPLEMENTED)
        if self._demo and request.method == "GET" and target == DEMO_PATH:
            return self._demo.response()
        # A browser asks whether it may send a token before it sends one.
        preflight = request.method == "OPTIONS" and bool(self._cors)
        if self._token is not None and not preflight and not _carries(request, self._token):
            exchange.status = Code.UNAUTHENTICATED.name
            body = error_body("This server asks for a token: Authorization: Bearer TOKEN")
            return _json(body, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer", **self._cors})
        if self._metrics_path is not None and re.split("[?#]", target)[0] == self._metrics_path:
            return self._metrics_page(target, exchange)
        if not target.lower().startswith("/v1/"):
            exchange.status = Code.NOT_FOUND.name
            return _html(HTTPStatus.NOT_FOUND)
        if request.method == "OPTIONS":
            origin = request.headers.get("origin", "")
            known = "http://" in origin or "https://" in origin
            return Response(status_code=200 if known else 400, headers=self._cors)
        try:
            body = await self._intake.read(request, exchange)
            document = await self._while_wanted(request, self._answer(request.method, target, body, exchange))
            return _json(document, 200, self._cors)
        except ClientDisconnect:
            raise
        except Exception as error:
            answer = self._refusal(error, request, target, exchange)
            forget_frames(error)
            return answer

    def _refusal(self, error: Exception, request: Request, target: str, exchange: Exchange) -> Response:
        if isinstance(error, BodyRefused):
            exchange.status = Code.INVALID_ARGUMENT.name
            return _json(error.body, error.status, {"Connection": "close", **self._cors})
        if isinstance(error, _MalformedVersion):
            exchange.status = Code.INVALID_ARGUMENT.name
            return _json(b"", 400, self._cors)
        failure = from_exception(error)
        exchange.status = failure.code.name
        if failure.code is Code.INTERNAL:
            logger.error("%s %s failed", request.method, target[:200], exc_info=error)
        busy = failure.for_now if isinstance(failure, TooLarge) else failure.http_status in (429, 503)
        retry = {"Retry-After": "1"} if busy else {}
        return _json(error_body(failure.message), failure.http_status, {**self._cors, **retry})

    async def _while_wanted(self, request: Request, work: Coroutine[Any, Any, bytes]) -> bytes:
        """Do what a request asks for, and stop when its client is gone or its time is over."""
        answer = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait(
                (answer, gone), timeout=self._limits.timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientDisconnect
            raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        finally:
            answer.cancel()
            gone.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _answer(self, method: str, target: str, body: bytes, exchange: Exchange) -> bytes:
        pattern = _PATTERNS.get(method)
        match = pattern.fullmatch(target) if pattern else None
        if not match:
            raise invalid(f"Malformed request: {method} {target}")
        name, label, verb = _decoded(match["name"]), _decoded(match["label"]), match["verb"]
        version = _version(match["version"])
        exchange.model = name or ""
        if name is None:
            raise invalid("Missing model name in request.")
        if method == "GET":
            if verb == "metadata":
                return _document(self._models.get(name, version, label).metadata)
            statuses = self._models.statuses(name, version)
            return _document({"model_version_status": [_status(status) for status in statuses]})
        if verb not in ("predict", "classify", "regress"):
            raise invalid(f"Malformed request: {method} {target}")
        exchange.api = verb.title()
        try:
            model: LoadedModel | ServingError = self._models.get(name, version, label)
        except ServingError as error:
            model = error
        return await self._infer(verb, body, model)

    async def _infer(self, verb: str, body: bytes, model: LoadedModel | ServingError) -> bytes:
        found = model if isinstance(model, ServingError) else model.signatures
        prepared = await self._preparation.prepare(verb, body, found)
        if isinstance(model, ServingError):
            raise model  # as the preparation has, in its turn
        began = time.perf_counter()
        if is_large(prepared.pixels):
            outputs = await self._large_runs.run(model, prepared.signature, prepared.inputs, prepared.pixels)
        else:
            future = self._batcher.submit(model, prepared.signature, prepared.inputs)
            outputs = await asyncio.wrap_future(future)
        self._metrics.observe_run(model.name, verb.title(), time.perf_counter() - began)
        if verb == "predict":
            size = sum(value.size for value in outputs.values()) * 10
            return await self._off_loop(size, response_json.from_tensors, outputs, prepared.form)
        render = example_json.from_classification if verb == "classify" else example_json.from_regression
        return render(outputs, len(prepared.inputs["inputs"]))

    async def _off_loop(self, size: int, function: Callable[..., T], *args: Any) -> T:
        """Call a function, in a thread where it has much to do."""
        if size < INLINE_BYTES:
            return function(*args)
        return await asyncio.to_thread(function, *args)

    def _metrics_page(self, target: str, exchange: Exchange) -> Response:
        if target != self._metrics_path:
            exchange.status = Code.INVALID_ARGUMENT.name
            text = f"Unexpected path: {target}. Should be {self._metrics_path}"
            return Response(_encoded(text), 400, {"Content-Type": "text/plain"})
        gauges = {
            "requests_in_progress": self._intake.requests,
            "request_bytes_held": self._intake.bytes_held,
            "requests_queued": self._batcher.waiting,
            "pixels_held": self._large_runs.pixels_held,
        }
        page = self._metrics.page(gauges.items(), self._batcher.batch_sizes())
        return Response(_encoded(page), 200, {"Content-Type": "text/plain"})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _target(scope: Scope) -> str:
    """Return the request's target as it was sent, without scheme and host."""
    raw = scope.get("raw_path") or scope["path"].encode()
    if scope["query_string"]:
        raw += b"?" + scope["query_string"]
    text = raw.decode("utf-8", "surrogateescape")
    return text if text.startswith("/") else _AUTHORITY.sub("", text, count=1)


def _decoded(part: str | None) -> str | None:
    if part is None:
        return None
    return unquote_to_bytes(part.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    significant = digits.lstrip("0") or "0"
    if len(significant) > 19 or int(significant) > LARGEST_VERSION:
        raise _MalformedVersion
    return int(significant)


def _status(status: VersionStatus) -> dict[str, Any]:
    return {
        "version": str(status.version),
        "state": status.state,
        "status": {
            "error_code": status.error.code.name if status.error else "OK",
            "error_message": status.error.message if status.error else "",
        },
    }


def _carries(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _document(value: dict[str, Any]) -> bytes:
    return _encoded(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _json(body: bytes, status: int, headers: dict[str, str]) -> Response:
    return Response(body, status, {"Content-Type": "application/json", **headers})


def _html(status: HTTPStatus) -> Response:
    page = (
        f"<HTML><HEAD>\n<TITLE>{status.value} {status.phrase}</TITLE>\n</HEAD><BODY>\n"
        f"<H1>{status.phrase}</H1>\n</BODY></HTML>\n"
    )
    return Response(page, status, {"Content-Type": "text/html", "Connection": "close"})
