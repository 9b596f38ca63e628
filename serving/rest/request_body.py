"""Reads requests' bodies, as long, as large and as many at one time as the limits allow."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass

import anyio
from starlette.requests import Request

from lae_tf.serving.errors import Code, ServingError
from lae_tf.serving.rest.access_log import Exchange
from lae_tf.serving.rest.json_text import error_body

_MAX_GUNZIPPED = 100 * 2**20
# Below this many bytes a hop to a thread costs more than unpacking.
_GUNZIPPED_AT_ONCE = 6 * 1024


@dataclass(frozen=True)
class Limits:
    """What clients may ask for.

    Attributes:
        timeout_seconds: for parsing, queueing and running a request, else 504.
        body_seconds: for a body to arrive, else 408.
        body_bytes: largest body, else 413.
        image_pixels: largest width times height of an encoded image, else 400.
        images: images in one :predict request, else 400.
        request_pixels: of all images in one :predict request, else 413.
        pixels_held: of requests in progress that have many of them, else 413 for now.
        requests: requests in progress at one time, else 429.
        bytes_held: bytes of the bodies of requests in progress, else 429.
    """

    timeout_seconds: float = 30.0
    body_seconds: float = 60.0
    body_bytes: int = 100 * 2**20
    image_pixels: int = 64_000_000
    images: int = 256
    request_pixels: int = 256_000_000
    pixels_held: int = 512_000_000
    requests: int = 1024
    bytes_held: int = 2**30


class BodyRefused(Exception):
    """A body that is not taken, for a reason that no status code of TensorFlow stands for.

    Attributes:
        status: of HTTP.
        body: the error document.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.body = error_body(message)


class Intake:
    """Reads bodies and counts what the requests in progress hold.

    Attributes:
        requests: that are in progress.
        bytes_held: by their bodies.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self.requests = 0
        self.bytes_held = 0

    def enter(self) -> None:
        """Count a request that begins."""
        self.requests += 1

    def leave(self, exchange: Exchange) -> None:
        """Forget a request that ends."""
        self.requests -= 1
        self.bytes_held -= exchange.bytes_held

    async def read(self, request: Request, exchange: Exchange) -> bytes:
        """Read a body; one that is refused is read to its end, so that the client hears why.

        Raises:
            BodyRefused: too large, or too slow.
            ServingError: RESOURCE_EXHAUSTED: too many requests are in progress, or hold too many bytes.
            ClientDisconnect: the client went away.
        """
        limits = self._limits
        chunks: list[bytes] = []
        refusal: Exception | None = None
        if self.requests > limits.requests:
            refusal = ServingError(Code.RESOURCE_EXHAUSTED, "Too many requests are in progress")
        try:
            with anyio.fail_after(limits.body_seconds):
                async for chunk in request.stream():
                    exchange.bytes_in += len(chunk)
                    if refusal:
                        chunks.clear()
                        continue
                    chunks.append(chunk)
                    self._hold(len(chunk), exchange)
                    if exchange.bytes_in > limits.body_bytes:
                        refusal = _too_large(limits)
                    elif self.bytes_held > limits.bytes_held:
                        refusal = _out_of_memory()
        except TimeoutError:
            message = f"The request body did not arrive within {limits.body_seconds:g} seconds"
            refusal = refusal or BodyRefused(408, message)
        if refusal:
            raise refusal
        body = b"".join(chunks)
        if "gzip" not in request.headers.get("content-encoding", ""):
            return body
        largest = min(limits.body_bytes, _MAX_GUNZIPPED)
        inline = len(body) < _GUNZIPPED_AT_ONCE
        body = _gunzip(body, largest) if inline else await asyncio.to_thread(_gunzip, body, largest)
        if len(body) > limits.body_bytes:
            raise _too_large(limits)
        self._hold(len(body), exchange)
        if self.bytes_held > limits.bytes_held:
            raise _out_of_memory()
        return body

    def _hold(self, count: int, exchange: Exchange) -> None:
        exchange.bytes_held += count
        self.bytes_held += count


def _gunzip(body: bytes, largest: int) -> bytes:
    """Unpack a gzip body, at most one byte more than ``largest``.

    One that is damaged or has more than 100 MiB reads as empty, as in TensorFlow Serving.
    """
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(body, largest + 1)
    except zlib.error:
        return b""
    if len(unpacked) > largest:
        return b"" if largest == _MAX_GUNZIPPED else unpacked
    return unpacked if unpacker.eof else b""


def _too_large(limits: Limits) -> BodyRefused:
    return BodyRefused(413, f"The request body is larger than {limits.body_bytes} bytes")


def _out_of_memory() -> ServingError:
    return ServingError(Code.RESOURCE_EXHAUSTED, "The requests in progress hold too many bytes")
