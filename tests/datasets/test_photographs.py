"""The photographs that come with installed packages."""

import numpy as np
import pytest
import skimage.data
import sklearn.datasets

from lae_tf.datasets import photographs
from lae_tf.datasets.photographs import photograph_tiles
from lae_tf.errors import LAEError
from lae_tf.images.files import read_image
from lae_tf.images.photographs import PHOTOGRAPHS, Photograph, read_photograph


def test_photographs_are_those_of_the_packages_own_functions():
    np.testing.assert_array_equal(read_photograph("astronaut"), skimage.data.astronaut())
    np.testing.assert_array_equal(read_photograph("rocket"), skimage.data.rocket())
    np.testing.assert_array_equal(read_photograph("china"), sklearn.datasets.load_sample_image("china.jpg"))


def test_every_photograph_is_in_colour():
    for name in PHOTOGRAPHS:
        image = read_photograph(name).astype(int)
        assert np.abs(image[..., 0] - image[..., 2]).mean() > 3, name


def test_tiles_come_from_their_photograph_do_not_overlap_and_are_not_flat(tmp_path):
    table = photograph_tiles(tmp_path, size=128, seed=1)
    assert list(table.columns) == ["path", "group", "split", "source", "left", "top"]
    coffee = table[table["group"] == "coffee"]["path"]
    # 400 x 600 holds at most 3 x 4 tiles of 128
    assert 8 <= len(coffee) <= 12
    photograph = read_photograph("coffee")
    seen = np.zeros(photograph.shape[:2], int)
    for path in coffee:
        tile = read_image(path)
        assert tile.shape == (128, 128, 3) and tile.std() > 5
        rows, columns = np.where((photograph[: 400 - 127, : 600 - 127] == tile[0, 0]).all(axis=2))
        places = [
            (y, x)
            for y, x in zip(rows, columns, strict=True)
            if np.array_equal(photograph[y : y + 128, x : x + 128], tile)
        ]
        assert len(places) == 1
        y, x = places[0]
        row = table[table["path"] == path].iloc[0]
        assert (row["left"], row["top"]) == (x, y)
        np.testing.assert_array_equal(read_image(row["source"]), photograph)
        seen[y : y + 128, x : x + 128] += 1
    assert seen.max() == 1


def test_a_photograph_belongs_to_one_split_and_val_and_test_have_two_or_more(tmp_path):
    table = photograph_tiles(tmp_path, size=64)
    by_group = table.groupby("group")["split"].nunique()
    assert (by_group == 1).all() and len(by_group) == 10
    photographs_of = table.groupby("split")["group"].nunique()
    assert photographs_of["val"] >= 2 and photographs_of["test"] >= 2
    assert (table["split"] == "train").sum() >= 500 and (table["split"] == "test").sum() >= 100


def test_seed_and_limit_choose_the_tiles(tmp_path):
    first = photograph_tiles(tmp_path / "a", seed=1, limit=5)
    again = photograph_tiles(tmp_path / "b", seed=1, limit=5)
    other = photograph_tiles(tmp_path / "c", seed=2, limit=5)
    assert first.groupby("group").size().tolist() == [5] * 10

    def pixels(table):
        return np.stack([read_image(path) for path in table["path"]])

    np.testing.assert_array_equal(pixels(first), pixels(again))
    assert (pixels(first) != pixels(other)).any()


def test_photograph_missing_from_the_package_is_named(monkeypatch):
    monkeypatch.setitem(photographs.PHOTOGRAPHS, "ghost", Photograph("skimage", "data/ghost.png", "train"))
    with pytest.raises(LAEError, match=r"ghost\.png: is not in the installed skimage"):
        read_photograph("ghost")
