"""Both clients against a server that answers like an export, and like a busy or broken one."""

import asyncio
import base64
import io
import json
import math
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from lae_tf.errors import ImageError, LAEError
from lae_tf.metrics.verdict import ConformalBounds
from lae_tf.serving.client.rest_client import AsyncClient, Client, Explanation, Score, ServerError, _retry_after

HEATMAP = b"\x89PNG heatmap"


def jpeg(red: int, orientation: int = 1) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (8, 4), (red, 0, 0)).save(file, "JPEG", exif=exif)
    return file.getvalue()


class Export(BaseHTTPRequestHandler):
    """Scores an image by its mean red; refuses pure black ones as the graph refuses damaged ones."""

    def do_GET(self):
        self.answer(200, {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})

    def do_POST(self):
        server = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.seen.append((self.path, dict(self.headers), len(request["instances"])))
        if server.first_answers:
            status, headers, body = server.first_answers.pop(0)
            return self.answer(status, body, headers)
        images = [base64.b64decode(item["b64"]) for item in request["instances"]]
        server.sizes += [Image.open(io.BytesIO(image)).size for image in images]
        reds = [np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))[..., 0].mean() for image in images]
        if len(images) > server.most:
            return self.answer(413, {"error": "the body is too large"})
        if min(reds) == 0:
            return self.answer(400, {"error": "image 0 cannot be decoded"})
        predictions = [
            {"score": red / 255, "label": "fake" if red > 127 else "real", "logit": red, "threshold": 0.5}
            for red in reds
        ]
        predictions = [{**item, **server.more} for item in predictions]
        if request["signature_name"] == "explain":
            # A model may give (B, 1) instead of (B,).
            for item in predictions:
                item["score"] = [item["score"]]
                item["heatmap_png_bytes"] = {"b64": base64.b64encode(HEATMAP).decode()}
                item["reconstruction_error"] = [0.25]
        self.answer(200, {"predictions": predictions})

    def answer(self, status, document, headers=None):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def export():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Export)
    server.seen, server.sizes, server.first_answers, server.most, server.more = [], [], [], 100, {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Waited:
    """Both clients behind one face, the asynchronous one run to its end."""

    def __init__(self, asynchronous: bool, url: str, **options):
        self.asynchronous, self.url, self.options = asynchronous, url, options

    def __getattr__(self, method):
        def call(*arguments):
            if not self.asynchronous:
                with Client(self.url, **self.options) as client:
                    result = getattr(client, method)(*arguments)
                    return list(result) if method.endswith("_files") else result

            async def run():
                async with AsyncClient(self.url, **self.options) as client:
                    result = getattr(client, method)(*arguments)
                    if method.endswith("_files"):
                        return [score async for score in result]
                    return await result

            return asyncio.run(run())

        return call


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def connect(request):
    return lambda url, **options: Waited(request.param, url, **options)


@pytest.fixture
def delays(monkeypatch):
    """The waits between attempts, without waiting."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    real_sleep = asyncio.sleep

    async def sleep_or_yield(seconds, *arguments):
        return await (real_sleep(seconds, *arguments) if seconds == 0 else sleep(seconds))

    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(asyncio, "sleep", sleep_or_yield)
    return waited


def test_scores(export, connect):
    client = connect(export.url, model="m", version=3, token="secret")
    first, second = client.predict([jpeg(255), jpeg(51)], ["a", "b"])
    assert (first.path, first.label, first.threshold, first.error) == ("a", "fake", 0.5, "")
    assert second.score == pytest.approx(0.2, abs=0.02) and second.label == "real"
    path, headers, count = export.seen[0]
    assert (path, count) == ("/v1/models/m/versions/3:predict", 2)
    assert headers["Authorization"] == "Bearer secret"
    assert list(first.record()) == ["path", "score", "label", "verdict", "logit", "threshold"]
    # This export is of a version that knew no verdict.
    assert (first.verdict, second.verdict) == ("fake", "real") and second.at(0.1).verdict == "fake"


def test_verdicts(export, connect):
    export.more = {"verdict": "unsure", "lowest_fake": 0.2, "highest_real": 0.9, "error_rate": 0.1}
    (score,) = connect(export.url).predict([jpeg(127)], ["a"])
    assert score.label == "real" and score.verdict == score.record()["verdict"] == "unsure"
    assert score.bounds == tuple(float(np.float32(value)) for value in (0.2, 0.9, 0.1))


def test_another_threshold_gives_another_label():
    score = Score("a", score=0.1, label="real", logit=-2.2, threshold=0.5)
    assert score.at(0.05).label == "fake" and score.at(0.2).label == "real" and score.at(0.05).threshold == 0.05
    # JSON says 0.1 for the float32 number 0.100000001: it reaches a threshold of that number.
    assert score.at(float(np.float32(0.1))).label == "fake"
    sure = replace(score, verdict="unsure", bounds=ConformalBounds(float(np.float32(0.1)), 0.05, 0.1))
    # Fakes score 0.1 or more, real images 0.05 or less.
    assert sure.at(0.05).verdict == "fake" and sure.at(0.2).verdict == "unsure"
    assert replace(sure, score=0.07).at(0.2).verdict == "real"
    failed = Score("b", error="no image")
    assert failed.at(0.5) is failed
    explanation = Explanation("c", score=0.6, label="fake", heatmap_png=b"png").at(0.7)
    assert isinstance(explanation, Explanation) and (explanation.label, explanation.heatmap_png) == ("real", b"png")


def test_images_are_normalised_before_they_are_sent(export, connect):
    connect(export.url).predict([jpeg(9), jpeg(9, orientation=6)])
    assert export.sizes == [(8, 4), (4, 8)]
    with pytest.raises(ImageError, match="image 0"):
        connect(export.url).predict([b"no image"])


def test_files_come_back_in_order_and_bad_ones_with_a_reason(export, connect, tmp_path):
    contents = {"a": jpeg(255), "b": b"no image", "c": jpeg(0), "d": jpeg(100), "e": jpeg(200)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in (*contents, "missing")]
    scores = connect(export.url, batch_size=3).predict_files(paths)
    assert [score.path for score in scores] == paths
    assert [bool(score.error) for score in scores] == [False, True, True, False, False, True]
    assert "cannot be decoded" in scores[2].error and math.isnan(scores[2].score)
    assert scores[1].record() == {"path": paths[1], "error": scores[1].error}


def test_explanation(export, connect):
    explanation = connect(export.url).explain(jpeg(255), "a")
    assert isinstance(explanation, Explanation) and isinstance(explanation, Score)
    assert (explanation.heatmap_png, explanation.reconstruction_error) == (HEATMAP, 0.25)
    assert explanation.score == pytest.approx(1, abs=0.02) and explanation.label == "fake"


def test_explanations_of_files(export, connect, tmp_path):
    for name, content in {"a": jpeg(255), "b": b"no image", "c": jpeg(0)}.items():
        (tmp_path / name).write_bytes(content)
    first, second, third = connect(export.url).explain_files([str(tmp_path / name) for name in "abc"])
    assert first.heatmap_png == HEATMAP and first.verdict == "fake"
    assert not second.heatmap_png and "cannot be decoded" in third.error


def test_versions(export, connect):
    assert connect(export.url).versions() == [{"version": "1", "state": "AVAILABLE"}]


def test_a_busy_server_is_asked_again(export, connect, delays):
    export.first_answers = [(429, {"Retry-After": "7"}, {}), (503, {}, {}), (429, {"Retry-After": "900"}, {})]
    assert len(connect(export.url).predict([jpeg(255)])) == 1
    assert delays == [7, 1, 30] and len(export.seen) == 4


def test_a_server_that_is_full_of_pixels_is_asked_again(export, connect, delays):
    export.first_answers = [(413, {"Retry-After": "1"}, {})]
    assert len(connect(export.url).predict([jpeg(255), jpeg(200)])) == 2
    assert delays == [1] and len(export.seen) == 2


def test_a_busy_server_is_given_up(export, connect, delays):
    export.first_answers = [(429, {}, {"error": "queue is full"})] * 3
    with pytest.raises(ServerError, match="429: queue is full") as caught:
        connect(export.url, retries=2).predict([jpeg(255)])
    assert caught.value.status == 429 and delays == [0.5, 1]


@pytest.mark.parametrize("status", [400, 404, 500, 504])
def test_other_errors_are_not_repeated(export, connect, delays, status):
    export.first_answers = [(status, {}, {"error": "because"})]
    with pytest.raises(ServerError, match=f"{status}: because"):
        connect(export.url).predict([jpeg(255)])
    assert not delays and len(export.seen) == 1


@pytest.mark.parametrize(
    "body",
    [b"<html>", {"predictions": []}, {"predictions": [1]}, {"predictions": [{"score": 1}]}, {"outputs": 1}],
)
def test_strange_answers(export, connect, body):
    export.first_answers = [(200, {}, body)]
    with pytest.raises(ServerError):
        connect(export.url).predict([jpeg(255)])


def test_nobody_there(connect, tmp_path):
    (tmp_path / "a").write_bytes(jpeg(1))
    client = connect("http://127.0.0.1:1", timeout_seconds=2)
    with pytest.raises(ServerError, match="is the server running"):
        client.predict_files([str(tmp_path / "a")])


def test_retry_after_may_be_a_date():
    assert _retry_after("3") == 3
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") < 0
    assert _retry_after("soon") == 0


def test_against_the_embedded_server(server):
    with Client(server.url, model="half") as client:
        assert {item["state"] for item in client.versions()} == {"AVAILABLE"}
        with pytest.raises(ServerError, match="400"):
            client.predict([jpeg(255)])


def test_images_that_are_too_large_together_go_in_parts(export, connect, tmp_path):
    export.most = 2
    paths = []
    for number in range(5):
        paths.append(str(tmp_path / f"{number}.jpg"))
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(40 * number + 30))
    scores = connect(export.url, batch_size=16).predict_files(paths)
    assert [score.path for score in scores] == paths and not any(score.error for score in scores)
    assert [score.score for score in scores] == sorted(score.score for score in scores)


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("localhost:8501", None, "begins with http://"),
        ("http://localhost:port", None, "is not a URL"),
        ("http://[::1", None, "is not a URL"),
        ("http://a..b:1", None, "No answer from"),
        ("http://127.0.0.1:1", "ü", "not ASCII"),
    ],
)
def test_addresses_and_tokens_that_cannot_be(connect, tmp_path, url, token, said):
    with pytest.raises(LAEError, match=said):
        connect(url, token=token, retries=0).predict([jpeg(1)])
