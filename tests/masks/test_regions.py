"""Regions of a map: boxes, areas and scores by hand."""

import numpy as np
import pytest

from lae_tf.images.scaled_map import ScaledMap
from lae_tf.masks.regions import find_regions, marked


def regions_of(values, height, width):
    attention = ScaledMap(values, height, width)
    return find_regions(attention, marked(attention))


def test_a_block_at_twice_its_resolution():
    values = np.zeros((10, 10))
    values[2:5, 3:7] = 1
    (region,) = regions_of(values, 20, 20)
    # The outermost pixels of the block are a quarter of the way out, at 0.75, its corners at 0.75 ** 2 > 0.5; the next
    # ones are at 0.25.
    assert region.record()["box"] == [6, 4, 8, 6] and region.area == 48
    assert region.share == pytest.approx(48 / 400)
    assert region.score == pytest.approx((0.75 + 6 + 0.75) / 8 * (0.75 + 4 + 0.75) / 6) and region.peak == 1
    expected = np.zeros((20, 20))
    expected[4:10, 6:14] = 1
    np.testing.assert_array_equal(region.on_image(20, 20), expected)
    assert region.mask.shape == (6, 8)


def test_the_image_may_have_another_shape_than_the_map():
    values = np.zeros((4, 4))
    values[1, 2] = 1
    (region,) = regions_of(values, 8, 16)
    # Across, four pixels for one of the map: 1/8 and 3/8 from its centre, and 5/8, which is too far, beyond. Down, two:
    # both 1/4 away. The corners of these have (1 - 3/8) * (1 - 1/4) = 0.47.
    assert region.box == (9, 2, 2, 2)
    assert region.score == region.peak == pytest.approx(7 / 8 * 3 / 4)


def test_what_touches_at_a_corner_is_one_region():
    values = np.diag([1.0, 1, 0, 1])
    first, second = regions_of(values, 4, 4)
    assert (first.box, first.area) == ((0, 0, 2, 2), 2) and (second.box, second.area) == ((3, 3, 1, 1), 1)
    np.testing.assert_array_equal(first.mask, np.eye(2))


def test_the_most_suspicious_area_comes_first_and_the_smallest_are_left_out():
    values = np.zeros((100, 100))
    values[0, :10] = 0.9  # 10 pixels, 9 of score times area
    values[50, :20] = 0.6  # 20 pixels, 12
    values[99, :9] = 1  # less than a thousandth of the image
    values[70:, 70:] = 0.5  # not above the level
    found = regions_of(values, 100, 100)
    assert [(region.box, round(region.score, 3)) for region in found] == [((0, 50, 20, 1), 0.6), ((0, 0, 10, 1), 0.9)]


def test_nothing_and_everything():
    assert regions_of(np.zeros((4, 4)), 30, 40) == []
    (region,) = regions_of(np.ones((4, 4)), 30, 40)
    assert (region.box, region.area, region.share) == ((0, 0, 40, 30), 1200, 1)
