"""The parts of a face, where a photograph of known geometry has them."""

import importlib.util

import cv2
import numpy as np
import pytest
import skimage.data

from lae_tf.errors import MissingExtraError
from lae_tf.video import landmarks
from lae_tf.video.landmarks import (
    LEFT_BROW,
    LEFT_EYE,
    MOUTH,
    NOSE,
    OUTLINE,
    PARTS,
    POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    face_region,
    find_landmarks,
)


@pytest.fixture(scope="module")
def face():
    """Eileen Collins' face with its surroundings, 256 pixels a side."""
    return np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])


@pytest.fixture(scope="module")
def points(face):
    return find_landmarks(face)


def eye_distance(points):
    return np.linalg.norm(points[list(LEFT_EYE)].mean(axis=0) - points[list(RIGHT_EYE)].mean(axis=0))


def error(found, expected):
    """Mean distance as a share of the distance between the eyes."""
    return np.linalg.norm(found - expected, axis=-1).mean() / eye_distance(expected)


def test_the_parts_lie_where_the_photograph_shows_them(points):
    assert points.shape == (POINTS, 2) and points.dtype == np.float32
    # read off the photograph by eye: pupils, tip of the nose, corners of the mouth, chin
    by_eye = {LEFT_EYE: (106, 101), RIGHT_EYE: (150, 103), (4,): (127, 126)}
    by_eye |= {(61,): (105, 139), (291,): (150, 139), (152,): (129, 178)}
    for indices, place in by_eye.items():
        assert np.linalg.norm(points[list(indices)].mean(axis=0) - place) < 6, indices
    middle = {name: points[list(indices)].mean(axis=0) for name, indices in PARTS.items()}
    assert middle["eyes-and-nose"][1] < middle["below-brows"][1] < middle["mouth"][1]
    assert points[list(LEFT_BROW)][:, 1].mean() < points[list(LEFT_EYE)][:, 1].mean()
    assert points[list(RIGHT_BROW)][:, 1].mean() < points[list(RIGHT_EYE)][:, 1].mean()


def test_the_outline_surrounds_every_part(points):
    outline = points[list(OUTLINE)].reshape(-1, 1, 2)
    for indices in (LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, NOSE, MOUTH):
        for x, y in points[list(indices)]:
            assert cv2.pointPolygonTest(outline, (float(x), float(y)), False) > 0
    # clockwise in a picture, whose y points down: the shoelace sum is positive
    x, y = points[list(OUTLINE)].T
    assert np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)) > 0


@pytest.mark.parametrize("turn", [-25, 12, 30])
def test_they_turn_with_the_image(face, points, turn):
    matrix = cv2.getRotationMatrix2D((128, 120), turn, 1.0)
    turned = cv2.warpAffine(face, matrix, (256, 256), borderMode=cv2.BORDER_REFLECT)
    assert error(find_landmarks(turned), points @ matrix[:, :2].T + matrix[:, 2]) < 0.06


def test_they_move_with_the_image_and_grow_with_it(face, points):
    canvas = np.full((400, 480, 3), 128, np.uint8)
    canvas[100:356, 150:406] = face
    assert error(find_landmarks(canvas), points + np.array([150, 100])) < 0.04
    # pixels are squares around their coordinates, so twice the size takes 0 to 0.5
    double = cv2.resize(face, (512, 512), interpolation=cv2.INTER_LINEAR)
    assert error(find_landmarks(double), 2 * points + 0.5) < 0.04
    half = cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)
    assert error(find_landmarks(half), points / 2 - 0.25) < 0.04


def test_left_and_right_change_places_in_a_mirror(face, points):
    mirrored = find_landmarks(np.ascontiguousarray(face[:, ::-1]))
    for left, right in ((LEFT_EYE, RIGHT_EYE), (LEFT_BROW, RIGHT_BROW)):
        expected = points[list(right)] * (-1, 1) + (255, 0)
        # the lists follow the same order on both sides
        assert np.linalg.norm(mirrored[list(left)] - expected, axis=1).mean() < 0.08 * eye_distance(points)
    outline = points[list(OUTLINE)][::-1] * (-1, 1) + (255, 0)  # the other way round, from the same forehead
    assert np.linalg.norm(mirrored[list(OUTLINE)] - np.roll(outline, 1, axis=0), axis=1).mean() < 8


def test_the_largest_face_is_taken(face):
    canvas = np.full((256, 400, 3), 128, np.uint8)
    canvas[:, :256] = face
    canvas[:128, 270:398] = cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)
    assert find_landmarks(canvas)[:, 0].max() < 256


@pytest.mark.parametrize(
    "image", [skimage.data.coffee(), np.zeros((64, 64, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)]
)
def test_no_face(image):
    assert find_landmarks(image) is None


def test_regions_are_the_hulls_of_their_points(points):
    face = face_region(points, "face", 256, 256)
    assert set(np.unique(face)) == {0, 1}
    x, y = points[list(OUTLINE)].T
    enclosed = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))  # shoelace formula
    assert face.sum() == pytest.approx(enclosed, rel=0.06)
    for part in ("below-brows", "eyes-and-nose", "mouth"):
        region = face_region(points, part, 256, 256)
        assert 0 < region.sum() < 0.9 * face.sum() and (face[region > 0] == 1).mean() > 0.98
    assert face_region(points, "face", 256, 256, 0.5).sum() == pytest.approx(face.sum() / 4, rel=0.06)
    forehead, chin = points[10], points[152]
    below = face_region(points, "below-brows", 256, 256)
    assert not below[int(forehead[1]) + 2, int(forehead[0])] and below[int(chin[1]) - 3, int(chin[0])]


def test_without_the_weights_the_extra_is_named(monkeypatch):
    landmarks._network.cache_clear()
    monkeypatch.setattr(landmarks, "_known", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"parts of a face needs the extra 'video': .+ run pip install '\.\[video\]'"
    ):
        find_landmarks(np.zeros((64, 64, 3), np.uint8))
