"""Filling polygons, against pycocotools and matplotlib; and outlines of masks."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pycocotools import mask as cocotools

from lae_tf.masks.polygons import fill_polygon, outline

HEIGHT, WIDTH = 20, 30
# Eighths in x and thirds in y keep vertices away from pixel centres (halves), where inside is a matter of convention.
points = st.lists(
    st.tuples(st.integers(-40, 280).map(lambda n: n / 8 + 0.01), st.integers(-20, 80).map(lambda n: n / 3)),
    min_size=3,
    max_size=9,
)


def test_one_pixel():
    mask = fill_polygon(np.array([[3, 4], [4, 4], [4, 5], [3, 5]]), HEIGHT, WIDTH)
    assert mask.dtype == np.uint8
    assert np.argwhere(mask).tolist() == [[4, 3]]


def test_less_than_half_a_pixel_is_nothing():
    assert not fill_polygon(np.array([[3.6, 4], [4, 4], [4, 5], [3.6, 5]]), HEIGHT, WIDTH).any()


@given(st.integers(-5, WIDTH), st.integers(-5, HEIGHT), st.integers(1, WIDTH), st.integers(1, HEIGHT), st.booleans())
def test_rectangles_along_pixel_edges_are_exact(x, y, w, h, clockwise):
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = 1
    np.testing.assert_array_equal(fill_polygon(corners if clockwise else corners[::-1], HEIGHT, WIDTH), expected)


def even_odd(polygon: np.ndarray, x: float, y: float) -> bool:
    """Count the edges that a ray from the point to the right crosses."""
    crossed = 0
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            crossed += 1
    return crossed % 2 == 1


@settings(max_examples=40)
@given(points)
def test_any_polygon_follows_the_even_odd_rule(polygon):
    polygon = np.array(polygon)
    mask = fill_polygon(polygon, HEIGHT, WIDTH)
    expected = [[even_odd(polygon, x + 0.5, y + 0.5) for x in range(WIDTH)] for y in range(HEIGHT)]
    # A crossing within rounding of a centre may fall on either side.
    assert (mask != np.array(expected)).sum() == 0


def ellipse() -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([14.3 + 11.1 * np.cos(angle), 9.7 + 7.3 * np.sin(angle)], axis=1)


def test_points_far_away_do_not_overflow():
    """A triangle with a side of 2e308 along y = 5, whose tip is below: it covers all rows from there on."""
    mask = fill_polygon(np.array([[-1e308, 5], [1e308, 5], [3, 1e308]]), HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask[:5], 0)
    np.testing.assert_array_equal(mask[5:], 1)


def test_simple_outline_agrees_with_matplotlib():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centres = np.stack([x.ravel(), y.ravel()], axis=1) + 0.5
    expected = Outline(ellipse()).contains_points(centres).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(fill_polygon(ellipse(), HEIGHT, WIDTH), expected)


def test_curved_outline_agrees_with_pycocotools_but_for_the_border():
    mask = fill_polygon(ellipse(), HEIGHT, WIDTH)
    (code,) = cocotools.frPyObjects([ellipse().ravel().tolist()], HEIGHT, WIDTH)
    assert (mask != cocotools.decode(code)).sum() <= 0.03 * mask.sum()


@given(st.integers(1, 12), st.integers(1, 12))
def test_the_outline_of_a_rectangle_is_its_corners(width, height):
    points = outline(np.ones((height, width), np.uint8))
    assert sorted(map(tuple, points)) == [(0, 0), (0, height), (width, 0), (width, height)]


def test_pixels_that_touch_at_a_corner_have_one_outline_around_them():
    points = outline(np.eye(2, dtype=np.uint8))
    np.testing.assert_array_equal(fill_polygon(points, 2, 2), np.eye(2))


def test_holes_are_filled():
    ring = np.ones((9, 9), np.uint8)
    ring[3:6, 3:6] = 0
    assert fill_polygon(outline(ring), 9, 9).all()


@pytest.mark.parametrize("radius", [5, 50, 500])
def test_the_outline_of_a_disc_follows_it_by_few_points(radius):
    side = 2 * radius + 3
    disc = np.zeros((side, side), np.uint8)
    cv2.circle(disc, (radius + 1, radius + 1), radius, 1, -1)
    points = outline(disc)
    assert len(points) <= 60
    # Half a pixel, or a 500th of the side, all along the circumference.
    allowed = 2 * np.pi * radius * max(0.5, side / 500)
    assert np.count_nonzero(fill_polygon(points, side, side) != disc) <= allowed
