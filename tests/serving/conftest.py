"""SavedModels of all dtypes, written on the spot, and a real server in a thread that serves them."""

import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from saved_models import save_model
from serve_process import Process

from lae_tf.serving.engine.batching import Batcher
from lae_tf.serving.engine.config_files import ModelConfig, VersionPolicy
from lae_tf.serving.engine.model_manager import ModelManager
from lae_tf.serving.rest.connections import ConnectionLimits, Connections
from lae_tf.serving.rest.request_body import Limits
from lae_tf.serving.rest.server import Access, RestApi


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory) -> Path:
    """Folder with the model ``half``: version 1 adds 1, version 2 adds 2."""
    folder = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        save_model(folder / "half" / str(version), float(version))
    return folder


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self) -> str:
        (key,) = self.json
        assert key == "error"
        return self.json["error"]


class Server:
    """An application on a loopback port, and plain ways to talk to it."""

    def __init__(self, app, port: int, connections: Connections):
        self.app = app
        self.connections = connections
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, target: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def post(self, body, signature: str = "", verb: str = "predict", target: str = "/v1/models/half") -> Answer:
        if not isinstance(body, bytes):
            if signature:
                body = {"signature_name": signature, **body}
            body = json.dumps(body).encode()
        return self.ask("POST", f"{target}:{verb}", body)

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are, and return what comes until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(data)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


@pytest.fixture(scope="session")
def start_server(models_dir):
    """Start servers in threads: keyword arguments of RestApi and Access, ``batching`` and limits of ``connections``."""
    running = []

    def start(batching=None, threads=2, max_queued=64, models=None, connections=None, **options) -> Server:
        if models is None:
            config = ModelConfig("half", models_dir / "half", VersionPolicy(all=True), {"stable": 1, "gone": 7})
            models = ModelManager([config])
            models.start(0)
        batcher = Batcher(batching, threads, max_queued)
        access = Access(**{name: options.pop(name) for name in Access._fields if name in options})
        app = RestApi(models, batcher, access=access, **options)
        listener = socket.create_server(("127.0.0.1", 0))
        guard = Connections(connections or ConnectionLimits())
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", http=guard.protocol, ws="none", server_header=False, access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        running.append((server, thread, app, batcher))
        return Server(app, listener.getsockname()[1], guard)

    yield start
    for server, thread, app, batcher in running:
        server.should_exit = True
        thread.join(10)
        app.close()
        batcher.close()


@pytest.fixture(scope="session")
def server(start_server) -> Server:
    """``half`` without batching, versions 1 and 2, label ``stable`` for 1, with metrics."""
    return start_server(metrics_path="/monitoring/prometheus/metrics")


@pytest.fixture(scope="session")
def limited(start_server) -> Server:
    """``half`` with tight limits."""
    limits = Limits(timeout_seconds=0.3, body_seconds=0.5, body_bytes=100_000, image_pixels=10_000)
    return start_server(limits=limits)


@pytest.fixture(scope="session")
def export_server(exported, tmp_path_factory):
    """The shared run's export, served with its demo page by a process of its own."""
    log = tmp_path_factory.mktemp("export-server") / "log"
    out = Path(exported["path"]).parents[1]
    process = Process(out, "--rest-api-port", 0, "--demo", "--no-access-log", log=log)
    yield process
    process.child.kill()
    process.child.wait()
