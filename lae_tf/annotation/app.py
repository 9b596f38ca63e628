"""The page in the browser that draws masks: a Starlette app over an :class:`AnnotationStore`.

Images are named by their index alone, never by a path. Requests with a foreign Host or Origin are refused, so
that no other site open in the same browser can read images or write masks.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lae_tf.annotation.items import Item
from lae_tf.annotation.request_body import read_body
from lae_tf.annotation.store import AnnotationStore, StaleMaskError
from lae_tf.errors import ImageError, LAEError, UsageError
from lae_tf.images.files import normalise, read_bytes
from lae_tf.runtime.hosts import KnownHosts

_STATIC = {
    "index.html": "text/html",
    "style.css": "text/css",
    **dict.fromkeys(("app.js", "clock.js", "encoder.js", "mask.js", "server.js", "view.js"), "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(items: Sequence[Item], folder: Path, host: str = "127.0.0.1") -> Starlette:
    """Return the app.

    ==========================  =======================================================================
    GET /                       the page
    GET /api/items              what is selected, and each verdict
    GET /api/images/I           the image, JPEG or PNG, upright
    GET /api/attention/I        the attention, grey PNG of any size
    GET /api/surroundings/I     what lies around the image in the picture that it was cut from, PNG
    GET, PUT /api/masks/I       the mask, PNG of the image's size, white where forged; an empty one ends it.
                                ETag is its revision; with If-Match, another one is kept and 412 the answer
    PUT /api/verdicts/I         ``{"verdict": "done" | "skipped" | "not_fake" | null}``
    POST /api/seconds/I         ``{"seconds": 4.2}``: for so long the image was open once more
    ==========================  =======================================================================

    Args:
        items: the selected images, in their order.
        folder: where masks and verdicts are stored.
        host: name under which the server is reached, besides localhost and IP addresses.

    Raises:
        UsageError: the folder belongs to another selection, or is damaged.
    """
    page = _Page(items, AnnotationStore(folder, items))
    routes = [
        Route("/", page.static),
        Route("/static/{name}", page.static),
        Route("/api/items", page.items),
        Route("/api/images/{index:int}", page.image),
        Route("/api/attention/{index:int}", page.attention),
        Route("/api/surroundings/{index:int}", page.surroundings),
        Route("/api/masks/{index:int}", page.mask),
        Route("/api/masks/{index:int}", page.save_mask, methods=["PUT"]),
        Route("/api/verdicts/{index:int}", page.save_verdict, methods=["PUT"]),
        Route("/api/seconds/{index:int}", page.add_seconds, methods=["POST"]),
    ]
    handlers: Any = {LAEError: _refusal}
    return Starlette(routes=routes, middleware=[Middleware(_SameSite, host=host)], exception_handlers=handlers)


class _Page:
    def __init__(self, items: Sequence[Item], store: AnnotationStore):
        self._items, self._store = items, store
        self._sizes: dict[int, tuple[int, int]] = {}

    def _item(self, request: Request) -> Item:
        index = request.path_params["index"]
        if index >= len(self._items):
            raise UsageError(f"there is no image {index}, only {len(self._items)}")
        return self._items[index]

    def static(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in _STATIC:
            return PlainTextResponse("not found", 404)
        content = (resources.files("lae_tf.annotation") / "static" / name).read_bytes()
        return Response(content, media_type=_STATIC[name])

    def items(self, request: Request) -> Response:
        described = [
            {
                "name": "/".join(item.image.parts[-2:]),  # tiles and frames are numbered anew in each folder
                "reason": item.reason,
                "attention": item.attention is not None,
                "surroundings": _place(item),
                "mask": self._store.mask_path(item).is_file(),
                "verdict": self._store.verdict(item),
            }
            for item in self._items
        ]
        return JSONResponse({"items": described})

    def image(self, request: Request) -> Response:
        path = str(self._item(request).image)
        return _image_response(normalise(read_bytes(path), path))

    def attention(self, request: Request) -> Response:
        attention = self._item(request).attention
        if attention is None:
            return PlainTextResponse("no attention for this image", 404)
        return _image_response(normalise(read_bytes(str(attention)), str(attention)))

    def surroundings(self, request: Request) -> Response:
        cut = self._item(request).cut
        if cut is None:
            return PlainTextResponse("nothing is known of this image's surroundings", 404)
        return _image_response(_png(cut.read()))

    def mask(self, request: Request) -> Response:
        item = self._item(request)
        path, revision = self._store.mask_path(item), {"ETag": f'"{self._store.revision(item)}"'}
        if not path.is_file():
            return PlainTextResponse("no mask yet", 404, revision)
        return _image_response(normalise(read_bytes(str(path)), str(path)), revision)

    async def save_mask(self, request: Request) -> Response:
        if request.headers.get("content-type") != "image/png":
            return PlainTextResponse("a mask is sent as image/png", 415)
        item, body = self._item(request), await read_body(request)
        revision = request.headers.get("if-match")
        return await run_in_threadpool(self._store_mask, item, body, revision and revision.strip('"'))

    def _store_mask(self, item: Item, body: bytes, revision: str | None) -> Response:
        if item.rank not in self._sizes:
            self._sizes[item.rank] = item.size()
        mask = decode_mask(body, *self._sizes[item.rank])
        try:
            self._store.save_mask(item, mask, revision)
        except StaleMaskError as error:
            return PlainTextResponse(str(error), 412)
        answer = {"verdict": self._store.verdict(item), "mask": bool(mask.any())}
        return JSONResponse(answer, headers={"ETag": f'"{self._store.revision(item)}"'})

    async def save_verdict(self, request: Request) -> Response:
        item, verdict = self._item(request), await _field(request, "verdict")
        await run_in_threadpool(self._store.save_verdict, item, verdict)
        return JSONResponse({"verdict": self._store.verdict(item)})

    async def add_seconds(self, request: Request) -> Response:
        item, seconds = self._item(request), await _field(request, "seconds")
        await run_in_threadpool(self._store.add_seconds, item, seconds)
        return JSONResponse({"seconds": self._store.seconds(item)})


def decode_mask(data: bytes, height: int, width: int) -> np.ndarray:
    """Decode a PNG of a known size; white is forged.

    Args:
        data: the file.
        height: expected, in pixels.
        width: expected, in pixels.

    Returns:
        uint8 (height, width) in {0, 1}.

    Raises:
        ImageError: not a PNG, damaged, or of another size (found before its pixels are decoded).
    """
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG",))
    except Exception as error:  # Pillow's readers raise many types for a damaged file
        raise ImageError(f"the mask is not a PNG file: {error}") from None
    if image.size != (width, height):
        raise ImageError(f"the mask has {image.width} x {image.height} pixels, the image has {width} x {height}")
    try:
        return (np.asarray(image.convert("L")) > 127).astype(np.uint8)
    except Exception as error:
        raise ImageError(f"the mask is damaged: {error}") from None


async def _field(request: Request, name: str) -> Any:
    """Return the one field that a request sends as JSON."""
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, f"{name}: is sent as application/json")
    try:
        return json.loads(await read_body(request))[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise HTTPException(400, f'expected {{"{name}": ...}}') from None


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _place(item: Item) -> dict[str, int] | None:
    """Return where the image lies in its surroundings as they are served, in their pixels."""
    if item.cut is None:
        return None
    left, top, _, _ = item.cut.view()
    return {"left": item.cut.left - left, "top": item.cut.top - top, "width": item.cut.width}


def _image_response(data: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(data, headers=headers, media_type="image/jpeg" if data.startswith(b"\xff\xd8") else "image/png")


def _refusal(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 422)


class _SameSite:
    """Refuses requests that another site in the same browser makes, and adds the security headers.

    It can make its own name point here, but not name this server as Host; and it cannot write without saying its
    Origin.
    """

    def __init__(self, app: ASGIApp, host: str):
        self._app = app
        self._hosts = KnownHosts([host])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host not in self._hosts:
            await PlainTextResponse(f"unknown host '{host}'", 421)(scope, receive, send)
            return
        if origin is not None and origin.partition("://")[2] != host:
            await PlainTextResponse("requests of other sites are refused", 403)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                fixed = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *fixed]
            await send(message)

        await self._app(scope, receive, send_with_headers)
