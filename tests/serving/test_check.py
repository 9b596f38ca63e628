"""A stub of the REST API is held against golden images whose scores are known."""

import base64
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lae_tf.errors import LAEError, UsageError
from lae_tf.serving.client.check import check_server, find_golden

SCORES = {b"one": 0.25, b"two": 0.75}
THRESHOLD = 0.5


@pytest.fixture
def golden(tmp_path):
    folder = tmp_path / "lae" / "3" / "assets.extra" / "golden"
    folder.mkdir(parents=True)
    images = []
    for name, score in SCORES.items():
        (folder / name.decode()).write_bytes(name)
        images.append({"file": name.decode(), "score": score, "label": "fake" if score >= THRESHOLD else "real"})
    record = {"tolerance": 1e-5, "threshold": THRESHOLD, "images": images}
    (folder / "golden.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def serve():
    """Start a server that answers with ``predict(images, path, headers)``: (status, object or text)."""
    servers = []

    def start(predict):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                images = [base64.b64decode(one["b64"], validate=True) for one in body["instances"]]
                status, answer = predict(images, self.path, self.headers)
                data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answers(images, shift=0.0, label=None):
    scores = [SCORES[image] + shift for image in images]
    return [{"score": s, "label": label or ("fake" if s >= THRESHOLD else "real"), "logit": 0.0} for s in scores]


def problems(checked):
    return [f"{image.file} {problem}" for image in checked for problem in image.problems]


def test_the_same_scores_are_no_problem(golden, serve):
    paths = []

    def predict(images, path, headers):
        paths.append((path, len(images), headers.get("Authorization")))
        return 200, {"predictions": answers(images, shift=9e-6)}

    url = serve(predict)
    checked = check_server(url, golden)
    assert problems(checked) == []
    assert [(one.file, one.expected, one.alone, one.together) for one in checked] == [
        ("one", 0.25, 0.25 + 9e-6, 0.25 + 9e-6),
        ("two", 0.75, 0.75 + 9e-6, 0.75 + 9e-6),
    ]
    assert paths == [("/v1/models/lae:predict", count, None) for count in (1, 1, 2)]
    assert not problems(check_server(f"{url}/v1/models/other/labels/canary/", golden, token="secret"))
    assert paths[-1] == ("/v1/models/other/labels/canary:predict", 2, "Bearer secret")
    check_server(f"{url}/", golden, "mine")
    assert paths[-1][0] == "/v1/models/mine:predict"


def test_every_image_that_scores_differently_is_named(golden, serve):
    url = serve(lambda images, *_: (200, {"predictions": answers(images, shift=2e-5)}))
    found = problems(check_server(url, golden))
    assert [" ".join(problem.split()[:2]) for problem in found] == ["one alone:", "one in", "two alone:", "two in"]
    assert "expected 0.2500000 within 1e-05" in found[0]


def test_a_wrong_label_is_told_unless_the_score_is_at_the_threshold(golden, serve):
    url = serve(lambda images, *_: (200, {"predictions": answers(images, label="fake")}))
    assert problems(check_server(url, golden)) == [
        "one alone: is called fake, expected real",
        "one in one request with all: is called fake, expected real",
    ]


def test_a_wrong_verdict_is_told_unless_the_score_is_at_an_edge(golden, serve):
    url = serve(lambda images, *_: (200, {"predictions": [{**one, "verdict": "unsure"} for one in answers(images)]}))
    assert problems(check_server(url, golden)) == []  # an export of a version that knew no verdict
    record = json.loads((golden / "golden.json").read_text())
    # Of the first image's score, 0.25, an export may be unsure by rounding.
    record |= {"lowest_fake": 0.25 + 9e-6, "highest_real": 0.6, "error_rate": 0.1}
    for image in record["images"]:
        image["verdict"] = image["label"]
    (golden / "golden.json").write_text(json.dumps(record))
    assert problems(check_server(url, golden)) == [
        "two alone: is called unsure, expected fake",
        "two in one request with all: is called unsure, expected fake",
    ]
    without = serve(lambda images, *_: (200, {"predictions": answers(images)}))
    assert "has no score and label and verdict" in problems(check_server(without, golden))[0]


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (404, '{"error": "Servable not found"}', "status 404: .*Servable not found"),
        (200, "<html>", "not a prediction"),
        (200, '{"predictions": []}', "1 predictions were expected"),
        (200, '{"predictions": [0.5]}', "has no score and label"),
        (200, '{"predictions": [{"score": "0.5", "label": "real"}]}', "which is no number"),
        (200, '{"predictions": [{"score": NaN, "label": "real"}]}', "scores nan"),
    ],
)
def test_answers_of_another_kind_are_problems(golden, serve, status, answer, expected):
    assert re.search(expected, problems(check_server(serve(lambda *_: (status, answer)), golden))[0])


def test_a_server_that_is_not_there_is_one_sentence(golden):
    with pytest.raises(LAEError, match=r"No answer from http://127.0.0.1:1/v1/models/lae:predict"):
        check_server("http://127.0.0.1:1", golden)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [{"file": "missing"}]}'])
def test_a_damaged_set_is_one_sentence(golden, text):
    (golden / "golden.json").write_text(text)
    with pytest.raises(LAEError, match="golden images cannot be read"):
        check_server("http://127.0.0.1:1", golden)


def test_golden_images_are_found_from_each_level(golden, tmp_path):
    (tmp_path / "lae" / "10").mkdir()  # without golden images
    (tmp_path / "lae" / "3").rename(tmp_path / "lae" / "9")
    expected = tmp_path / "lae" / "9" / "assets.extra" / "golden"
    for place in (tmp_path, tmp_path / "lae", tmp_path / "lae" / "9"):
        assert find_golden(place) == expected
    with pytest.raises(UsageError, match="no golden images"):
        find_golden(tmp_path / "lae" / "10")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("client.check", ["serve", "{folder}", "--check", "http://127.0.0.1:1"]),
        ("client.rest_client", ["predict", "--server", "http://127.0.0.1:1", "{folder}/one"]),
    ],
)
def test_a_missing_extra_is_named(lae_tf_command, monkeypatch, golden, module, arguments):
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, f"lae_tf.serving.{module}", raising=False)
    code, _, err = lae_tf_command(*(argument.format(folder=golden) for argument in arguments))
    assert code == 1 and err.splitlines()[-1].endswith("pip install '.[serve]'")
    assert "needs the extra 'serve'" in err
