"""Where a tile was cut from its picture: written, read back, and shown with as much again on each side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lae_tf.annotation.surroundings import FILE, Cut, read_surroundings, write_surroundings
from lae_tf.errors import ImageError, UsageError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "source.png"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path, pixels


@given(left=st.integers(0, 39), top=st.integers(0, 29), width=st.integers(1, 40), height=st.integers(1, 30))
def test_the_cut_lies_in_its_view_where_it_is_said_to(source, left, top, width, height):
    path, pixels = source
    cut = Cut(path, left, top, width, height)
    if left + width > 40 or top + height > 30:
        with pytest.raises(ImageError, match="smaller than"):
            cut.read()
        return
    shown, (x, y, _, _) = cut.read(), cut.view()
    inside = shown[top - y :, left - x :][:height, :width]
    np.testing.assert_array_equal(inside, pixels[top : top + height, left : left + width])
    assert (left - x, top - y) == (min(left, width), min(top, height))
    assert shown.shape[1] == min(left, width) + width + min(40 - left - width, width)
    assert shown.shape[0] == min(top, height) + height + min(30 - top - height, height)


def test_written_and_read_back(tmp_path):
    cuts = {
        tmp_path / "data" / 'odd, "name".png': Cut(tmp_path / "photo.png", 0, 1, 2, 3),
        tmp_path / "b.png": Cut(tmp_path / "data" / "c.png", 4, 5, 6, 7),
    }
    write_surroundings(tmp_path / "data", [(str(path), cut) for path, cut in cuts.items()])
    assert read_surroundings(tmp_path / "data") == cuts
    assert read_surroundings(tmp_path) == {}


@pytest.mark.parametrize("place", ["1,2,3", "1,2,3,x", "-1,2,3,4", "1,2,0,4"])
def test_a_damaged_file_is_named(tmp_path, place):
    (tmp_path / FILE).write_text(f"path,source,left,top,width,height\na.png,b.png,1,2,3,4\na.png,b.png,{place}\n")
    with pytest.raises(UsageError, match=rf"{FILE}, row 2: expected"):
        read_surroundings(tmp_path)
