"""Models of windows within a graph: what an export says of images of any size is what the package says."""

import io
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from PIL import Image
from tiny_dataset import photograph

from lae_tf.data.pyramid import halved, pyramid
from lae_tf.data.views import attention_of, look_in_windows
from lae_tf.errors import UsageError
from lae_tf.export import windows
from lae_tf.export.exporting import export_run
from lae_tf.export.golden import golden_files
from lae_tf.export.scoring_model import saved_model
from lae_tf.export.signatures import write_saved_model
from lae_tf.export.windows import halved_in_graph
from lae_tf.model.lae import LAE
from lae_tf.predict.images import predict_files
from lae_tf.predict.pools.scorer import Scorer
from lae_tf.predict.pools.shards import Shard
from lae_tf.report.panels import overlay_at_size
from lae_tf.training.run import Run

SIDE = 32
SHAPES = [(20, 30), (33, 32), (101, 77), (301, 23), (1, 300), (200, 161)]


def model_of(view):
    keras.utils.set_random_seed(0)
    return LAE(image_size=SIDE, view=view, widths=(4, 6, 8), blocks=0, trunk="none")


def picture(height, width, seed=0):
    """Noise of many sizes, so that levels and windows differ."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(0, 256, (height, width, 3))
    coarse = np.asarray(Image.fromarray(photograph(rng)).resize((width, height)))
    return ((fine + 3 * coarse.astype(int)) // 4).astype(np.uint8)


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model():
    """A pooling in which every level, and each of its four parts, counts for something."""
    model, rng = model_of("windows"), np.random.default_rng(1)
    model.window_pooling.assign(
        model.window_pooling.fitted._replace(
            centre=rng.normal(0, 0.1, 9).astype(np.float32),
            spread=rng.uniform(0.05, 0.3, 9).astype(np.float32),
            growth=np.array([0.3, 0.2], np.float32),
            weights=np.array([0.7, 0.2, -0.4], np.float32),
        )
    )
    model.attention_scale.level.assign(0.4)
    return model


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    write_saved_model(model, folder)
    return str(folder)


@pytest.fixture(scope="module")
def signatures(saved):
    loaded = tf.saved_model.load(saved)
    yield loaded.signatures  # whose variables are freed with what was loaded


def ask(signatures, name, values):
    key = "image" if name.startswith("tensor") else "image_bytes"
    return {name: value.numpy() for name, value in signatures[name](**{key: tf.constant(values)}).items()}


def expected(model, image):
    return model.window_pooling.pooled(look_in_windows(model, image)[0])


def test_images_of_every_shape_score_as_in_the_package_alone_and_together(model, signatures):
    images = [picture(*shape) for shape in SHAPES]
    logits = [expected(model, image) for image in images]
    scores = np.asarray(model.calibration(np.float32(logits)))
    together = ask(signatures, "serving_default", [png(image) for image in images])
    np.testing.assert_allclose(together["score"], scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(together["logit"], logits, rtol=0, atol=1e-4)
    alone = [ask(signatures, "serving_default", [png(image)])["score"][0] for image in images]
    np.testing.assert_allclose(alone, scores, rtol=0, atol=1e-5)
    assert np.ptp(logits) > 0.1  # else the test says nothing


def test_pixels_score_as_files_do(model, signatures):
    image = picture(101, 77)
    logit = expected(model, image)
    for name, pixels in (("tensor_uint8", image), ("tensor", (image / 255).astype(np.float32))):
        answer = ask(signatures, name, np.stack([pixels, pixels[::-1]]))
        np.testing.assert_allclose(answer["logit"], [logit, expected(model, image[::-1])], rtol=0, atol=1e-4)


def test_a_heatmap_has_the_images_shape_and_shows_what_predict_shows(model, signatures):
    images = [picture(*shape) for shape in ((20, 30), (101, 77), (301, 23))]
    answer = ask(signatures, "explain", [png(image) for image in images])
    for image, file, score in zip(images, answer["heatmap_png_bytes"], answer["logit"], strict=True):
        drawn = overlay_at_size(image, attention_of(model, look_in_windows(model, image)[1]))
        heatmap = np.asarray(Image.open(io.BytesIO(file)))
        assert heatmap.shape == image.shape
        # A value on the border of two of the 256 colours may fall into the other.
        difference = np.abs(heatmap.astype(int) - drawn)
        assert difference.max() <= 4 and (difference > 1).mean() < 0.01
        assert score == pytest.approx(expected(model, image), abs=1e-4)


def test_a_reconstruction_error_is_that_of_the_whole(model, signatures):
    image = picture(101, 77)
    whole = np.asarray(model.preprocessor.resize(image))[None]
    error = np.abs(whole - np.asarray(model(whole)["reconstruction"])).mean()
    assert ask(signatures, "explain", [png(image)])["reconstruction_error"][0] == pytest.approx(error, abs=1e-6)


def test_a_large_heatmap_is_bounded(signatures):
    file = ask(signatures, "explain", [png(picture(40, 1500))])["heatmap_png_bytes"][0]
    assert Image.open(io.BytesIO(file)).size == (1024, 27)  # 40 / 1500 of 1024 is 27.3


def test_it_runs_in_a_session_as_in_the_server(model, saved):
    images = [picture(101, 77), picture(20, 30)]
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], saved).signature_def["explain"]
        feed = {signature.inputs["image_bytes"].name: [png(image) for image in images]}
        logits = session.run(signature.outputs["logit"].name, feed)
    np.testing.assert_allclose(logits, [expected(model, image) for image in images], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["serving_default", "explain"])
def test_bad_files_are_named_by_their_position(signatures, name):
    good = png(picture(50, 60))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes at position 1 of the batch: damaged"):
        ask(signatures, name, [good, good[: len(good) // 2], good])


def test_a_trunk_which_is_asked_about_some_windows_alone_scores_alike():
    keras.utils.set_random_seed(0)
    model = LAE(image_size=SIDE, view="windows", widths=(4, 8, 8, 8), blocks=0, trunk="efficientnet-lite0")

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)], autograph=False)
    def look(image):
        logits, maps = model.decision_of(model.preprocessor.resize(image)[None])
        return windows.look_in_graph(model, image, (logits[0, 0], maps[0])).logit

    image = picture(101, 77)
    assert float(look(image)) == pytest.approx(expected(model, image), abs=1e-4)


# --- the parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (1, 9), (8, 1), (1, 1), (101, 77), (64, 63)])
def test_halving_is_the_same_to_the_bit(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    np.testing.assert_array_equal(halved_in_graph(tf.constant(image)), halved(image))


@pytest.mark.parametrize("size", [(33, 10), (56, 57), (100, 300), (500, 31)])
def test_windows_lie_where_the_package_has_them(model, size):
    for level in pyramid(picture(*size), SIDE, model.hyperparameters.stride):
        padded = windows._padded(tf.constant(level.size), model)
        corners = windows._corners(padded, tf.constant(len(level.windows())), model)
        assert [tuple(corner) for corner in corners.numpy().tolist()] == level.windows()


def test_coarse_levels_come_first_and_the_rest_is_spread_evenly(model, monkeypatch):
    # 300, 150, 75 and 37 pixels, in whole cells of 4: 300, 152, 76 and 40; every 24 pixels at least: 13, 6, 3 and 2.
    sizes = windows._level_sizes(tf.constant([300, 300]), SIDE)
    assert sizes.numpy().tolist() == [[300, 300], [150, 150], [75, 75], [37, 37]]
    assert windows._windows_of_levels(sizes, model).numpy().tolist() == [169, 36, 9, 4]
    monkeypatch.setattr(windows, "MOST_WINDOWS", 20)
    assert windows._windows_of_levels(sizes, model).numpy().tolist() == [0, 7, 9, 4]
    # 3 of the 6 in a row: the middles of the pairs.
    corners = windows._corners(tf.constant([32, 152]), tf.constant(3), model)
    assert corners.numpy().tolist() == [[0, 24], [0, 72], [0, 120]]


def test_an_image_of_more_windows_is_scored_by_as_many(model, monkeypatch):
    monkeypatch.setattr(windows, "MOST_WINDOWS", 20)
    image = tf.constant(picture(300, 300))
    logits, maps = model.decision_of(model.preprocessor.resize(image)[None])
    seen = windows.look_in_graph(model, image, (logits[0, 0], maps[0]))
    assert np.isfinite(seen.logit.numpy()) and np.isfinite(seen.attention.numpy()).all()
    assert seen.attention.shape == (75, 75)


# --- export and score ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(model, trained_run, tmp_path_factory):
    """The shared run with another model in it."""
    folder = tmp_path_factory.mktemp("run") / "windows"
    shutil.copytree(trained_run.path, folder)
    model.save(str(folder / "model.keras"))
    return Run(folder)


def test_an_export_passes_the_gate_on_images_of_many_windows(run, tmp_path):
    export = export_run(run, tmp_path)
    assert (export.parity.images, export.parity.tolerance) == (26, 1e-4)
    assert export.parity.largest_difference <= 1e-4
    assert (export.path / "assets.extra/golden/jpeg-windows-tall.jpg").is_file()


def test_a_pool_is_scored_in_windows(saved, model, tmp_path):
    paths = [str(tmp_path / f"{shape[0]}.png") for shape in SHAPES]
    for path, shape in zip(paths, SHAPES, strict=True):
        Image.fromarray(picture(*shape)).save(path)
    with saved_model(saved) as (folder, _):
        table = Scorer(folder).score(
            Shard(str(tmp_path / "pool.parquet"), 0, 0, len(paths), 0), pa.table({"path": paths})
        )
    scores = [one.score for one in predict_files(model, paths)]
    np.testing.assert_allclose(table["score"].to_pylist(), scores, rtol=0, atol=1e-5)


def test_golden_images_of_windows_show_all_their_windows():
    for data in golden_files(SIDE, in_windows=True).values():
        levels = pyramid(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), SIDE, 4)
        assert sum(len(level.windows()) for level in levels) <= windows.MOST_WINDOWS


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "form", "message"),
    [
        ("faces", "onnx", "an export as onnx, whose input has one size, takes models of the view 'whole'"),
        ("windows", "tflite", "an export as tflite, whose input has one size, takes models of the view 'whole'"),
        ("windows", "onnx", "this one's is 'windows'"),
    ],
)
def test_what_no_graph_can_do_is_refused(view, form, message, tmp_path):
    run = SimpleNamespace(load_model=lambda: model_of(view))
    with pytest.raises(UsageError, match=message):
        export_run(run, tmp_path / "out", form=form)
    assert not (tmp_path / "out").exists()
