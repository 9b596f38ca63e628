"""Models of faces within a graph that is told where the faces are: in exports, pools, servers and clients."""

import base64
import io
import json
import shutil
import struct
import zlib
from types import SimpleNamespace

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from PIL import Image
from skimage import data

from lae_tf.data.views import Square, look
from lae_tf.export.exporting import export_run
from lae_tf.export.golden import golden_faces
from lae_tf.export.scoring_model import saved_model
from lae_tf.export.signatures import write_saved_model
from lae_tf.export.warmup import read_warmup
from lae_tf.model.lae import LAE
from lae_tf.predict.images import predict_files
from lae_tf.predict.pools.scorer import Scorer
from lae_tf.predict.pools.shards import Shard
from lae_tf.report.panels import overlay_at_size
from lae_tf.training.run import Run
from lae_tf.video.face_places import FACES, MOST_FACES, as_input, places_in

SIDE = 32


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = LAE(image_size=SIDE, view="faces", widths=(4, 6, 8), blocks=0, trunk="none")
    model.attention_scale.level.assign(0.4)
    return model


@pytest.fixture(scope="module")
def signatures(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    write_saved_model(model, folder)
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures  # whose variables are freed with what was loaded


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = [data.astronaut()[60:120, 180:270], picture(75, 40, 1), picture(33, 33, 2)]
PLACES = [[Square(3, 40, 45), Square(0, 0, 20)], [Square(35, 0, 40)], [Square(0, 0, 33)]]


def ask(signatures, name, images, places):
    key = "image" if name.startswith("tensor") else "image_bytes"
    answer = signatures[name](**{key: tf.constant(images), FACES: tf.constant(as_input(places))})
    return {name: value.numpy() for name, value in answer.items()}


def test_the_most_suspicious_face_decides_as_in_the_package(model, signatures):
    together = ask(signatures, "serving_default", [png(image) for image in IMAGES], PLACES)
    expected = [look(model, image, faces=faces).logit for image, faces in zip(IMAGES, PLACES, strict=True)]
    np.testing.assert_allclose(together["logit"], expected, rtol=0, atol=1e-5)
    for image, faces, logit in zip(IMAGES, PLACES, together["logit"], strict=True):
        alone = ask(signatures, "serving_default", [png(image)], [faces])
        assert alone["logit"][0] == pytest.approx(float(logit), abs=1e-5)
    assert abs(expected[0] - expected[1]) > 1e-3  # else the test says nothing


def test_pixels_score_as_files_do(model, signatures):
    image, faces = IMAGES[0], PLACES[0]
    expected = look(model, image, faces=faces).logit
    for name, pixels in (("tensor_uint8", image), ("tensor", (image / 255).astype(np.float32))):
        answer = ask(signatures, name, pixels[None], [faces])
        assert answer["logit"][0] == pytest.approx(expected, abs=1e-5)


def test_a_heatmap_shows_every_face_at_its_place(model, signatures):
    answer = ask(signatures, "explain", [png(image) for image in IMAGES], PLACES)
    for image, faces, file in zip(IMAGES, PLACES, answer["heatmap_png_bytes"], strict=True):
        drawn = overlay_at_size(image, look(model, image, faces=faces).attention)
        difference = np.abs(np.asarray(Image.open(io.BytesIO(file))).astype(int) - drawn)
        # A value on the border of two of the 256 colours may fall into the other.
        assert difference.max() <= 4 and (difference > 1).mean() < 0.01


@pytest.mark.parametrize("square", [Square(0, 50, 41), Square(-1, 0, 20), Square(30, 0, 31), Square(2**31 - 2, 0, 9)])
def test_a_face_beyond_the_image_is_refused(signatures, square):
    with pytest.raises(tf.errors.InvalidArgumentError, match="faces must lie within the image"):
        ask(signatures, "serving_default", [png(IMAGES[0])], [[square]])


@pytest.mark.parametrize("count", [0, MOST_FACES + 1])
def test_no_face_and_too_many_are_refused(signatures, count):
    with pytest.raises(tf.errors.InvalidArgumentError, match="faces must hold 1 to 64 for each image"):
        ask(signatures, "serving_default", [png(IMAGES[0])], [[Square(0, 0, 5)] * count])


def test_faces_must_be_given_for_each_image(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match="for each image"):
        ask(signatures, "serving_default", [png(IMAGES[0])] * 2, PLACES[:1])


def test_places_fill_up_with_sides_of_zero():
    assert as_input([[(1, 2, 3)], [], [(4, 5, 6), (7, 8, 9)]]).tolist() == [
        [[1, 2, 3], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[4, 5, 6], [7, 8, 9]],
    ]
    assert as_input([[]]).shape == (1, 1, 3) and as_input([]).shape == (0, 1, 3)
    assert as_input([[(1, 2, 3)] * 3]).shape == as_input([[(1, 2, 3)] * 4]).shape == (1, 4, 3)


# --- what is made of it ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(model, trained_run, tmp_path_factory):
    """The shared run with another model in it."""
    folder = tmp_path_factory.mktemp("run") / "faces"
    shutil.copytree(trained_run.path, folder)
    model.save(str(folder / "model.keras"))
    return Run(folder)


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    return export_run(run, tmp_path_factory.mktemp("exports"))


def test_an_export_passes_the_gate_and_warms_up_with_faces(export):
    assert export.parity.images == 24 and export.parity.largest_difference <= 1e-5
    requests = list(read_warmup(export.path / "assets.extra" / "tf_serving_warmup_requests"))
    assert [(name, inputs[FACES].shape) for name, inputs in requests] == [
        ("serving_default", (1, 2, 3)),
        ("serving_default", (32, 2, 3)),
        ("explain", (1, 2, 3)),
    ]


@pytest.mark.parametrize("size", [(1, 1), (23, 301), (240, 180)])
def test_golden_faces_lie_within_their_image(size):
    for top, left, side in golden_faces(*size):
        assert side >= 1 and top >= 0 and left >= 0 and top + side <= size[0] and left + side <= size[1]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """One with a face, one without, one that is damaged."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    Image.fromarray(data.coffee()).save(folder / "coffee.png")
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_a_pool_is_scored_at_its_faces(run, model, photographs):
    paths = [str(photographs / name) for name in ("astronaut.png", "coffee.png", "damaged.png")]
    with saved_model(run.path) as (folder, _):
        shard = Shard(str(photographs / "pool.parquet"), 0, 0, len(paths), 0)
        table = Scorer(folder).score(shard, pa.table({"path": paths}))
    (expected,) = predict_files(model, paths[:1])
    assert table["score"].to_pylist() == [pytest.approx(expected.score, abs=1e-5), None, None]
    errors = table["error"].to_pylist()
    assert errors[0] is None and errors[1].endswith("coffee.png: shows no face") and "damaged" in errors[2]


@pytest.fixture(scope="module")
def served(export, tmp_path_factory):
    from serve_process import Process

    process = Process(
        export.path.parents[1], "--rest-api-port", 0, "--no-access-log", log=tmp_path_factory.mktemp("log") / "log"
    )
    yield process.facts["url"]
    process.child.kill()
    process.child.wait()


def test_a_served_model_is_the_checkpoint(served, export, lae_tf_command):
    code, printed, err = lae_tf_command("serve", export.path, "--check", served, "--json")
    assert code == 0, err
    assert json.loads(printed)["passed"] is True


def test_a_server_finds_the_faces_of_who_does_not_say_where_they_are(served, model, photographs):
    import httpx

    (expected,) = predict_files(model, [str(photographs / "astronaut.png")])
    image = data.astronaut()
    file = {"b64": base64.b64encode((photographs / "astronaut.png").read_bytes()).decode()}
    faces = as_input([places_in(image)])[0].tolist()
    small = places_in(image[:160, 140:300])
    assert small
    requests = [
        {"instances": [file]},
        {"instances": [{"image_bytes": file}]},
        {"instances": [{"image_bytes": file, FACES: faces}]},
        {"inputs": {"image_bytes": [file]}},
        {"inputs": [file]},
    ]
    for request in requests:
        answer = httpx.post(f"{served}/v1/models/lae:predict", json=request, timeout=60)
        assert answer.status_code == 200, answer.text
        found = answer.json().get("predictions", answer.json().get("outputs"))
        score = found[0]["score"] if isinstance(found, list) else found["score"][0]
        assert score == pytest.approx(expected.score, abs=1e-5)
    pixels = {"signature_name": "tensor_uint8", "instances": [image[:160, 140:300].tolist()]}
    answer = httpx.post(f"{served}/v1/models/lae:predict", json=pixels, timeout=60)
    score = look(model, image[:160, 140:300], faces=[Square(*one) for one in small]).logit
    assert answer.json()["predictions"][0]["logit"] == pytest.approx(score, abs=1e-4)


def test_a_server_says_which_images_show_no_face(served, photographs):
    import httpx

    file = {"b64": base64.b64encode((photographs / "coffee.png").read_bytes()).decode()}
    damaged = {"b64": base64.b64encode((photographs / "damaged.png").read_bytes()).decode()}
    answer = httpx.post(f"{served}/v1/models/lae:predict", json={"instances": [file]}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"] == "image_bytes at position 0 of the batch: shows no face"
    answer = httpx.post(f"{served}/v1/models/lae:predict", json={"instances": [damaged]}, timeout=60)
    assert answer.status_code == 400 and "image_bytes at position 0 of the batch: damaged" in answer.json()["error"]
    beyond = {"instances": [{"image_bytes": file, FACES: [[0, 0, 5000]]}]}
    answer = httpx.post(f"{served}/v1/models/lae:predict", json=beyond, timeout=60)
    assert answer.status_code == 400 and "faces must lie within the image" in answer.json()["error"]


def chunk(kind, content, wrong=0):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ wrong)


@pytest.mark.parametrize("kind", ["checksum", "size", "tiff"])
def test_what_the_graph_might_read_and_nobody_searched_is_never_called_real(served, photographs, kind):
    """A file that only TensorFlow reads, one that shows two sizes, and one of a format that is not counted."""
    import httpx

    whole = (photographs / "astronaut.png").read_bytes()
    start, header = whole[:8], whole[8:33]
    if kind == "checksum":
        file = start + header + chunk(b"tEXt", b"a\0b", wrong=1) + whole[33:]
    elif kind == "size":
        file = start + chunk(b"tEXt", struct.pack(">II", 1, 1) + b"\0") + header + whole[33:]
    else:
        buffer = io.BytesIO()
        Image.fromarray(data.astronaut()).save(buffer, "TIFF")
        file = buffer.getvalue()
    request = {"instances": [{"b64": base64.b64encode(file).decode()}]}
    answer = httpx.post(f"{served}/v1/models/lae:predict", json=request, timeout=60)
    assert answer.status_code == 400 and "image_bytes at position 0 of the batch" in answer.json()["error"]


def test_a_turned_file_is_scored_where_its_face_was_found(served, model, photographs, tmp_path):
    """PNG with an orientation, which TensorFlow does not know."""
    import httpx

    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.ascontiguousarray(np.rot90(data.astronaut()[:, :400]))
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    (expected,) = predict_files(model, [str(tmp_path / "turned.png")])
    request = {"instances": [{"b64": base64.b64encode((tmp_path / "turned.png").read_bytes()).decode()}]}
    answer = httpx.post(f"{served}/v1/models/lae:predict", json=request, timeout=60)
    assert answer.json()["predictions"][0]["score"] == pytest.approx(expected.score, abs=1e-5)


def test_the_command_asks_a_server_as_it_asks_the_run(served, run, photographs, lae_tf_command):
    def records(*arguments):
        code, printed, err = lae_tf_command("predict", *arguments, photographs, "--json")
        assert code == 1, err  # one shows no face, one is damaged
        return {record["path"]: record for record in map(json.loads, printed.splitlines())}

    here, there = records(run.path), records("--server", served)
    assert here.keys() == there.keys()
    for path, record in here.items():
        assert ("error" in record) == ("error" in there[path])
        if "score" in record:
            assert there[path]["score"] == pytest.approx(record["score"], abs=1e-5)
            assert there[path]["label"] == record["label"]


def test_a_client_tells_where_the_faces_are_to_a_server_that_does_not_look(photographs, monkeypatch):
    """As TensorFlow Serving: what is sent has the faces that were found here, and names them as the signature does."""
    from lae_tf.serving.client import rest_client

    sent = []

    def answer(_, method, url, content=None):
        if method == "GET":
            inputs = {"image_bytes": {}, FACES: {}}
            document = {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": inputs}}}}}
        else:
            sent.append(json.loads(content))
            one = {"score": 0.75, "label": "fake", "logit": 1.0, "threshold": 0.5}
            document = {"predictions": [one] * len(sent[-1]["instances"])}
        content = json.dumps(document).encode()
        return SimpleNamespace(status_code=200, headers={}, content=content, is_success=True, url=url)

    monkeypatch.setattr(rest_client.httpx.Client, "request", answer)
    with rest_client.Client("http://127.0.0.1:1") as client:
        scores = list(client.predict_files([str(photographs / "astronaut.png"), str(photographs / "coffee.png")]))
    ((instance,),) = (request["instances"] for request in sent)
    assert instance[FACES] == [list(place) for place in places_in(data.astronaut())]
    assert scores[0].score == 0.75 and scores[1].error.endswith("coffee.png: shows no face")
