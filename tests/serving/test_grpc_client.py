"""The gRPC client against a servicer of the real service definition, in this process."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

grpc = pytest.importorskip("grpc", reason="the extra 'grpc' is not installed")
pytest.importorskip("tensorflow_serving.apis.predict_pb2", reason="the extra 'grpc' is not installed")

from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: E402

from lae_tf.metrics.verdict import ConformalBounds  # noqa: E402
from lae_tf.serving.client.grpc_client import GrpcClient  # noqa: E402
from lae_tf.serving.client.results import ServerError  # noqa: E402


def png(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 4), (red, 0, 0)).save(file, "PNG")
    return file.getvalue()


BOUNDS = ConformalBounds(0.25, 0.75, 0.125)


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Scores an image by its red; refuses black ones as the graph refuses damaged ones."""

    def __init__(self):
        self.requests, self.first_codes, self.extra_rows = [], [], 0

    def Predict(self, request, context):
        self.requests.append(request)
        if self.first_codes:
            context.abort(self.first_codes.pop(0), "not now")
        files = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
        reds = np.array([np.asarray(Image.open(io.BytesIO(data)))[0, 0, 0] for data in files])
        if not reds.all():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "image_bytes at position 0 of the batch: damaged")
        scores = (reds / 255).astype(np.float32)
        outputs = {
            "score": scores,
            "label": np.where(scores >= 0.5, b"fake", b"real").astype(object),
            "logit": scores * 2,
            "threshold": np.full(len(reds), 0.5, np.float32),
            "verdict": np.full(len(reds), b"unsure", object),
            **{name: np.full(len(reds), value, np.float32) for name, value in BOUNDS._asdict().items()},
        }
        if request.model_spec.signature_name == "explain":
            outputs["heatmap_png_bytes"] = np.array([b"\x89PNG"] * len(reds), object)
            outputs["reconstruction_error"] = np.full((len(reds), 1), 0.25, np.float32)
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(np.concatenate([value, value[: self.extra_rows]])))
        return response


@pytest.fixture
def servicer():
    servicer = Servicer()
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None)


def test_scores_are_those_that_the_server_gives(servicer):
    with GrpcClient(servicer.address, "m", version=3) as client:
        first, second = client.predict([png(255), png(51)], ["a", "b"])
    assert (first.path, first.score, first.label, first.logit, first.threshold) == ("a", 1.0, "fake", 2.0, 0.5)
    assert second.score == pytest.approx(0.2) and second.label == "real"
    assert (first.verdict, first.bounds) == ("unsure", BOUNDS)
    spec = servicer.requests[0].model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "serving_default")


def test_an_explanation_has_its_heatmap(servicer):
    with GrpcClient(servicer.address) as client:
        explanation = client.explain(png(255), "a")
    assert (explanation.heatmap_png, explanation.reconstruction_error, explanation.score) == (b"\x89PNG", 0.25, 1.0)


def test_bad_files_never_stop_the_rest(servicer, tmp_path):
    for name, content in {"a": png(255), "b": b"no image", "c": png(0), "d": png(51)}.items():
        (tmp_path / name).write_bytes(content)
    with GrpcClient(servicer.address) as client:
        scores = list(client.predict_files([str(tmp_path / name) for name in "abcd"]))
    assert [bool(score.error) for score in scores] == [False, True, True, False]
    assert "INVALID_ARGUMENT: image_bytes at position 0" in scores[2].error


def test_a_busy_server_is_asked_again_and_given_up(servicer, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    busy, away = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
    servicer.first_codes = [busy, away]
    with GrpcClient(servicer.address, retries=2) as client:
        assert len(client.predict([png(255)])) == 1
        servicer.first_codes = [busy] * 3
        with pytest.raises(ServerError, match="RESOURCE_EXHAUSTED: not now") as caught:
            client.predict([png(255)])
    assert caught.value.status == 429 and waited == [0.5, 1, 0.5, 1]


def test_other_errors_are_not_repeated(servicer):
    servicer.first_codes = [grpc.StatusCode.NOT_FOUND]
    with GrpcClient(servicer.address) as client, pytest.raises(ServerError, match="NOT_FOUND") as caught:
        client.predict([png(255)])
    assert caught.value.status == 404 and len(servicer.requests) == 1


def test_an_answer_of_another_size_is_an_error(servicer):
    servicer.extra_rows = 1
    with GrpcClient(servicer.address) as client, pytest.raises(ServerError, match="another model"):
        client.predict([png(255), png(51)])
