"""What the soak sends to break a server: each kind with the status codes that may answer it."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import random
import socket
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from PIL import Image

TARGET = "/v1/models/m:predict"
BODY_BYTES = 100 * 2**20


def jpeg(seed: int, size: int = 128) -> bytes:
    file = io.BytesIO()
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((size, size)).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    """Return a PNG file of a few bytes whose header promises 100 000 x 100 000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0" * 99


def plain(kind: str, side: int) -> bytes:
    """Return a file of few bytes for its side x side pixels."""
    file = io.BytesIO()
    Image.new("L" if kind == "JPEG" else "1", (side, side)).save(file, kind)
    return file.getvalue()


def body(*images: bytes, signature: str = "") -> bytes:
    instances = [{"b64": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"signature_name": signature, "instances": instances}).encode()


class Kind(NamedTuple):
    """A kind of hostile request: how often it is sent, what, and which codes may answer it (0: no answer)."""

    name: str
    weight: float
    send: Callable[[random.Random], int]
    answers: tuple[int, ...]


class Attacker:
    """Sends hostile requests to a server on this machine.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int):
        self._port = port
        self._held: deque[socket.socket] = deque()
        good, small = jpeg(0), plain("PNG", 16)
        large_jpeg, large_png = plain("JPEG", 8000), plain("PNG", 8000)
        nested = gzip.compress(b'{"instances":[' + b"[]," * 33_000_000 + b"0]}")
        rank = b'{"instances":' + b"[" * 33 + b"1" + b"]" * 33 + b"}"
        deep = b'{"instances": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        in_vain = (413, 429, 504)
        self.kinds = [
            Kind("no JSON", 6, self._post(b'{"instances": ['), (400,)),
            Kind("no base64", 6, self._post(b'{"instances": [{"b64": "*"}]}'), (400,)),
            Kind("no image", 6, self._post(body(good, b"no image")), (400,)),
            Kind("truncated image", 6, self._post(body(good[:200])), (400,)),
            Kind("bomb", 6, self._post(body(bomb())), (400,)),
            Kind("rank 33", 6, self._post(rank), (400,)),
            Kind("deep", 2, self._post(deep), (400, 504)),
            Kind("huge numbers", 4, self._post(b'{"instances": [' + b"9" * 400 + b"]}"), (400,)),
            Kind("not UTF-8", 4, self._post(b'{"signature_name": "\xff\xfe", "instances": ["\xed\xa0\x80"]}'), (400,)),
            Kind("wrong signature", 4, self._post(body(good, signature="none")), (400,)),
            Kind("zero-size tensor", 4, self._post(b'{"signature_name": "tensor", "instances": [[[]]]}'), (400,)),
            Kind("damaged gzip", 4, self._post(gzip.compress(body(good))[:-9], {"Content-Encoding": "gzip"}), (400,)),
            Kind("foreign host", 6, self._post(body(good), {"Host": "evil.example"}), (421,)),
            Kind("unknown model", 4, self._post(body(good), target="/v1/models/none:predict"), (404,)),
            Kind("wrong URL", 4, self._post(b"{}", target="/v1/models/m:forget"), (400,)),
            Kind("unknown method", 2, self._post(b"", method="TRACE"), (501,)),
            Kind("half a head", 8, self._half_head, (0,)),
            Kind("half a body", 4, self._half_body, (0,)),
            Kind("gone before the answer", 6, self._gone(body(good)), (0,)),
            Kind("gone while decoding", 0.4, self._gone(body(*[large_png] * 4)), (0,)),
            Kind("not read", 2, self._not_read(body(good, signature="explain")), (0,)),
            Kind("no HTTP", 4, self._no_http, (400,)),
            Kind("257 images", 1, self._post(body(*[small] * 257)), (400,)),
            Kind("64 megapixels", 1, self._post(body(large_jpeg)), (200, *in_vain)),
            Kind("16 x 64 megapixels", 1, self._post(body(*[large_png] * 16)), (413,)),
            Kind("256 x 64 megapixels", 0.4, self._post(body(*[large_jpeg] * 256)), (413,)),
            Kind("99 MB of lists", 0.1, self._post(nested, {"Content-Encoding": "gzip"}), (400, *in_vain)),
            Kind("20 MB, no JSON", 0.1, self._post(b'{"instances":[' + b"[-NaN]," * 2_900_000), (400, *in_vain)),
            Kind("too large", 0.1, self._post(b" " * (BODY_BYTES + 1)), (413,)),
        ]

    def close(self) -> None:
        """Close what is held open."""
        while self._held:
            self._held.popleft().close()

    def _post(
        self, data: bytes, headers: dict[str, str] | None = None, target: str = TARGET, method: str = "POST"
    ) -> Callable[[random.Random], int]:
        def send(chance: random.Random) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
            try:
                connection.request(method, target, data, headers or {})
                return connection.getresponse().status
            finally:
                connection.close()

        return send

    def _connect(self, length: int = 0) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=120)
        if length:
            connection.sendall(
                f"POST {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
            )
        return connection

    def _hold(self, connection: socket.socket) -> int:
        """Keep a connection open until a thousand newer ones are."""
        self._held.append(connection)
        if len(self._held) > 1000:
            with suppress(IndexError):
                self._held.popleft().close()
        return 0

    def _half_head(self, chance: random.Random) -> int:
        for _ in range(5):
            connection = self._connect()
            connection.sendall(f"POST {TARGET} HTTP/1.1\r\nHost: localhost\r\n"[: chance.randrange(60)].encode())
            self._hold(connection)
        return 0

    def _half_body(self, chance: random.Random) -> int:
        connection = self._connect(1_000_000)
        connection.sendall(b'{"instances": [' + b" " * chance.randrange(2000))
        return self._hold(connection)

    def _not_read(self, data: bytes) -> Callable[[random.Random], int]:
        def send(chance: random.Random) -> int:
            connection = self._connect(len(data))
            connection.sendall(data)
            return self._hold(connection)

        return send

    def _gone(self, data: bytes) -> Callable[[random.Random], int]:
        def send(chance: random.Random) -> int:
            with self._connect(len(data)) as connection:
                connection.sendall(data)
                time.sleep(chance.random() * 0.1)
            return 0

        return send

    def _no_http(self, chance: random.Random) -> int:
        with self._connect() as connection:
            connection.sendall(b"\x16\x03\x01" + chance.randbytes(40) + b"\r\n\r\n")
            answer = connection.recv(65536)
        return int(answer.split()[1])
