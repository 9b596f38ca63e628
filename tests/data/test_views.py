"""Images of any size in the views of a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lae_tf.data import views
from lae_tf.data.views import look, look_in_windows, require_view, whole_map, without_mirrors
from lae_tf.errors import UsageError
from lae_tf.model import load_model
from lae_tf.model.lae import LAE
from lae_tf.model.preprocessing import Preprocessor
from lae_tf.video import face_places
from lae_tf.video.faces import Box

SIDE = 32


def model_of(view, **arguments):
    keras.utils.set_random_seed(0)
    return LAE(image_size=SIDE, view=view, widths=(4, 6, 8), blocks=0, trunk="none", **arguments)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# --- the whole -----------------------------------------------------------------------------------------------


def test_the_whole_keeps_its_aspect_between_mirrors():
    # 8 x 16 pixels in 32 x 32: twice as large, rows 8 to 23, mirrored about its border rows above and below.
    rows = np.repeat(np.arange(8, dtype=np.uint8)[:, None], 16, axis=1)
    square = 255 * Preprocessor(SIDE).resize(np.stack([rows * 30] * 3, axis=-1)).numpy()[..., 0]
    inner = tf.image.resize(rows[..., None] * 30, (16, 32), antialias=True).numpy()[..., 0]
    np.testing.assert_allclose(square[8:24], inner, atol=1e-3)
    np.testing.assert_allclose(square[7], inner[1], atol=1e-3)
    np.testing.assert_allclose(square[24], inner[14], atol=1e-3)


def test_a_square_image_is_resized_as_ever():
    image = picture(50, 50)
    expected = tf.image.resize(image, (SIDE, SIDE), antialias=True) / 255.0
    np.testing.assert_array_equal(Preprocessor(SIDE).resize(image), tf.clip_by_value(expected, 0.0, 1.0))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (299, 2), (33, 32)])
def test_any_shape_fits(size):
    assert Preprocessor(SIDE).resize(picture(*size)).shape == (SIDE, SIDE, 3)


def test_a_mask_lies_where_its_image_lies():
    image, mask = np.zeros((20, 60, 3), np.uint8), np.zeros((20, 60, 1), np.uint8)
    image[5:15, 30:50], mask[5:15, 30:50] = 255, 1
    preprocessor = Preprocessor(SIDE)
    bright = preprocessor.resize(image).numpy()[..., 0] > 0.5
    marked = preprocessor.resize_mask(mask).numpy()[..., 0]
    assert set(np.unique(marked)) == {0, 1}
    assert (bright == (marked == 1)).mean() > 0.97


def test_models_of_before_stretch_and_say_so(tmp_path):
    model = model_of("whole")
    config = model.get_config()
    assert config.pop("view") == "whole"
    older = LAE.from_config(config)
    assert older.view == "stretched"
    image = picture(20, 60)
    expected = tf.image.resize(image, (SIDE, SIDE), antialias=True) / 255.0
    np.testing.assert_allclose(older.preprocessor.resize(image), expected, atol=1e-6)
    older.save(str(tmp_path / "older.keras"))
    assert load_model(tmp_path / "older.keras").view == "stretched"


def test_a_map_of_the_whole_loses_its_mirrors():
    values = np.zeros((32, 32), np.float32)
    values[8:24] = 1  # where an image of half the height lies
    assert whole_map(values, (100, 200)).shape == (16, 32)
    assert (whole_map(values, (100, 200)) == 1).all()
    assert whole_map(values, (200, 100)).shape == (32, 16)
    assert whole_map(values, (7, 7)) is values


def test_mirrors_are_cut_off_exactly():
    square = np.arange(32 * 32).reshape(32, 32)
    assert (without_mirrors(square, (100, 200)) == square[8:24]).all()
    assert (without_mirrors(square, (32, 5)) == square[:, 13:18]).all()
    assert without_mirrors(square, (100, 200), "stretched") is square


def test_a_stretched_map_is_given_the_aspect_back():
    rows = np.repeat(np.arange(32, dtype=np.float32)[:, None], 32, axis=1)
    found = whole_map(rows, (100, 200), "stretched")
    assert found.shape == (16, 32)
    np.testing.assert_allclose(found[:, 0], np.arange(16) * 2 + 0.5, atol=0.05)


def test_looking_at_the_whole_says_what_the_model_says():
    model = model_of("whole")
    model.attention_scale.level.assign(0.3)
    image = picture(24, SIDE)
    outputs = model(np.asarray(model.preprocessor.resize(image))[None])
    seen = look(model, image)
    assert seen.logit == pytest.approx(float(outputs["logit"][0, 0]), abs=1e-5)
    assert seen.attention.shape == (6, 8)  # cells of 4 pixels
    assert seen.attention.mean() == pytest.approx(float(np.mean(outputs["attention"][0, 4:28])), abs=0.02)


# --- windows -------------------------------------------------------------------------------------------------


def test_an_image_no_larger_than_a_window_is_its_whole():
    model = model_of("windows")
    logits, evidence, _ = look_in_windows(model, picture(SIDE, SIDE))
    assert logits.windows == 0 and evidence.shape == (8, 8)


def test_the_map_has_the_images_aspect_and_every_level_is_looked_at():
    logits, evidence, _ = look_in_windows(model_of("windows"), picture(96, 160))
    assert evidence.shape == (24, 40)
    assert [len(level) for level in logits.levels] == [4 * 7, 2 * 3, 2]


def test_a_change_shows_where_it_is():
    """The evidence of two images differs about the place where the images do, and nowhere far from it."""
    model = model_of("windows", contrast=False, self_correlation=False)
    image = picture(200, 200)
    changed = image.copy()
    changed[20:60, 140:180] = 0
    difference = np.abs(look_in_windows(model, image)[1] - look_in_windows(model, changed)[1])
    cells = np.zeros((50, 50), bool)
    cells[5:15, 35:45] = True
    assert difference[cells].mean() > 5 * difference[30:, :25].mean()


def test_a_large_image_is_looked_at_in_so_many_windows(monkeypatch):
    monkeypatch.setattr(views, "MOST_WINDOWS", 20)
    logits, *_ = look_in_windows(model_of("windows"), picture(300, 300))
    assert logits.windows == 20
    assert all(len(level) for level in logits.levels[1:]) and logits.levels[0].size < 20


def test_textured_windows_come_first(monkeypatch):
    """Of an image that is flat but for one corner, the few windows that may be looked at lie there."""
    monkeypatch.setattr(views, "MOST_WINDOWS", 10)
    image = np.full((400, 400, 3), 128, np.uint8)
    image[300:, 300:] = picture(100, 100)
    model = model_of("windows")
    seen = []
    add = views.Level.add

    def noted(level, window, values):
        seen.append((level.factor, window))
        add(level, window, values)

    monkeypatch.setattr(views.Level, "add", noted)
    look_in_windows(model, image)
    finest = min(factor for factor, _ in seen)
    corners = [window for factor, window in seen if factor == finest]
    assert any((window.top + SIDE) * finest > 300 and (window.left + SIDE) * finest > 300 for window in corners)


def test_no_time_leaves_the_whole():
    logits, evidence, _ = look_in_windows(model_of("windows"), picture(300, 300), seconds=0)
    assert logits.windows == 0 and np.isfinite(evidence).all()


def test_pooling_survives_saving(tmp_path):
    model = model_of("windows")
    image = picture(96, 96)
    fitted = model.window_pooling.fitted
    model.window_pooling.assign(fitted._replace(weights=np.array([0.7, 0.2, -1.0], np.float32)))
    model.save(str(tmp_path / "model.keras"))
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.window_pooling.fitted.weights.tolist() == pytest.approx([0.7, 0.2, -1.0])
    assert look(loaded, image).logit == pytest.approx(look(model, image).logit, abs=1e-5)


# --- faces ---------------------------------------------------------------------------------------------------


def test_the_most_suspicious_face_decides_and_maps_lie_at_their_faces(monkeypatch):
    model = model_of("faces")
    image = picture(100, 200)
    boxes = [Box(40, 50, 25), Box(150, 50, 25)]  # squares of 40 with the margin: 30 to 70, 20 to 60 and 130 to 170
    monkeypatch.setattr(face_places, "detect", lambda _: boxes)
    seen = look(model, image)
    crops = [image[30:70, 20:60], image[30:70, 130:170]]
    logits, _ = model.decide_on_batch(np.stack([model.preprocessor.resize(crop) for crop in crops]))
    assert seen.logit == pytest.approx(float(logits.max()), abs=1e-5)
    assert seen.attention.shape == (100, 200)
    assert (seen.attention[30:70, 20:60] > 0).all() and (seen.attention[:30] == 0).all()


def test_without_a_face_there_is_no_logit(monkeypatch):
    monkeypatch.setattr(face_places, "detect", lambda _: [])
    assert np.isnan(look(model_of("faces"), picture(40, 40)).logit)


# --- refusals ------------------------------------------------------------------------------------------------


def test_an_unknown_view_is_refused():
    with pytest.raises(ValueError, match="view must be one of"):
        LAE(image_size=SIDE, view="squares")


def test_what_needs_the_whole_says_so():
    require_view(model_of("whole"), "this")
    require_view(model_of("windows"), "this", ("whole", "windows"))
    with pytest.raises(UsageError, match="this takes models of the view 'whole'; this one's is 'windows'"):
        require_view(model_of("windows"), "this")
