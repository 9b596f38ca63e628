"""Parts of images as training sees them."""

import cv2
import numpy as np
import pandas as pd
import pytest

from lae_tf.data import parts as parts_module
from lae_tf.data.contract import COLUMNS
from lae_tf.data.manifest import Manifest
from lae_tf.data.parts import LEAST_FORGED, cut_parts
from lae_tf.errors import LAEError
from lae_tf.images.files import read_image, read_mask, write_png
from lae_tf.video.faces import Box

SIDE = 32


@pytest.fixture
def manifest(tmp_path):
    """A real image, a fake with a mask in one corner, and a fake without one."""
    rng = np.random.default_rng(0)
    for name in ("real", "masked", "unmasked"):
        write_png(tmp_path / f"{name}.png", rng.integers(0, 256, (120, 200, 3), np.uint8))
    mask = np.zeros((120, 200), np.uint8)
    mask[:40, :60] = 255
    write_png(tmp_path / "mask.png", mask)
    rows = [
        ("real.png", "real", "", "a", "", "train"),
        ("masked.png", "fake", "mask.png", "b", "splice", "train"),
        ("unmasked.png", "fake", "", "c", "splice", "train"),
    ]
    return Manifest.from_frame(pd.DataFrame(rows, columns=list(COLUMNS)), tmp_path)


def test_masks_decide_what_a_window_is_and_a_fake_without_one_gives_none(manifest, tmp_path):
    made = cut_parts(manifest, "windows", SIDE, 0, tmp_path / "cache")
    frame = made.manifest.frame
    assert made.without == 1
    assert set(frame["group"]) == {"a", "b"}
    fakes = frame[frame["label"] == "fake"]
    assert (frame.loc[frame["group"] == "a", "label"] == "real").all()
    assert (fakes["method"] == "splice").all() and (frame.loc[frame["label"] == "real", "method"] == "").all()
    assert set(frame.loc[frame["group"] == "b", "label"]) == {"real", "fake"}
    for path, mask in zip(fakes["path"], fakes["mask"], strict=True):
        marked = read_mask(mask)
        assert marked.shape == read_image(path).shape[:2] and marked.mean() >= LEAST_FORGED


def test_windows_are_pixels_of_the_image_and_of_its_halves(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "WINDOWS_PER_IMAGE", (16, 16))
    made = cut_parts(manifest, "windows", SIDE, 0, tmp_path / "cache")
    mine = made.manifest.frame[made.manifest.frame["group"] == "a"]["path"]
    image = read_image(manifest.frame["path"][0])
    sizes = [read_image(path).shape[:2] for path in mine]
    # Of 120 x 200, 60 x 100 and 30 x 50 pixels, the last with mirrors below; and all of that.
    assert sizes == [(SIDE, SIDE)] * 14 + [(30, 50)]
    for part in map(read_image, mine[:8]):
        _, _, (left, top), _ = cv2.minMaxLoc(cv2.matchTemplate(image, part, cv2.TM_SQDIFF))
        np.testing.assert_array_equal(image[top : top + SIDE, left : left + SIDE], part)


def test_parts_are_the_same_for_a_seed_and_cut_once(manifest, tmp_path, monkeypatch):
    first = cut_parts(manifest, "windows", SIDE, 0, tmp_path / "cache")
    monkeypatch.setattr(parts_module, "read_image", lambda path: pytest.fail("read again"))
    assert cut_parts(manifest, "windows", SIDE, 0, tmp_path / "cache").manifest.frame.equals(first.manifest.frame)
    monkeypatch.undo()
    again = cut_parts(manifest, "windows", SIDE, 0, tmp_path / "elsewhere").manifest.frame
    other = cut_parts(manifest, "windows", SIDE, 1, tmp_path / "cache").manifest.frame
    pixels = [[read_image(path).tobytes() for path in frame["path"]] for frame in (first.manifest.frame, again, other)]
    assert pixels[0] == pixels[1] != pixels[2]


def test_a_mask_that_came_later_counts(manifest, tmp_path):
    cut_parts(manifest, "windows", SIDE, 0, tmp_path / "cache")
    frame = manifest.frame.copy()
    frame.loc[2, "mask"] = frame.loc[1, "mask"]
    assert cut_parts(Manifest(frame, manifest.root), "windows", SIDE, 0, tmp_path / "cache").without == 0


def test_every_face_is_a_part_and_of_a_fake_without_a_mask_the_largest(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "detect", lambda _: [Box(40, 50, 40), Box(150, 60, 25)])
    frame = cut_parts(manifest, "faces", SIDE, 0, tmp_path / "cache").manifest.frame
    assert frame.groupby("group")["label"].agg(list).to_dict() == {
        "a": ["real", "real"],
        "b": ["fake", "real"],  # the mask lies in the corner of the first
        "c": ["fake"],
    }
    assert read_image(frame["path"][0]).shape == (64, 64, 3)  # 40 and the margin of 30 % on each side


def test_nothing_to_train_on_is_said(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "detect", lambda _: [])
    with pytest.raises(LAEError, match="none of 3 images has a face"):
        cut_parts(manifest, "faces", SIDE, 0, tmp_path / "cache")


def test_a_mask_of_another_size_lies_where_its_image_does(manifest, tmp_path):
    """Half as large a mask gives the parts that the mask itself gives."""
    whole = cut_parts(manifest, "windows", SIDE, 0, tmp_path / "cache").manifest.frame
    write_png(tmp_path / "mask.png", read_mask(tmp_path / "mask.png")[::2, ::2] * np.uint8(255))
    half = cut_parts(manifest, "windows", SIDE, 0, tmp_path / "elsewhere").manifest.frame
    assert half["label"].tolist() == whole["label"].tolist()
    pairs = zip(half["mask"], whole["mask"], strict=True)
    assert all((read_mask(one) == read_mask(other)).all() for one, other in pairs if one)


def test_sparse_forgeries_do_not_become_real_where_they_are_made_smaller(manifest, tmp_path):
    sparse = np.zeros((120, 200), np.uint8)
    sparse[::4, ::4] = 255  # one pixel in sixteen: a quarter of the grey of a half
    write_png(tmp_path / "mask.png", sparse)
    frame = cut_parts(manifest, "windows", SIDE, 0, tmp_path / "cache").manifest.frame
    mine = frame[frame["group"] == "b"]
    assert len(mine) and (mine["label"] == "fake").all()
