"""Deletion and insertion by hand: a scorer that is linear in the pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from lae_tf.explain.faithfulness import Faithfulness, blurred, measure, rank_squares, replacement_curve

# Four pixels worth 4, 3, 2 and 1 tenths on a baseline worth nothing.
IMAGE = np.array([[0.4, 0.3], [0.2, 0.1]], np.float32)[..., None]
NOTHING = np.zeros_like(IMAGE)
WORTH = IMAGE[..., 0]


def total(images):
    return images.sum(axis=(1, 2, 3))


def rng():
    return np.random.default_rng(0)


def test_the_right_order_by_hand():
    """Deletion reads 1, .6, .3, .1, 0, insertion 0, .4, .7, .9, 1; a trapezoid of width 1/4 between each."""
    found = measure(total, IMAGE, NOTHING, WORTH, rng(), resolution=(2, 4))
    np.testing.assert_allclose(found.deletion, [1, 0.6, 0.3, 0.1, 0], atol=1e-6)
    np.testing.assert_allclose(found.insertion, [0, 0.4, 0.7, 0.9, 1], atol=1e-6)
    assert found.deletion_auc == pytest.approx((0.5 + 0.6 + 0.3 + 0.1 + 0) / 4)
    assert found.insertion_auc == pytest.approx((0 + 0.4 + 0.7 + 0.9 + 0.5) / 4)
    assert found.faithfulness == pytest.approx(0.25)


def test_the_wrong_order_is_as_bad_as_the_right_one_is_good():
    found = measure(total, IMAGE, NOTHING, -WORTH, rng(), resolution=(2, 4))
    np.testing.assert_allclose(found.deletion, [1, 0.9, 0.7, 0.4, 0], atol=1e-6)
    assert found.faithfulness == pytest.approx(-0.25)


def test_fewer_steps_take_several_squares_at_once():
    found = measure(total, IMAGE, NOTHING, WORTH, rng(), resolution=(2, 2))
    np.testing.assert_allclose(found.deletion, [1, 0.3, 0], atol=1e-6)


def test_curves_run_between_the_image_and_its_baseline():
    baseline = np.full_like(IMAGE, 0.05)
    found = measure(total, IMAGE, baseline, WORTH, rng(), resolution=(2, 4))
    np.testing.assert_allclose([found.deletion[0], found.deletion[-1]], [1, 0.2], atol=1e-6)
    np.testing.assert_allclose([found.insertion[0], found.insertion[-1]], [0.2, 1], atol=1e-6)


def test_an_empty_map_is_worth_nothing_on_average():
    """For a linear scorer both areas of a random order are 1/2 on average, so their difference is 0."""
    generator = rng()
    empty = np.zeros((2, 2), np.float32)
    found = [measure(total, IMAGE, NOTHING, empty, generator, resolution=(2, 4)) for _ in range(400)]
    values = [one.faithfulness for one in found]
    assert abs(np.mean(values)) < 0.03
    assert np.std(values) > 0.05  # it is not one fixed order


def test_squares_are_ranked_by_their_mean():
    # The brightest single pixel lies in the square with the lower mean.
    importance = np.array([[0.9, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]], np.float32)
    ranks = rank_squares(np.vstack([importance, np.full((2, 4), -1, np.float32)]), 2, rng())
    np.testing.assert_array_equal(ranks[:2], [[1, 1, 0, 0], [1, 1, 0, 0]])
    assert set(ranks[2:].ravel()) == {2, 3}


@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 6))
def test_ranks_are_complete_on_sides_that_the_grid_does_not_divide(height, width, grid):
    grid = min(grid, height, width)
    importance = np.random.default_rng(height * width).random((height, width), dtype=np.float32)
    ranks = rank_squares(importance, grid, rng())
    assert ranks.shape == (height, width)
    assert sorted(set(ranks.ravel())) == list(range(grid * grid))


def test_each_step_replaces_its_share():
    seen = []

    def record(images):
        seen.append(images.copy())
        return images.mean(axis=(1, 2, 3))

    ranks = np.arange(16).reshape(4, 4)
    before, after = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)
    curve = replacement_curve(record, before, after, ranks, 4)
    np.testing.assert_allclose(curve, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(seen[0][1][..., 0], ranks < 4)


def test_a_flat_curve_has_the_area_of_its_height():
    flat = Faithfulness(np.full(5, 0.3), np.full(9, 0.3))
    assert flat.deletion_auc == pytest.approx(0.3) and flat.faithfulness == pytest.approx(0)


def test_the_baseline_is_blurred_in_space_and_not_over_colours():
    image = np.random.default_rng(0).random((16, 32, 3), dtype=np.float32)
    expected = gaussian_filter1d(gaussian_filter1d(image, 2.0, axis=0), 2.0, axis=1)
    np.testing.assert_allclose(blurred(image, 1 / 16), expected, atol=1e-5)
    flat = np.full((8, 8, 3), 0.25, np.float32)
    np.testing.assert_allclose(blurred(flat), flat, atol=1e-6)
