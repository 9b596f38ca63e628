"""Sends thousands of mixed requests to `lae-tf serve` and checks every answer and the server's memory.

Usage: python benchmarks/serving_soak.py EXPORT_DIR [--requests 10000] [--clients 8]

Valid images (alone, several, compressed, from slow clients), damaged and truncated ones, decompression bombs,
bodies that are too large or no JSON, wrong URLs, and clients that go away. Fails if an answer has another code or
score than it should, if the server dies, or if its resident memory grows by more than 5 % after the warm-up.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import io
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TARGET = "/v1/models/m:predict"
TOLERANCE = 1e-5
WARM_UP, GROWTH = 0.3, 1.05


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((128, 128)).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    """Return a PNG file of a few bytes whose header promises 100 000 x 100 000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0" * 99


def body(*images: bytes) -> bytes:
    return json.dumps({"instances": [{"b64": base64.b64encode(image).decode()} for image in images]}).encode()


class Soak:
    """What is sent, and what has to come back."""

    def __init__(self, port: int):
        self.port = port
        self.images = [jpeg(seed) for seed in range(16)]
        self.scores = [self.scored(body(image))[0] for image in self.images]
        self.wrong: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.cases: list[tuple[Callable[[random.Random], None], int]] = [
            (self.one_image, 6),
            (self.several_images, 2),
            (self.compressed, 2),
            (self.slow_client, 1),
            (self.status, 2),
            (self.gone_in_the_body, 2),
            (self.gone_before_the_answer, 2),
            (self.refused("no JSON", 400, b'{"instances": ['), 2),
            (self.refused("no base64", 400, b'{"instances": [{"b64": "*"}]}'), 2),
            (self.refused("no image", 400, body(self.images[0], b"no image")), 2),
            (self.refused("truncated", 400, body(self.images[0][:200])), 2),
            (self.refused("bomb", 400, body(bomb())), 2),
            (self.refused("deep", 400, b'{"instances": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"), 1),
            (self.refused("too large", 413, b" " * (2 * 2**20)), 1),
            (self.refused("unknown model", 404, body(self.images[0]), "/v1/models/none:predict"), 1),
            (self.refused("wrong URL", 400, b"{}", "/v1/models/m:forget"), 1),
            (self.refused("outside", 404, b"{}", "/"), 1),
        ]

    def ask(self, data: bytes, target: str = TARGET, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST" if data else "GET", target, data or None, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def scored(self, data: bytes, headers: dict[str, str] | None = None) -> list[float]:
        status, answer = self.ask(data, headers=headers)
        if status != 200:
            raise AssertionError(f"{status}: {answer[:200]!r}")
        return [float(item["score"]) for item in json.loads(answer)["predictions"]]

    def check(self, kind: str, indices: list[int], scores: list[float]) -> None:
        expected = [self.scores[index] for index in indices]
        if len(scores) != len(expected) or not np.allclose(scores, expected, rtol=0, atol=TOLERANCE):
            self.wrong.append(f"{kind}: {scores}, not {expected}")

    def one_image(self, chance: random.Random) -> None:
        index = chance.randrange(len(self.images))
        self.check("one image", [index], self.scored(body(self.images[index])))

    def several_images(self, chance: random.Random) -> None:
        indices = [chance.randrange(len(self.images)) for _ in range(3)]
        self.check("several", indices, self.scored(body(*(self.images[index] for index in indices))))

    def compressed(self, chance: random.Random) -> None:
        data = gzip.compress(body(self.images[1]))
        self.check("compressed", [1], self.scored(data, {"Content-Encoding": "gzip"}))
        status, _ = self.ask(data[:-20], headers={"Content-Encoding": "gzip"})
        if status != 400:
            self.wrong.append(f"damaged gzip: {status}")

    def slow_client(self, chance: random.Random) -> None:
        data = body(self.images[2])
        with self.connected(len(data)) as connection:
            for start in range(0, len(data), len(data) // 4):
                connection.sendall(data[start : start + len(data) // 4])
                time.sleep(0.02)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                self.wrong.append("slow client: not 200")

    def status(self, chance: random.Random) -> None:
        status, answer = self.ask(b"", "/v1/models/m")
        if status != 200 or b"AVAILABLE" not in answer:
            self.wrong.append(f"status: {status}")

    def gone_in_the_body(self, chance: random.Random) -> None:
        with self.connected(1_000_000) as connection:
            connection.sendall(body(self.images[3])[: chance.randrange(1, 2000)])

    def gone_before_the_answer(self, chance: random.Random) -> None:
        data = body(self.images[4])
        with self.connected(len(data)) as connection:
            connection.sendall(data)

    def connected(self, length: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        connection.sendall(f"POST {TARGET} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        return connection

    def refused(self, kind: str, code: int, data: bytes, target: str = TARGET) -> Callable[[random.Random], None]:
        def send(chance: random.Random) -> None:
            status, answer = self.ask(data, target)
            if status != code or not (b'"error"' in answer or target == "/"):
                self.wrong.append(f"{kind}: {status} {answer[:200]!r}")

        send.__name__ = kind
        return send

    def run(self, count: int, seed: int) -> None:
        """Send requests one after the other, in an order that the seed decides."""
        chance = random.Random(seed)
        cases, weights = zip(*self.cases, strict=True)
        for _ in range(count):
            (case,) = chance.choices(cases, weights)
            try:
                case(chance)
            except Exception as error:
                self.wrong.append(f"{case.__name__}: {type(error).__name__}: {error}")
            self.kinds[case.__name__] += 1


def resident_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export_dir", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        batching = Path(folder, "batching.txt")
        batching.write_text("max_batch_size { value: 8 }")
        command = [sys.executable, "-W", "ignore", "-m", "lae_tf.cli.main", "serve", arguments.export_dir]
        options = [
            "--model-name",
            "m",
            "--rest-api-port",
            "0",
            "--max-body-mib",
            "1",
            "--no-access-log",
            "--json",
        ]
        server = subprocess.Popen(
            [*map(str, command), *options, "--batching-parameters-file", batching],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout is not None
            soak = Soak(json.loads(server.stdout.readline())["port"])
            steps = 10
            sizes = []
            began = time.perf_counter()
            for step in range(steps):
                share = arguments.requests // steps // arguments.clients
                threads = [
                    threading.Thread(target=soak.run, args=(share, step * arguments.clients + client))
                    for client in range(arguments.clients)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                if server.poll() is not None:
                    raise SystemExit(f"The server died with code {server.returncode}.")
                sizes.append(resident_mib(server.pid))
                done = sum(soak.kinds.values())
                rate = done / (time.perf_counter() - began)
                print(f"{done:>6} requests, {rate:.0f} a second, {sizes[-1]:.0f} MiB", flush=True)
        finally:
            server.terminate()
            server.wait()
    for kind, count in soak.kinds.most_common():
        print(f"{count:>6} {kind}")
    growth = sizes[-1] / sizes[int(steps * WARM_UP) - 1]
    print(f"{len(soak.wrong)} wrong answers; memory after the warm-up x {growth:.3f}; exit {server.returncode}")
    print("\n".join(soak.wrong[:20]))
    if soak.wrong or growth > GROWTH or server.returncode:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
