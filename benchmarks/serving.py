"""Prints requests a second and latencies of `lae-tf serve`, beside a bare loop over the same SavedModel.

Usage: python benchmarks/serving.py EXPORT_DIR [--clients 1 8 64] [--seconds 10] [--max-batch-size 16]

Each request is one 256 x 256 JPEG. The bare loop runs in a process of its own, without HTTP and JSON: one image a
call, and full batches. Server and clients share this machine, so the clients' work counts against the server.

Goals: at 64 clients at least 0.8 of the bare loop's throughput; with batching, p99 under 4 times the bare single-image
latency times the batch that a request waited for, which is as large as the clients or --max-batch-size let it be.
"of the p99 goal" is p99 as a share of that: below 1 meets it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIZE, IMAGES = 256, 32


def make_images() -> list[bytes]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(IMAGES):
        file = io.BytesIO()
        coarse = rng.integers(0, 256, (SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((SIZE, SIZE)).save(file, "JPEG", quality=92)
        images.append(file.getvalue())
    return images


def bare_loop(model: str, batch: int, seconds: float) -> dict[str, float]:
    """Call the signature again and again; images a second and milliseconds a call."""
    import tensorflow as tf

    signature = tf.saved_model.load(model).signatures["serving_default"]
    images = make_images()
    batches = [tf.constant(images[start : start + batch]) for start in range(0, IMAGES, batch)]
    for data in batches[:3]:
        signature(image_bytes=data)
    times = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        signature(image_bytes=batches[len(times) % len(batches)])["score"].numpy()
        times.append(time.perf_counter() - start)
    return {"images/s": len(times) * batch / sum(times), "p50 ms": float(np.median(times)) * 1000}


async def one_client(port: int, bodies: list[bytes], until: float, times: list[float]) -> None:
    """Send requests over one connection, with next to no work of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while time.perf_counter() < until:
        body = bodies[number % len(bodies)]
        number += 1
        start = time.perf_counter()
        head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        times.append(time.perf_counter() - start)
    writer.close()


async def load(port: int, clients: int, seconds: float) -> dict[str, float]:
    bodies = [
        json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]}).encode() for image in make_images()
    ]
    for phase in (
        min(2.0, seconds),
        seconds,
    ):  # the first warms up: every batch size is new to the model once
        times: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(*(one_client(port, bodies, began + phase, times) for _ in range(clients)))
        elapsed = time.perf_counter() - began
    milliseconds = np.array(times) * 1000
    quantiles = {f"p{q} ms": float(np.percentile(milliseconds, q)) for q in (50, 95, 99)}
    return {"images/s": len(times) / elapsed, **quantiles}


def in_child(mode: str, *arguments: object) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, mode, *map(str, arguments)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def show(name: str, figures: dict[str, float]) -> None:
    print(f"{name:<28}" + "".join(f"{value:>10.2f} {key}" for key, value in figures.items()), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--bare"]:
        print(json.dumps(bare_loop(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
        return
    if sys.argv[1:2] == ["--load"]:
        print(json.dumps(asyncio.run(load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export_dir", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--max-batch-size", type=int, default=16)
    arguments = parser.parse_args()

    from lae_tf.serving.launch import find_model

    base = find_model(arguments.export_dir, None).base_path
    newest = max((entry for entry in base.iterdir() if entry.name.isdigit()), key=lambda entry: int(entry.name))
    bare = in_child("--bare", newest, 1, arguments.seconds)
    show("bare loop, 1 image a call", bare)
    show(
        f"bare loop, {arguments.max_batch_size} a call",
        in_child("--bare", newest, arguments.max_batch_size, arguments.seconds),
    )
    with tempfile.TemporaryDirectory() as folder:
        parameters = Path(folder, "batching.txt")
        parameters.write_text(f"max_batch_size {{ value: {arguments.max_batch_size} }}")
        command = ["serve", base, "--model-name", "m", "--rest-api-port", 0, "--no-access-log", "--json"]
        for name, extra in (("alone", []), ("batched", ["--batching-parameters-file", parameters])):
            server = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "lae_tf.cli.main", *map(str, [*command, *extra])],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            try:
                assert server.stdout is not None
                port = json.loads(server.stdout.readline())["port"]
                for clients in arguments.clients:
                    figures = in_child("--load", port, clients, arguments.seconds)
                    figures["of the bare loop"] = figures["images/s"] / bare["images/s"]
                    if name == "batched":
                        batch = min(clients, arguments.max_batch_size)
                        figures["of the p99 goal"] = figures["p99 ms"] / (4 * bare["p50 ms"] * batch)
                    show(f"{name}, {clients} clients", figures)
            finally:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
