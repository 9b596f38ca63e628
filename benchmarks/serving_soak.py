"""Attacks `lae-tf serve` with thousands of hostile requests while good clients go on, and holds it to account.

Usage: python benchmarks/serving_soak.py EXPORT_DIR [--hostile 10000] [--attackers 6] [--quiet-seconds 60]

A server of its own is started on loopback. Good clients, who ask at a steady pace for scores of images alone and in
threes, compressed and over slow lines, for heatmaps and for the status, first have it to themselves; then attackers
send what `hostile_requests.py` lists. Fails if the server dies or writes a traceback, if an answer has another code or
score than it should, if it has a code of 500 and more but 501 and 504, if a good request is not answered, if the good
ones' p99 under attack is ten times that of the quiet server or more, or if the server's resident memory is afterwards
more than 5 % above what it was before the attack. `--hostile 500 --quiet-seconds 10` is the short form.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from hostile_requests import TARGET, Attacker, body, jpeg

TOLERANCE = 1e-5
SLOWER, GROWTH = 10.0, 1.05
PAUSE_SECONDS = 0.05  # of a good client between two requests
ALLOWED = {501, 504}


class GoodClients:
    """Clients that send what they should, at a steady pace, and know what has to come back.

    Args:
        port: where the server listens.
    """

    def __init__(self, port: int):
        self._port = port
        self._images = [jpeg(seed, size) for seed, size in enumerate([128] * 12 + [1000, 2000])]
        self._scores: list[float] = []
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        for image in self._images:
            self._scores += self._scored(body(image))

    def run(self, done: threading.Event, seed: int) -> None:
        """Ask until ``done``; the waiting times are in ``seconds``."""
        chance = random.Random(seed)
        while not done.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            try:
                self._ask_something(chance)
            except Exception as error:
                self.wrong.append(f"a good request: {type(error).__name__}: {error}")
            self.seconds.append(time.perf_counter() - began)

    def _ask_something(self, chance: random.Random) -> None:
        kind = chance.randrange(10)
        if kind == 0:
            if b"AVAILABLE" not in self._ask(b"", target="/v1/models/m"):
                raise ValueError("no version is available")
            return
        indices = chance.choices(range(len(self._images)), k=3 if kind == 1 else 1)
        images = [self._images[index] for index in indices]
        data = body(*images, signature="explain" if kind == 2 else "")
        packed = {"Content-Encoding": "gzip"} if kind == 3 else {}
        scores = self._scored(gzip.compress(data) if packed else data, packed)
        expected = [self._scores[index] for index in indices]
        if len(scores) != len(expected) or not np.allclose(scores, expected, rtol=0, atol=TOLERANCE):
            raise ValueError(f"{scores}, not {expected}")

    def _scored(self, data: bytes, headers: dict[str, str] | None = None) -> list[float]:
        return [float(item["score"]) for item in json.loads(self._ask(data, headers))["predictions"]]

    def _ask(self, data: bytes, headers: dict[str, str] | None = None, target: str = TARGET) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request("POST" if data else "GET", target, data or None, headers or {})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"{response.status}: {answer[:200]!r}")
        return answer


@contextmanager
def asking(clients: GoodClients, count: int) -> Iterator[list[float]]:
    """Let good clients ask meanwhile; yields the list of the seconds that they waited."""
    clients.seconds = []
    done = threading.Event()
    threads = [threading.Thread(target=clients.run, args=(done, seed)) for seed in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield clients.seconds
    finally:
        done.set()
        for thread in threads:
            thread.join()


def attack(attacker: Attacker, count: int, seed: int, kinds: Counter[str], wrong: list[str]) -> None:
    """Send hostile requests one after the other, in an order that the seed decides."""
    chance = random.Random(seed)
    weights = [kind.weight for kind in attacker.kinds]
    for _ in range(count):
        (kind,) = chance.choices(attacker.kinds, weights)
        try:
            status = kind.send(chance)
        except OSError as error:  # the server may close the connection of whoever asks too much
            kinds[f"{kind.name}: {type(error).__name__}"] += 1
            continue
        kinds[f"{kind.name}: {status or 'not waited for'}"] += 1
        if status not in kind.answers or (status >= 500 and status not in ALLOWED):
            wrong.append(f"{kind.name}: {status}")


def resident_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def served(export_dir: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server with batching; yields its process and port. What it logs is in ``folder / "log"``."""
    batching = folder / "batching.txt"
    batching.write_text("max_batch_size { value: 8 }")
    command = [sys.executable, "-W", "ignore", "-m", "lae_tf.cli.main", "serve", export_dir, "--model-name", "m"]
    options = ["--rest-api-port", 0, "--no-access-log", "--json", "--demo", "--batching-parameters-file", batching]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(list(map(str, [*command, *options])), stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        yield server, json.loads(server.stdout.readline())["port"]
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export_dir", type=Path)
    parser.add_argument("--hostile", type=int, default=10_000, help="Hostile requests.")
    parser.add_argument("--attackers", type=int, default=6, help="Of which so many send at one time.")
    parser.add_argument("--good-clients", type=int, default=2)
    parser.add_argument("--quiet-seconds", type=float, default=60)
    given = parser.parse_args()
    wrong: list[str] = []
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, served(given.export_dir, Path(folder)) as (server, port):
        clients, attacker = GoodClients(port), Attacker(port)
        print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, load of the machine {os.getloadavg()[0]:.1f}")
        with asking(clients, given.good_clients) as quiet:
            time.sleep(given.quiet_seconds)
        before = resident_mib(server.pid)
        load = os.getloadavg()[0]
        print(f"quiet: {len(quiet)} good, p99 {np.quantile(quiet, 0.99) * 1e3:.0f} ms, {before:.0f} MiB", flush=True)
        began = time.perf_counter()
        share = -(-given.hostile // given.attackers)
        threads = [
            threading.Thread(target=attack, args=(attacker, share, seed, kinds, wrong))
            for seed in range(given.attackers)
        ]
        with asking(clients, given.good_clients) as attacked:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(30)
                    print(f"{sum(kinds.values()):>6} hostile, {resident_mib(server.pid):.0f} MiB", flush=True)
        attacker.close()
        took = time.perf_counter() - began
        if server.poll() is not None:
            raise SystemExit(f"The server died with code {server.returncode}.")
        time.sleep(10)
        after = resident_mib(server.pid)
        tracebacks = Path(folder, "log").read_text(errors="replace").count("Traceback")
    for kind, count in sorted(kinds.items()):
        print(f"{count:>6} {kind}")
    slower = np.quantile(attacked, 0.99) / np.quantile(quiet, 0.99)
    wrong += clients.wrong + ["a traceback in the log"] * tracebacks
    print(
        f"{sum(kinds.values())} hostile requests in {took:.0f} s, load of the machine {load:.1f} before; "
        f"{len(attacked)} good meanwhile, p50 {np.median(attacked) * 1e3:.0f} ms, p99 "
        f"{np.quantile(attacked, 0.99) * 1e3:.0f} ms (x {slower:.1f}); memory {before:.0f} MiB before, "
        f"{after:.0f} MiB after (x {after / before:.3f}); {len(wrong)} wrong; exit {server.returncode}"
    )
    print("\n".join(wrong[:20]))
    if wrong or slower >= SLOWER or after > before * GROWTH or server.returncode:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
