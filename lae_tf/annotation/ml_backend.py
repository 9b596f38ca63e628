"""The server that Label Studio asks for predictions: a Starlette app that speaks its ML backend protocol.

Facts: https://labelstud.io/guide/ml_create, and what Label Studio (``label_studio/ml/api_connector.py``) sends. Its
server asks, never a page in a browser: requests that a page makes, and those under a foreign name, are refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lae_tf.annotation.label_config import read_control
from lae_tf.annotation.pre_annotation import PreAnnotator
from lae_tf.annotation.request_body import read_body
from lae_tf.errors import LAEError, UsageError
from lae_tf.runtime.hosts import KnownHosts


class Access(NamedTuple):
    """Who may ask.

    Attributes:
        hosts: names under which the server is reached, besides localhost and IP addresses.
        credentials: ``USER:PASSWORD`` of HTTP basic auth; None asks for none.
    """

    hosts: tuple[str, ...] = ()
    credentials: str | None = None


def create_app(annotator: PreAnnotator, access: Access) -> Starlette:
    """Return the app.

    =====================  ==========================================================================================
    GET /, GET /health     ``{"status": "UP", "model_class": "LAE"}``
    POST /setup            checks the labelling configuration (``schema``); ``{"model_version": ...}``
    POST /predict          ``tasks`` and ``label_config`` to ``{"results": [...], "model_version": ...}``
    POST /train, /webhook  read and acknowledged, 201: nothing is trained here
    =====================  ==========================================================================================

    A request that cannot be answered gets ``{"error": "one sentence"}``, mostly with status 400; what is wrong with a
    project is logged too, for Label Studio sends people to the log.

    Args:
        annotator: makes the predictions.
        access: who may ask.
    """
    backend = _Backend(annotator)
    routes = [
        Route("/", backend.health),
        Route("/health", backend.health),
        Route("/setup", backend.setup, methods=["POST"]),
        Route("/predict", backend.predict, methods=["POST"]),
        Route("/train", backend.acknowledge, methods=["POST"]),
        Route("/webhook", backend.acknowledge, methods=["POST"]),
    ]
    handlers: Any = {LAEError: backend.refuse, HTTPException: _failure}
    return Starlette(routes=routes, middleware=[Middleware(_Gate, access=access)], exception_handlers=handlers)


class _Backend:
    def __init__(self, annotator: PreAnnotator):
        self._annotator = annotator
        self._turn = asyncio.Lock()  # images are looked at one after another, whoever asks

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "UP", "model_class": "LAE"})

    async def setup(self, request: Request) -> Response:
        read_control((await _read_object(request)).get("schema"))
        return JSONResponse({"model_version": self._annotator.version})

    async def predict(self, request: Request) -> Response:
        asked = await _read_object(request)
        tasks = asked.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise UsageError("The request has no list of tasks as Label Studio sends it.")
        control = read_control(asked.get("label_config"))
        async with self._turn:
            results = await run_in_threadpool(self._annotator.predict, tasks, control)
        return JSONResponse({"results": results, "model_version": self._annotator.version})

    async def refuse(self, request: Request, error: Exception) -> Response:
        self._annotator.log(f"{request.url.path} was refused: {error}")
        return JSONResponse({"error": str(error)}, 400)

    async def acknowledge(self, request: Request) -> Response:
        async for _ in request.stream():  # all annotations of a project, which nobody needs here
            pass
        return JSONResponse({"detail": "lae_tf trains by `lae-tf import-masks` and `lae-tf train`, not from here"}, 201)


async def _read_object(request: Request) -> dict[str, Any]:
    body = await read_body(request)
    try:
        content = await run_in_threadpool(json.loads, body)
    except (ValueError, RecursionError):
        raise UsageError("The request is not JSON.") from None
    if not isinstance(content, dict):
        raise UsageError(f"The request holds a {type(content).__name__} in JSON; expected an object.")
    return content


def _failure(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return JSONResponse({"error": detail}, status)


class _Gate:
    """Lets in whom :class:`Access` names, and no page of any site."""

    def __init__(self, app: ASGIApp, access: Access):
        self._app = app
        self._hosts = KnownHosts(access.hosts)
        self._credentials = None if access.credentials is None else access.credentials.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if host not in self._hosts:
            return JSONResponse({"error": f"Unknown host '{host}'; --allowed-host NAME lets it in."}, 421)
        if "origin" in request.headers:
            return JSONResponse({"error": "Requests that a page makes are refused."}, 403)
        if self._credentials and not self._knows(request.headers.get("authorization", "")):
            challenge = {"WWW-Authenticate": 'Basic realm="lae_tf"'}
            return JSONResponse({"error": "User name or password are missing or wrong."}, 401, challenge)
        return None

    def _knows(self, authorization: str) -> bool:
        scheme, _, text = authorization.partition(" ")
        try:
            given = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(given, self._credentials or b"")
