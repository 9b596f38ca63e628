"""Runs the server in this process: finds the models, binds the port, loads, announces, and ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn

from lae_tf.errors import LAEError, UsageError
from lae_tf.runtime.allocator import return_large_buffers
from lae_tf.runtime.hosts import KnownHosts
from lae_tf.serving.engine.batching import Batcher
from lae_tf.serving.engine.config_files import BatchingParameters, ModelConfig
from lae_tf.serving.engine.model_manager import ModelManager
from lae_tf.serving.rest import access_log
from lae_tf.serving.rest.connections import BACKLOG, QUEUE, ConnectionLimits, Connections, allow_files
from lae_tf.serving.rest.demo import DEMO_PATH, DemoPage
from lae_tf.serving.rest.large_runs import reserve_memory
from lae_tf.serving.rest.request_body import Limits
from lae_tf.serving.rest.server import Access, RestApi

logger = logging.getLogger(__name__)

# Graceful: long enough for a request that just began, short enough for an operator.
_SHUTDOWN_SECONDS = 30
_MAX_QUEUED = 512  # requests that wait without batching


@dataclass(frozen=True)
class Options:
    """How to serve.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        batching: None runs each request alone.
        poll_seconds: time between two looks for new versions; 0 looks once.
        metrics_path, token, cors: see :class:`lae_tf.serving.rest.server.RestApi`.
        demo: serve a page at ``/demo`` where people try the models.
        hosts: names under which clients reach it, besides ``host``, localhost and IP addresses; ``*`` for any.
        connections: what they may take.
        log_requests: write the access log to standard error, one JSON object a line.
    """

    host: str = "127.0.0.1"
    port: int = 8501
    batching: BatchingParameters | None = None
    poll_seconds: float = 1.0
    limits: Limits = field(default_factory=Limits)
    metrics_path: str | None = None
    token: str | None = None
    cors: bool = False
    demo: bool = False
    hosts: tuple[str, ...] = ()
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    log_requests: bool = True


def find_model(directory: Path, name: str | None) -> ModelConfig:
    """Find what to serve below a directory: numbered versions in it, or in one folder in it.

    Args:
        directory: ``OUT/lae`` with ``OUT/lae/1``, or ``OUT``.
        name: the model's name in URLs; None takes the folder's.

    Raises:
        UsageError: no directory, no versions in it, or several models to choose from.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory; give the one that `lae-tf export` wrote.")
    directory = directory.resolve()
    if (directory / "saved_model.pb").is_file():
        raise UsageError(
            f"{directory} is one version of a model; give the directory above it ({directory.parent}), "
            "whose folders are numbered versions."
        )
    if _has_versions(directory):
        return ModelConfig(name or directory.name, directory)
    models = sorted(entry for entry in directory.iterdir() if entry.is_dir() and _has_versions(entry))
    if len(models) > 1:
        models = [model for model in models if model.name == name] or models
    if len(models) > 1:
        names = ", ".join(model.name for model in models)
        raise UsageError(f"{directory} holds several models ({names}); choose one with --model-name.")
    if not models:
        raise UsageError(
            f"No model found in {directory}: expected numbered versions (1/saved_model.pb), or one folder "
            "that holds them."
        )
    return ModelConfig(name or models[0].name, models[0])


def _has_versions(directory: Path) -> bool:
    return any(
        entry.name.isascii() and entry.name.isdigit() and (entry / "saved_model.pb").is_file()
        for entry in directory.iterdir()
    )


def serve(configs: list[ModelConfig], options: Options, announce: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Args:
        configs: the models.
        options: how to serve them.
        announce: called once the server accepts requests, with ``url``, ``host``, ``port`` and ``models``.

    Raises:
        LAEError: the port is taken, or a model of which no version can be served.
    """
    return_large_buffers()
    listener = _bind(options.host, options.port)
    _set_up_logs(options.log_requests)
    models = ModelManager(configs)
    # What is there now stays, most of it TensorFlow's: no collection, and so no request, has to wait for a look at it.
    gc.freeze()
    try:
        models.start(options.poll_seconds)
        for config in configs:
            reserve_memory(models.get(config.name), options.limits.image_pixels)
    except BaseException:
        listener.close()
        raise
    batcher = Batcher(options.batching, os.cpu_count() or 1, _MAX_QUEUED)
    demo = DemoPage([config.name for config in configs], bool(options.token)) if options.demo else None
    app = RestApi(
        models,
        batcher,
        limits=options.limits,
        access=Access(options.token, options.cors, KnownHosts([options.host, *options.hosts])),
        metrics_path=options.metrics_path,
        demo=demo,
    )
    files = allow_files(options.connections.connections)
    connections = Connections(replace(options.connections, connections=files))
    settings = uvicorn.Config(
        app,
        loop="asyncio",
        http=connections.protocol,  # type: ignore[arg-type]  # it only has to make one
        backlog=BACKLOG,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    facts = {
        "url": url,
        "host": host,
        "port": port,
        "models": [{"name": name, "versions": versions} for name, versions in models.loaded_versions().items()],
        **({"demo": url + DEMO_PATH} if demo else {}),
    }
    # uvicorn finishes what is in flight and then raises the signal again; for us that is the end, not a death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        _Server(settings, lambda: announce(facts)).run(sockets=[listener])
    finally:
        models.close()
        app.close()
        batcher.close()


class _Server(uvicorn.Server):
    """Calls back when requests are accepted."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_log_in_a_line)
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(QUEUE)
        if self.started:
            self._ready()


def _log_in_a_line(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what the event loop could not do, such as accept a connection, without tracebacks that fill the log."""
    logger.error("%s: %s", context["message"], context.get("exception"))


def _bind(host: str, port: int) -> socket.socket:
    """Take the port before the models are loaded, so that a taken one is told at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        # A server that was killed leaves connections that would block the port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LAEError(f"Cannot listen on {host} port {port}: {reason}; choose another port.") from None
    return listener


def _set_up_logs(log_requests: bool) -> None:
    """Write this package's messages and uvicorn's warnings to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("lae_tf.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    plain = logging.StreamHandler()
    plain.setFormatter(logging.Formatter("%(message)s"))
    access_log.logger.handlers = [plain]
    access_log.logger.setLevel(logging.INFO if log_requests else logging.CRITICAL)
    access_log.logger.propagate = False
