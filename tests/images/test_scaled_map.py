"""A map at the size of its image, by hand and against OpenCV."""

import cv2
import numpy as np
import pytest

from lae_tf.errors import LAEError
from lae_tf.images.scaled_map import ScaledMap


def test_values_between_by_hand():
    # Centres of four columns lie at -0.25, 0.25, 0.75 and 1.25 of a map of two: clamped, a quarter, three, clamped.
    np.testing.assert_allclose(ScaledMap([[0.0, 1.0]], 1, 4).rows(0, 1), [[0, 0.25, 0.75, 1]])
    np.testing.assert_allclose(ScaledMap([[0.0], [1.0]], 4, 1).rows(1, 4), [[0.25], [0.75], [1]])


def test_a_map_larger_than_its_image_is_averaged():
    values = np.array([[1, 0, 0, 0], [1, 0, 0, 0.4]])
    np.testing.assert_allclose(ScaledMap(values, 1, 2).rows(0, 1), [[0.5, 0.1]])


@pytest.mark.parametrize("size", [(7, 9), (300, 400), (31, 5), (1, 1)])
def test_strips_are_the_whole_enlarged_map(size):
    values = np.random.default_rng(0).random((7, 5)).astype(np.float32)
    drawn = np.full(size, np.nan)
    for rows, strip in ScaledMap(values, *size).strips():
        assert strip.dtype == np.float32
        drawn[rows] = strip
    if min(size) > 1:
        np.testing.assert_allclose(drawn, cv2.resize(values, size[::-1]), atol=1e-4)
    else:
        np.testing.assert_allclose(drawn, values.mean(), atol=1e-6)


def test_a_wide_image_comes_in_several_strips():
    scaled = ScaledMap(np.arange(6.0).reshape(3, 2) / 5, 10, 30_000)
    strips = list(scaled.strips(3))
    assert [rows.start for rows, _ in strips] == [3, 5, 7, 9] and strips[-1][0].stop == 10
    np.testing.assert_array_equal(np.concatenate([strip for _, strip in strips]), scaled.rows(3, 10))


@pytest.mark.parametrize("shape", [(4,), (2, 2, 1), (0, 3)])
def test_what_is_no_map_is_refused(shape):
    with pytest.raises(LAEError, match="shape"):
        ScaledMap(np.zeros(shape), 8, 8)
