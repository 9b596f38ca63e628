"""Explanations where a model looks at parts: the most suspicious window or face is what is explained."""

import json

import keras
import numpy as np
import pytest

from lae_tf.data import views
from lae_tf.data.views import Square
from lae_tf.explain.explaining import explain_files
from lae_tf.explain.known_masks import Truth
from lae_tf.explain.panels import example, panel
from lae_tf.explain.squares import framed, level_of, mask_in, on_image, seen_in
from lae_tf.images.files import read_image, write_png
from lae_tf.model.lae import LAE
from lae_tf.model.window_pooling import LEVELS, PoolingWeights, WindowLogits
from lae_tf.report.plots import png
from lae_tf.video import face_places
from lae_tf.video.faces import Box

SIDE = 32


def model_of(view):
    keras.utils.set_random_seed(0)
    return LAE(image_size=SIDE, view=view, widths=(4, 6, 8), blocks=0, trunk="none")


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "photograph.png"
    write_png(path, np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8))
    return path


def explained(model, photograph, **truth):
    (found,) = explain_files(model, [str(photograph)], lambda _: Truth(**truth), ["attention", "random"])
    return found


def test_the_most_suspicious_window_is_explained(photograph):
    model = model_of("windows")
    fitted = PoolingWeights(
        np.full(LEVELS + 1, -1.0), np.full(LEVELS + 1, 0.5), np.array([0.1, 0.2]), np.array([0.8, 0.4, 0.3])
    )
    model.window_pooling.assign(fitted)
    found = explained(model, photograph)
    image = read_image(photograph)
    windows = views.look_in_windows(model, image)
    # All levels are scaled alike here, so the highest logit is the most suspicious.
    best = max(
        (logit, square)
        for pair in zip(windows.logits.levels, windows.squares, strict=True)
        for logit, square in zip(*pair, strict=True)
    )
    assert found.prediction.square == best[1]
    logit, _ = model.decide_on_batch(found.image[None])
    assert float(logit[0]) == pytest.approx(float(best[0]), abs=1e-4)
    # As if the image had no other window, and its whole said nothing, which is its median.
    levels = [np.array([], np.float32)] * level_of(model, best[1]) + [logit]
    alone = model.window_pooling.pooled(WindowLogits(levels, -1.0))
    assert found.part_score == pytest.approx(float(model.calibration(np.float32([alone]))[0]), abs=1e-5)
    assert found.faithfulness["random"].deletion[0] == pytest.approx(found.part_score, abs=1e-5)
    assert found.faithfulness["random"].insertion[0] == pytest.approx(found.baseline_score, abs=1e-5)


def test_an_image_no_larger_than_a_window_is_explained_as_a_whole(tmp_path):
    path = tmp_path / "small.png"
    write_png(path, np.random.default_rng(0).integers(0, 256, (20, SIDE, 3), np.uint8))
    found = explained(model_of("windows"), path)
    assert found.prediction.square is None and found.whole is None and found.image.shape == (20, SIDE, 3)
    assert found.part_score == pytest.approx(found.prediction.score, abs=1e-5)


def test_the_most_suspicious_face_is_explained(photograph, monkeypatch):
    model = model_of("faces")
    monkeypatch.setattr(face_places, "detect", lambda _: [Box(40, 45, 25), Box(110, 45, 25)])
    found = explained(model, photograph)
    squares = [Square(25, 20, 40), Square(25, 90, 40)]
    logits, _ = model.decide_on_batch(np.stack([seen_in(model, read_image(photograph), one) for one in squares]))
    assert found.prediction.square == squares[int(np.argmax(logits))]
    assert found.part_score == pytest.approx(found.prediction.score, abs=1e-5)


def test_an_image_without_a_face_is_reported(photograph, monkeypatch):
    monkeypatch.setattr(face_places, "detect", lambda _: [])
    found = explained(model_of("faces"), photograph)
    assert "shows no face" in found.prediction.error and not found.maps


def test_a_mask_is_that_of_the_square(photograph, tmp_path):
    model = model_of("windows")
    mask = np.zeros((90, 150), np.uint8)
    square = explained(model, photograph).prediction.square
    mask[square.top : square.top + square.side // 2, square.left : square.left + square.side] = 1
    write_png(tmp_path / "mask.png", 255 * mask)
    found = explained(model, photograph, mask=str(tmp_path / "mask.png"))
    assert found.mask.shape == (SIDE, SIDE) and found.mask[: SIDE // 2].all() and not found.mask[SIDE // 2 :].any()
    assert set(found.agreement) == {"attention", "random"}
    assert png(panel(found)).startswith(b"\x89PNG")


def test_a_caption_says_where_the_model_cannot_tell(photograph):
    model = model_of("windows")
    found = explained(model, photograph)
    assert f": called {found.prediction.label}; the square" in example(found).title
    model.calibration.lowest_fake.assign(0.0)
    model.calibration.highest_real.assign(1.0)  # neither label is ever ruled out
    found = explained(model, photograph)
    assert ": unsure; the square" in example(found).title and {row["verdict"] for row in found.rows()} == {"unsure"}


def test_masks_go_on_as_their_mirror_image():
    mask = np.zeros((20, 100), np.uint8)
    mask[:4] = 1
    # 12 rows are missing: rows 19 to 8, of which none is marked.
    assert (mask_in(model_of("windows"), mask, Square(0, 0, 32)).sum(axis=1) == [32] * 4 + [0] * 28).all()
    mask[16:] = 1
    assert (mask_in(model_of("windows"), mask, Square(0, 0, 32))[16:24] == 1).all()


def test_a_coarse_window_is_seen_at_its_level():
    image = np.repeat(np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8), 16, 0), 16, 1)
    image = np.stack([image] * 3, axis=-1)  # 128 x 128, flat squares of 16
    seen = seen_in(model_of("windows"), image, Square(64, 0, 64))
    np.testing.assert_allclose(255 * seen[..., 0], image[64:128:2, 0:64:2, 0], atol=1e-3)


def test_a_map_lies_at_its_square():
    whole = on_image(np.ones((4, 4), np.float32), Square(8, 16, 8), (24, 40))
    assert whole.shape == (12, 20)  # a value for every two pixels, as in the square
    assert whole.sum() == 16 and (whole[4:8, 8:12] == 1).all()
    beyond = on_image(np.ones((4, 4), np.float32), Square(8, 0, 4), (10, 10))
    assert beyond.shape == (10, 10) and beyond.sum() == 8


def test_a_frame_lies_around_the_square():
    picture = framed(np.zeros((100, 200, 3), np.uint8), Square(20, 50, 40))
    rows, columns = np.nonzero(picture.any(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 59, 50, 89)
    assert not picture[25:55, 55:85].any()
    assert framed(np.zeros((3000, 4000, 3), np.uint8), Square(0, 0, 128)).shape == (384, 512, 3)


def test_the_verb_explains_a_square_and_lays_maps_at_its_place(photograph, tmp_path, lae_tf_command):
    model_of("windows").save_to_preset(tmp_path / "preset")
    out = tmp_path / "out"
    arguments = ["--model", str(tmp_path / "preset"), str(photograph), "-o", str(out), "--json", "--overlays"]
    code, printed, err = lae_tf_command("explain", *arguments, "--methods", "attention,smoothgrad")
    assert code == 0, err
    (record,) = json.loads(printed)["images"]
    assert record["view"] == "windows"
    top, left, side = (record["square"][name] for name in ("top", "left", "side"))
    grey = np.rint(read_image(photograph) @ [0.299, 0.587, 0.114])
    drawn = read_image(record["overlays"]["attention"]).astype(float)
    assert drawn.shape == (90, 150, 3)
    outside = np.ones((90, 150), bool)
    outside[max(0, top - 4) : top + side + 4, max(0, left - 4) : left + side + 4] = False
    assert np.abs(drawn - grey[..., None])[outside].max() <= 1
    assert np.abs(drawn - grey[..., None])[~outside].max() > 10
    assert "the square of" in (out / "report.html").read_text()
