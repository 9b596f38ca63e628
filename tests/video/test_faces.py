"""Finding and following faces, on a photograph that comes with scikit-image."""

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.video.faces import Box, detect, follow

# Eileen Collins in skimage.data.astronaut(): forehead to chin, ear to ear
FACE = Box(223, 115, 110)


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


def close(box, x, y, side):
    return abs(box.x - x) < 0.2 * side and abs(box.y - y) < 0.2 * side and 0.6 < box.side / side < 1.5


def resized(image, side):
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if side < len(image) else cv2.INTER_CUBIC)


class TestDetect:
    def test_photograph_upright_and_tilted(self, astronaut):
        (found,) = detect(astronaut)
        assert close(found, FACE.x, FACE.y, FACE.side)
        turn = cv2.getRotationMatrix2D((FACE.x, FACE.y), 20, 1.0)
        assert close(detect(cv2.warpAffine(astronaut, turn, (512, 512)))[0], FACE.x, FACE.y, FACE.side)

    def test_large_frames_are_searched_in_small(self, astronaut):
        large = cv2.resize(astronaut, (1536, 1536))
        assert close(detect(large)[0], 3 * FACE.x, 3 * FACE.y, 3 * FACE.side)

    def test_no_face(self):
        assert detect(skimage.data.coffee()) == []
        assert detect(np.zeros((8, 8, 3), np.uint8)) == []

    @pytest.mark.parametrize("side", [128, 512, 1500])
    def test_a_face_of_any_size_is_found_once(self, astronaut, side):
        scale = side / 512
        (found,) = detect(resized(astronaut, side))
        assert close(found, scale * FACE.x, scale * FACE.y, scale * FACE.side)

    def test_a_face_that_fills_the_picture(self, astronaut):
        (found,) = detect(resized(astronaut[35:195, 144:304], 1000))
        assert 600 < found.side < 1100

    def test_small_faces_in_a_large_picture_the_largest_first(self, astronaut):
        picture = np.full((720, 1280, 3), 128, np.uint8)
        places = {200: (30, 40), 140: (500, 900)}  # faces of 43 and 30 pixels
        for side, (top, left) in places.items():
            picture[top : top + side, left : left + side] = resized(astronaut, side)
        for found, (side, (top, left)) in zip(detect(picture), places.items(), strict=True):
            scale = side / 512
            assert close(found, left + scale * FACE.x, top + scale * FACE.y, scale * FACE.side)

    @pytest.mark.parametrize("turn", [-30, 30])
    def test_strongly_tilted(self, astronaut, turn):
        matrix = cv2.getRotationMatrix2D((FACE.x, FACE.y), turn, 1.0)
        turned = cv2.warpAffine(astronaut, matrix, (512, 512), borderMode=cv2.BORDER_REFLECT)
        assert close(detect(turned)[0], FACE.x, FACE.y, FACE.side)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (30, 1000), (40, 40), (500, 500)])
    def test_no_face_in_pictures_of_any_shape(self, shape):
        assert detect(np.zeros((*shape, 3), np.uint8)) == []
        assert detect(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)) == []


class TestBox:
    def test_margin_by_hand(self):
        # side 20 * 1.6 = 32 around (50, 40): rows 24-55, columns 34-65
        assert Box(50, 40, 20).place(100, 200, 0.3) == (24, 34, 32)
        assert Box(0, 99, 20).place(100, 200, 0.0) == (80, 0, 20)

    @given(x=st.floats(-50, 250), y=st.floats(-50, 150), side=st.floats(0.1, 500))
    @pytest.mark.parametrize(("height", "width"), [(1, 9), (60, 120), (120, 60)])
    def test_always_a_square_inside(self, x, y, side, height, width):
        top, left, size = Box(x, y, side).place(height, width)
        assert size > 0 and 0 <= top <= height - size and 0 <= left <= width - size


class TestFollow:
    def test_steady_and_of_one_person(self):
        rng = np.random.default_rng(0)
        times = np.arange(40) / 10
        noise = rng.normal(0, 3, (40, 2))
        main = [Box(100 + 2 * i + dx, 80 + dy, 60) for i, (dx, dy) in enumerate(noise)]
        other = [Box(400, 80, 50)] * 40
        track = follow(times, [[a, b] for a, b in zip(main, other, strict=True)])
        middle = [track.at(time) for time in times[8:-8]]
        off = np.array([box.x - (100 + 2 * i) for i, box in enumerate(middle, 8)])
        assert off.std() < 1.5 < noise[:, 0].std()
        assert np.abs(off).max() < 4

    def test_gaps_are_bridged_and_long_ones_not(self):
        times = [0.0, 1.0, 2.0, 9.0]
        track = follow(times, [[Box(10, 10, 20)], [], [Box(12, 10, 20)], []])
        assert track.at(1.0).x == pytest.approx(11, abs=0.5)
        assert track.at(9.0) is None
        assert follow(times, [[]] * 4).at(0.0) is None

    def test_keeps_its_person_when_another_is_nearer_to_the_camera_later(self):
        found = [[Box(50, 50, 30), Box(200, 50, 29)], [Box(52, 50, 20), Box(200, 50, 29)]]
        assert follow([0.0, 0.1], found).at(0.1).x < 60
