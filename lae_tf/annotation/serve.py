"""Runs the page, or another app: binds the port, announces the address, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from lae_tf.annotation.app import create_app
from lae_tf.annotation.items import Item
from lae_tf.errors import LAEError
from lae_tf.files.locking import locked


def serve(items: Sequence[Item], folder: Path, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        items: the selected images.
        folder: where masks and verdicts are stored.
        host: name or address to listen on.
        port: 0 takes a free one.
        announce: called with the URL once the server accepts requests.

    Raises:
        LAEError: the address cannot be used, or another process serves the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refusal = f"{folder} is open in another lae-tf annotate; draw on its page, which takes several people, or end it."
    # Each process holds the verdicts in memory.
    with locked(folder.parent / f".{folder.name}.lock", refusal):
        run_app(create_app(items, folder, host), host, port, announce)


def run_app(app: ASGIApp, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve an app until SIGINT or SIGTERM.

    Args:
        app: what answers.
        host, port, announce: as of :func:`serve`.

    Raises:
        LAEError: the address cannot be used.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise LAEError(f"cannot listen on {host}, port {port}: {error.strerror}.") from None
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=5))

    async def run() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            name = f"[{host}]" if ":" in host else host
            announce(f"http://{name}:{listener.getsockname()[1]}/")
        await serving

    # SIGINT ends the server in order; uvicorn then raises it again.
    with listener, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
