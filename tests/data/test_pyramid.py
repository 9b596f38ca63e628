"""Windows all over an image: where they lie, what they show, and maps put together from theirs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.data.pyramid import STEP, Level, Window, halved, pyramid, sampled


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(height=st.integers(1, 200), width=st.integers(1, 200))
def test_windows_cover_every_pixel_and_lie_close_enough(height, width):
    side, cell = 32, 8
    level = Level(picture(height, width), 1, side, cell)
    seen = np.zeros((max(height, side) + cell, max(width, side) + cell), bool)
    for window in level.windows():
        assert window.top % cell == 0 and window.left % cell == 0
        assert level.cut(window).shape == (side, side, 3)
        seen[window.top : window.top + side, window.left : window.left + side] = True
    assert seen[:height, :width].all()
    for places in ({window.top for window in level.windows()}, {window.left for window in level.windows()}):
        assert (np.diff(sorted(places)) <= STEP * side + cell).all()


def test_levels_are_halves_down_to_a_window():
    levels = pyramid(picture(100, 300), 64, 8)
    assert [(level.factor, level.size) for level in levels] == [(1, (100, 300)), (2, (50, 150)), (4, (25, 75))]


def test_an_image_of_a_windows_size_has_no_windows():
    assert pyramid(picture(64, 40), 64, 8) == []


def test_halving_takes_the_mean_of_four_pixels():
    image = np.array([[[0], [2]], [[4], [6]]], np.uint8).repeat(3, axis=2)
    assert halved(image).tolist() == [[[3, 3, 3]]]
    assert halved(np.full((1, 9), 7, np.uint8)).tolist() == [[7] * 4]


def test_halves_are_rounded_up_and_odd_sides_lose_their_last_pixel():
    assert halved(np.array([[1, 1, 255], [0, 0, 255], [255, 255, 255]], np.uint8)).tolist() == [[1]]  # 2 / 4
    assert halved(np.array([[0, 0], [0, 1]], np.uint8)).tolist() == [[0]]  # 1 / 4
    assert halved(np.array([[2, 3]], np.uint8)).tolist() == [[3]]  # a single row counts twice: 10 / 4
    assert halved(np.array([[2, 3]], np.uint8).T).tolist() == [[3]]


def test_beyond_the_border_an_image_is_mirrored():
    image = np.arange(4, dtype=np.uint8)[:, None, None].repeat(40, axis=1).repeat(3, axis=2)
    rows = Level(image, 1, 8, 4).cut(Window(0, 0))[:, 0, 0]
    assert rows.tolist() == [0, 1, 2, 3, 3, 2, 1, 0]


def test_windows_that_agree_blend_to_what_they_say():
    level = Level(picture(48, 80), 1, 32, 8)
    for window in level.windows():
        level.add(window, np.full((4, 4), 2.5, np.float32))
    shares = np.linspace(0, 1, 7)
    np.testing.assert_allclose(level.evidence_at(shares, shares), 2.5, rtol=1e-6)


def test_evidence_lies_where_its_window_lies_and_is_unknown_elsewhere():
    level = Level(picture(32, 96), 1, 32, 8)  # 4 x 12 cells
    level.add(Window(0, 64), np.ones((4, 4), np.float32))
    columns = (np.arange(12) + 0.5) / 12
    found = level.evidence_at(np.array([0.5]), columns)[0]
    assert np.isnan(found[:7]).all() and (found[8:] == 1).all()


def test_sampling_is_bilinear_between_centres_and_constant_beyond():
    values = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    found = sampled(values, np.array([0.5]), np.array([-4.0, 0.25, 9.0]))
    np.testing.assert_allclose(found, [[1.0, 1.25, 2.0]], atol=1e-2)


def test_flat_windows_have_no_texture():
    flat = Level(np.full((64, 64, 3), 90, np.uint8), 1, 32, 8)
    assert flat.texture(Window(0, 0)) == 0
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 16:] = 100
    assert Level(halves, 1, 32, 8).texture(Window(0, 0)) == pytest.approx(50)
