"""Faces of every size are found, each once, where the photograph has them."""

import cv2
import numpy as np
import pytest
import skimage.data

from lae_tf.video.faces import detect

CENTRE, SIDE = np.array([224.0, 115.0]), 120.0  # of the astronaut's face, hairline to chin, read off by eye


def resized(image, side):
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if side < len(image) else cv2.INTER_CUBIC)


def place(box):
    return np.array([box.x, box.y])


@pytest.mark.parametrize("side", [128, 512, 1500])
def test_one_face_at_its_place(side):
    boxes = detect(resized(skimage.data.astronaut(), side))
    assert len(boxes) == 1
    scale = side / 512
    assert np.linalg.norm(place(boxes[0]) - scale * CENTRE) < 0.2 * scale * SIDE
    assert 0.75 < boxes[0].side / (scale * SIDE) < 1.25


def test_a_face_that_fills_the_picture():
    side = 1000
    boxes = detect(resized(skimage.data.astronaut()[35:195, 144:304], side))
    assert len(boxes) == 1 and 0.6 * side < boxes[0].side <= 1.1 * side


def test_small_faces_in_a_large_picture_the_largest_first():
    picture = np.full((720, 1280, 3), 128, np.uint8)
    places = {200: (30, 40), 140: (500, 900)}  # faces of 47 and 33 pixels
    for side, (top, left) in places.items():
        picture[top : top + side, left : left + side] = resized(skimage.data.astronaut(), side)
    boxes = detect(picture)
    assert len(boxes) == 2
    for box, (side, (top, left)) in zip(boxes, places.items(), strict=True):
        assert np.linalg.norm(place(box) - (left, top) - CENTRE * side / 512) < 0.25 * SIDE * side / 512


@pytest.mark.parametrize("turn", [-30, 30])
def test_a_tilted_face(turn):
    matrix = cv2.getRotationMatrix2D(CENTRE.tolist(), turn, 1.0)
    turned = cv2.warpAffine(skimage.data.astronaut(), matrix, (512, 512), borderMode=cv2.BORDER_REFLECT)
    assert np.linalg.norm(place(detect(turned)[0]) - CENTRE) < 0.25 * SIDE


@pytest.mark.parametrize(
    "image", [skimage.data.coffee(), np.zeros((1, 1, 3), np.uint8), np.zeros((1, 3000, 3), np.uint8)]
)
def test_no_face(image):
    assert detect(image) == []
