"""SavedModels of all dtypes, written on the spot, and a real server in a thread that serves them."""

import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorflow as tf
import uvicorn

from lae_tf.serving.batching import Batcher
from lae_tf.serving.config_files import ModelConfig, VersionPolicy
from lae_tf.serving.model_manager import ModelManager
from lae_tf.serving.server import Limits, RestApi

ECHOED = (
    *(tf.float32, tf.float64, tf.float16, tf.bool, tf.string),
    *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64),
)
NUMBERS = [3.0, 0.2, 9e6, 16777216.0, 0.123456702, float("nan"), float("inf"), float("-inf")]


class EveryKind(tf.Module):
    """y = x / 2 + shift, and one signature for each thing that a server must carry."""

    def __init__(self, shift: float):
        super().__init__()
        self.shift = tf.Variable(shift)

    def signatures(self) -> dict:
        return {
            "serving_default": _trace(lambda x: {"y": x * 0.5 + self.shift}, x=_spec([None], tf.float32)),
            "two": _trace(
                lambda a, b: {"sum": tf.reduce_sum(a, 1), "b": b},
                a=_spec([None, 2], tf.float32),
                b=_spec([None], tf.int32),
            ),
            "numbers": _trace(lambda x: {"y": tf.constant([NUMBERS])}, x=_spec([None], tf.float32)),
            "total": _trace(lambda x: {"y": tf.reduce_sum(x)}, x=_spec([None], tf.float32)),
            "uneven": _trace(lambda x: {"y": x, "z": x[:1]}, x=_spec([None], tf.float32)),
            "picky": _trace(_positive, x=_spec([None], tf.float32)),
            "slow": _trace(_slow, rounds=_spec([None], tf.int32)),
            "encoded": _trace(lambda x: {"y": x, "y_bytes": x}, x=_spec(None, tf.string)),
            "pixels": _trace(_pixels, image_bytes=_spec([None], tf.string)),
            "classes": _trace(_classes, inputs=_spec([None], tf.string)),
            "labels": _trace(lambda inputs: {"classes": inputs[:, None]}, inputs=_spec([None], tf.string)),
            "value": _trace(lambda inputs: {"outputs": _feature(inputs)}, inputs=_spec([None], tf.string)),
            **{
                f"echo_{dtype.name}": _trace(lambda x: {"y": tf.identity(x)}, x=_spec(None, dtype))
                for dtype in ECHOED
            },
        }


def _spec(shape, dtype):
    return tf.TensorSpec(shape, dtype)


def _trace(function, **specs):
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    return tf.function(function).get_concrete_function(*named)


def _positive(x):
    with tf.control_dependencies([tf.debugging.assert_positive(x, message="not positive")]):
        return {"y": tf.identity(x)}


def _slow(rounds):
    matrix = tf.random.stateless_uniform([256, 256], [1, 2])
    product = tf.while_loop(
        lambda index, _: index < rounds[0],
        lambda index, m: (index + 1, tf.matmul(m, matrix) * 0.001),
        (0, matrix),
    )[1]
    return {"y": tf.reduce_sum(product) * 0 + tf.cast(rounds, tf.float32)}


def _pixels(image_bytes):
    def mean(data):
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        return tf.reduce_mean(tf.cast(image, tf.float32))

    return {"mean": tf.map_fn(mean, image_bytes, fn_output_signature=tf.float32)}


def _feature(examples):
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]


def _classes(inputs):
    score = _feature(inputs)
    names = tf.fill([tf.shape(score)[0], 1], "low")
    return {
        "classes": tf.concat([names, tf.fill(tf.shape(names), "high")], 1),
        "scores": tf.stack([1 - score, score], 1),
    }


def save_model(path: Path, shift: float) -> None:
    """Write a SavedModel that computes x / 2 + shift."""
    model = EveryKind(shift)
    signatures = model.signatures()
    # A concrete function is saved with the variables it uses only as part of the module.
    model.functions = list(signatures.values())
    tf.saved_model.save(model, str(path), signatures=signatures)


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

    def __init__(self, app, port: int):
        self.app = app
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

    def post(
        self, body, signature: str = "", verb: str = "predict", target: str = "/v1/models/half"
    ) -> Answer:
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
    """Start servers in threads: keyword arguments of RestApi, and ``batching``."""
    running = []

    def start(batching=None, threads=2, max_queued=64, models=None, **options) -> Server:
        if models is None:
            config = ModelConfig(
                "half", models_dir / "half", VersionPolicy(all=True), {"stable": 1, "gone": 7}
            )
            models = ModelManager([config])
            models.start(0)
        batcher = Batcher(batching, threads, max_queued)
        app = RestApi(models, batcher, **options)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", http="h11", ws="none", server_header=False, access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        running.append((server, thread, batcher))
        return Server(app, listener.getsockname()[1])

    yield start
    for server, thread, batcher in running:
        server.should_exit = True
        thread.join(10)
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
