"""Label Studio's ML backend protocol: what a project is answered, region by region, and who is refused."""

import base64
import os
import re
import threading

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from lae_tf.annotation import pre_annotation
from lae_tf.annotation.label_config import POLYGON, RECTANGLE, Control
from lae_tf.annotation.label_studio import LABELING_CONFIG
from lae_tf.annotation.ml_backend import Access, create_app
from lae_tf.annotation.pre_annotation import PreAnnotator, region_of
from lae_tf.annotation.task_files import TaskFiles
from lae_tf.images.scaled_map import ScaledMap
from lae_tf.masks.regions import find_regions, marked
from lae_tf.masks.rle import decode_brush
from lae_tf.predict.images import Prediction, predict_files

HEIGHT, WIDTH = 60, 90  # neither the model's size nor its shape
BOXES = LABELING_CONFIG.replace("BrushLabels", "Choices").replace("PolygonLabels", "RectangleLabels")


def task(number, name, **others):
    return {"id": number, "data": {"image": f"/data/local-files/?d={name}"}, "project": 1, **others}


def asked(*tasks, config=LABELING_CONFIG):
    return {"tasks": list(tasks), "label_config": config, "project": "1.1700000000", "params": {"context": None}}


@pytest.fixture(scope="module")
def model(trained_run):
    return trained_run.load_model()


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for name, pixels in zip(("a.png", "b.png"), noise, strict=True):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


@pytest.fixture
def log():
    return []


def open_client(model, folder, log, **access):
    annotator = PreAnnotator(model, "first 0123abcd", TaskFiles([folder]), log.append)
    return TestClient(create_app(annotator, Access(**access)), base_url="http://127.0.0.1:9090")


@pytest.fixture
def client(model, folder, log):
    return open_client(model, folder, log)


@pytest.fixture
def seen(monkeypatch):
    """What the model sees in every image: set by a test, float (h, w); and the paths that it was asked for."""
    seen = {"attention": None, "paths": []}

    def answer(model, paths):
        for path in paths:
            seen["paths"].append(path)
            size = Image.open(path).size[::-1]
            yield Prediction(path, score=0.75, size=size, attention=np.asarray(seen["attention"], np.float32))

    monkeypatch.setattr(pre_annotation, "predict_files", answer)
    return seen


# --- the protocol -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "UP", "model_class": "LAE"})


def test_setup_checks_the_project(client, log):
    body = {"project": "1.17", "schema": LABELING_CONFIG, "hostname": "http://localhost:8080", "access_token": "secret"}
    answer = client.post("/setup", json=body)
    assert (answer.status_code, answer.json()) == (200, {"model_version": "first 0123abcd"})
    answer = client.post("/setup", json={**body, "schema": "<View></View>"})
    assert answer.status_code == 400 and "no Image tag" in answer.json()["error"]
    assert log == [f"/setup was refused: {answer.json()['error']}"]


@pytest.mark.parametrize("path", ["/train", "/webhook"])
def test_training_is_acknowledged_and_not_done(client, path):
    answer = client.post(path, content=b"{" * 100_000)
    assert answer.status_code == 201 and "import-masks" in answer.json()["detail"]


def test_predictions_are_the_models_at_the_size_of_the_image(client, model, folder):
    answer = client.post("/predict", json=asked(task(1, "a.png"), task(2, "b.png")))
    assert answer.status_code == 200 and answer.json()["model_version"] == "first 0123abcd"
    results = answer.json()["results"]
    expected = list(predict_files(model, [str(folder / "a.png"), str(folder / "b.png")], 1))
    assert len(results) == 2
    marks = []
    for result, prediction in zip(results, expected, strict=True):
        assert result["score"] == pytest.approx(prediction.score, abs=1e-5)
        assert result["model_version"] == "first 0123abcd"
        attention = ScaledMap(prediction.attention, HEIGHT, WIDTH)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for region in find_regions(attention, marked(attention)):
            mask |= region.on_image(HEIGHT, WIDTH)
        found = np.zeros_like(mask)
        for region in result["result"]:
            assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
            found |= decode_brush(region["value"]["rle"], HEIGHT, WIDTH)
        np.testing.assert_array_equal(found, mask)
        marks.append(mask.any())
    assert any(marks)


def test_a_missing_image_fails_no_batch(client, seen, log):
    seen["attention"] = np.ones((2, 2))
    tasks = [
        task(1, "none.png"),
        task(2, "a.png"),
        task(3, "damaged.png"),
        {"id": 4},
        {"data": {"image": "http://x/a.png"}},
    ]
    with_result = [bool(one["result"]) for one in client.post("/predict", json=asked(*tasks)).json()["results"]]
    assert with_result == [False, True, False, False, False]


def test_every_task_without_a_prediction_is_logged(client, log):
    tasks = [task(7, "../a.png"), task(8, "damaged.png"), {"id": 9, "data": {}}, {"data": {"image": "http://x/a.png"}}]
    results = client.post("/predict", json=asked(*tasks)).json()["results"]
    assert results == [{"result": [], "score": None, "model_version": "first 0123abcd"}] * 4
    said = ["Task 7 .*is no file below", "Task 8 .*damaged", "Task 9 .*no field 'image'", "Task 4 .*nothing is fetched"]
    assert len(log) == 4
    for line, pattern in zip(log, said, strict=True):
        assert re.search(pattern, line), line


def test_no_tasks_have_no_results(client):
    assert client.post("/predict", json=asked()).json()["results"] == []


# --- regions, by hand -------------------------------------------------------------------------------------


def test_brush_bits_by_hand(client, seen, folder):
    """An image of 5 x 1 pixels, the last three marked: 8 bytes of 0 (a run size of 3), 12 of 255 (a run size of 4)."""
    Image.new("RGB", (5, 1)).save(folder / "row.png")
    seen["attention"] = [[0.1, 0.2, 0.6, 0.8, 1.0]]
    (result,) = client.post("/predict", json=asked(task(1, "row.png"))).json()["results"]
    (region,) = result["result"]
    text = (
        f"{20:032b}" + "00111" + "0010001101111111" + "1" + "00" + "111" + "00000000" + "1" + "01" + "1011" + "11111111"
    )
    text += "0" * (-len(text) % 8)
    assert region.pop("value") == {
        "format": "rle",
        "rle": [int(text[start : start + 8], 2) for start in range(0, len(text), 8)],
        "brushlabels": ["forged"],
    }
    assert region.pop("id")
    assert region.pop("score") == pytest.approx(0.8)
    assert region == {
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "original_width": 5,
        "original_height": 1,
        "image_rotation": 0,
    }
    assert result["score"] == 0.75


@pytest.fixture
def square():
    """Rows 10 to 29 and columns 20 to 69 of an image of 50 x 200 pixels: 20 high, 50 wide."""
    attention = np.zeros((50, 200), np.float32)
    attention[10:30, 20:70] = 0.75
    scaled = ScaledMap(attention, 50, 200)
    (found,) = find_regions(scaled, marked(scaled))
    return found


def test_a_box_is_given_in_percent_of_the_sides(square):
    region = region_of(square, Control(RECTANGLE, "box", "image", "image", "fake"), "1", (50, 200))
    expected = {"x": 10, "y": 20, "width": 25, "height": 40, "rotation": 0}
    assert region["value"].pop("rectanglelabels") == ["fake"] and region["type"] == "rectanglelabels"
    assert region["value"] == pytest.approx(expected) and region["score"] == pytest.approx(0.75)


def test_a_polygon_runs_along_the_edges_of_the_pixels(square):
    region = region_of(square, Control(POLYGON, "area", "image", "image", "fake"), "1", (50, 200))
    assert region["value"]["polygonlabels"] == ["fake"] and region["value"]["closed"] is True
    points = {tuple(np.round(point, 6)) for point in region["value"]["points"]}
    assert points == {(10, 20), (35, 20), (35, 60), (10, 60)} and len(region["value"]["points"]) == 4


def test_regions_apart_are_predicted_apart(client, seen):
    """So that one of them can be removed; the one with the most attention is first."""
    attention = np.zeros((HEIGHT, WIDTH))
    attention[5:15, 5:15], attention[40:50, 60:80] = 0.6, 0.9
    seen["attention"] = attention
    (result,) = client.post("/predict", json=asked(task(1, "a.png"))).json()["results"]
    masks = [decode_brush(region["value"]["rle"], HEIGHT, WIDTH) for region in result["result"]]
    assert [mask.sum() for mask in masks] == [200, 100]
    assert [region["score"] for region in result["result"]] == pytest.approx([0.9, 0.6])
    assert len({region["id"] for region in result["result"]}) == 2


def test_nothing_marked_is_nothing_drawn(client, seen):
    seen["attention"] = np.full((4, 4), 0.5)
    (result,) = client.post("/predict", json=asked(task(1, "a.png"))).json()["results"]
    assert result["result"] == [] and result["score"] == 0.75


def test_an_image_is_looked_at_once_until_it_changes(client, seen, folder):
    seen["attention"] = np.ones((2, 2))
    body = asked(task(1, "a.png"))
    first = client.post("/predict", json=body).json()
    assert client.post("/predict", json=body).json() == first and len(seen["paths"]) == 1
    other = client.post("/predict", json=asked(task(1, "a.png"), config=BOXES)).json()
    assert other["results"][0]["result"][0]["type"] == "rectanglelabels"
    before = len(seen["paths"])
    os.utime(folder / "a.png", ns=(1, 1))
    client.post("/predict", json=body)
    assert len(seen["paths"]) == before + 1


def test_images_are_looked_at_one_after_another_while_health_is_told(model, folder, log, monkeypatch):
    started, go_on, running, most = threading.Event(), threading.Event(), [0], [0]

    def answer(model, paths):
        running[0] += 1
        most[0] = max(most[0], running[0])
        started.set()
        assert go_on.wait(30)
        running[0] -= 1
        yield Prediction(paths[0], score=0.5, size=(4, 4), attention=np.zeros((4, 4), np.float32))

    monkeypatch.setattr(pre_annotation, "predict_files", answer)
    with open_client(model, folder, log) as client:
        askers = [
            threading.Thread(target=client.post, args=("/predict",), kwargs={"json": asked(task(1, name))})
            for name in ("a.png", "b.png")
        ]
        for asker in askers:
            asker.start()
        assert started.wait(30)
        assert client.get("/health").status_code == 200
        go_on.set()
        for asker in askers:
            asker.join(30)
    assert most == [1] and log == []


# --- hostile requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"[]", "holds a list"),
        (b"{}", "no list of tasks"),
        (b'{"tasks": {}}', "no list of tasks"),
        (b'{"tasks": [1]}', "no list of tasks"),
        (b'{"tasks": []}', "no labelling configuration"),
        (b'{"tasks": [], "label_config": "<View/>"}', "no Image tag"),
        (b'{"tasks": [], "label_config": "\\ud800"}', "not XML"),
    ],
)
def test_a_request_that_is_none_gets_one_sentence(client, body, said):
    answer = client.post("/predict", content=body)
    assert answer.status_code == 400 and said in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_the_size_of_requests_is_bounded(client, monkeypatch):
    monkeypatch.setattr("lae_tf.annotation.request_body.LARGEST_BODY", 1000)
    answer = client.post("/predict", content=b" " * 1001)
    assert answer.status_code == 413 and answer.json() == {"error": "The request has more than 1000 bytes."}


def test_other_paths_and_methods_are_refused_in_json(client):
    assert client.get("/versions").status_code == 404 and "error" in client.get("/versions").json()
    assert client.get("/predict").status_code == 405 and "error" in client.get("/predict").json()


def test_pages_and_foreign_names_are_refused(client):
    rebound = client.get("/health", headers={"Host": "evil.example:9090"})
    assert rebound.status_code == 421 and "--allowed-host" in rebound.json()["error"]
    assert client.post("/predict", json=asked(), headers={"Origin": "http://127.0.0.1:9090"}).status_code == 403


def test_a_name_that_is_given_is_known(model, folder, log):
    client = open_client(model, folder, log, hosts=("backend",))
    assert client.get("/health", headers={"Host": "backend:9090"}).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Basic", 401),
        ("Basic ???", 401),
        ("Basic \u00e9".encode(), 401),
        ("Bearer " + base64.b64encode("anna:pässwort:x".encode()).decode(), 401),
        ("Basic " + base64.b64encode(b"anna:other").decode(), 401),
        ("Basic " + base64.b64encode("anna:pässwort:x".encode()).decode(), 200),
    ],
)
def test_basic_auth(model, folder, log, authorization, status):
    client = open_client(model, folder, log, credentials="anna:pässwort:x")
    answer = client.get("/health", headers={"Authorization": authorization} if authorization else {})
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic ") and "error" in answer.json()
