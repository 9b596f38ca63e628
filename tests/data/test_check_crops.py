"""Crops of one picture in different splits are found; other pictures, however alike, are not."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
import sklearn.datasets

from lae_tf.audit import checking
from lae_tf.audit.codes import agreeing, differing_bits
from lae_tf.audit.crops import check_crops, overlap_correlation
from lae_tf.audit.facts import read_facts
from lae_tf.data.manifest import Manifest
from lae_tf.images.files import write_png

SPLITS = ("train", "val", "test")
COLUMNS = ["path", "label", "mask", "group", "method", "split"]


@pytest.fixture(scope="module")
def photographs():
    china, flower = sklearn.datasets.load_sample_images().images
    rocket, motorcycle = skimage.data.rocket(), skimage.data.stereo_motorcycle()[0]
    return [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), china, flower, rocket, motorcycle]


def window(photograph, top, left, side=128, scale=1.0, quality=None):
    crop = photograph[top : top + side, left : left + side]
    assert crop.shape[:2] == (side, side)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=method) if scale != 1 else crop
    if quality is None:
        return crop
    encoded = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


def manifest(folder, rows):
    """Write images given as (name, pixels, split), each in a group of its own unless a fourth value names it."""
    table = []
    for name, pixels, split, *group in rows:
        write_png(folder / f"{name}.png", np.ascontiguousarray(pixels))
        label = "fake" if name.startswith("fake") else "real"
        table.append((f"{name}.png", label, "", *(group or [name]), "m" if label == "fake" else "", split))
    return Manifest.from_frame(pd.DataFrame(table, columns=COLUMNS), folder)


def pairs(folder, rows):
    facts, _ = read_facts(manifest(folder, rows), progress=False)
    found = check_crops(facts, [], progress=False)
    named = [{file.rsplit("/")[-1][:-4] for file in files} for one in found for files in one.files]
    assert all(one.severity == "fault" and one.check == "crops" and one.count == len(one.files) for one in found)
    return {frozenset(pair) for pair in named}


@pytest.mark.parametrize(
    ("down", "right", "scale", "quality"),
    [
        (0, 0, 0.75, 80),
        (20, 25, 1.0, None),  # 68 % of the first
        (64, 0, 1.0, 85),  # 50 %
        (0, 50, 1.35, 75),  # 61 %
        (40, 40, 0.8, 90),  # 47 %
        (60, 60, 1.0, None),  # 28 %
    ],
)
def test_overlapping_windows_are_found_though_scaled_and_compressed(tmp_path, photographs, down, right, scale, quality):
    rows = []
    for number, photograph in enumerate(photographs):
        top, left = 80, 160
        rows.append((f"{number}a", window(photograph, top, left), "train"))
        rows.append(
            (f"{number}b", window(photograph, top + down, left + right, 128, scale, quality), SPLITS[1 + number % 2])
        )
    found = pairs(tmp_path, rows)
    assert found <= {frozenset((f"{number}a", f"{number}b")) for number in range(len(photographs))}
    assert len(found) >= len(photographs) - 2  # the blurred ground of two photographs has hardly a feature


def test_four_crops_of_each_photograph_over_all_splits(tmp_path, photographs):
    rows = [
        (f"{number}-{k}", window(photograph, 20 + 40 * k, 100 + 30 * k, 160), SPLITS[k % 3])
        for number, photograph in enumerate(photographs)
        for k in range(4 if photograph.shape[0] > 310 else 3)
    ]
    found = pairs(tmp_path, rows)
    assert all(len({name.split("-")[0] for name in pair}) == 1 for pair in found)
    neighbours = [{f"{n}-{k}", f"{n}-{k + 1}"} for n in range(len(photographs)) for k in range(2)]
    assert sum(frozenset(pair) in found for pair in neighbours) >= len(neighbours) - 1


def test_crops_in_one_split_and_windows_that_do_not_overlap_are_no_leak(tmp_path, photographs):
    rows = []
    for number, photograph in enumerate(photographs):
        rows.append((f"{number}a", window(photograph, 10, 10, 130), "train"))
        rows.append((f"{number}b", window(photograph, 30, 40, 130), "train"))
        rows.append((f"{number}c", window(photograph, 165, 175, 130), "val"))
    assert pairs(tmp_path, rows) == set()


def test_a_group_is_named_once_and_by_its_real_image(tmp_path, photographs):
    source, other = window(photographs[0], 80, 160), window(photographs[0], 100, 180)

    def edited(image, value):
        image = image.copy()
        image[50:75, 40:70] = value
        return image

    rows = [("a", source, "train", "a"), ("b", other, "test", "b")]
    rows += [(f"fake-a{value}", edited(source, value), "train", "a") for value in (0, 90, 200)]
    rows += [(f"fake-b{value}", edited(other, value), "test", "b") for value in (0, 90, 200)]
    assert pairs(tmp_path, rows) == {frozenset("ab")}
    facts, _ = read_facts(manifest(tmp_path, rows), progress=False)
    assert check_crops(facts, [(str(tmp_path / "fake-a0.png"), str(tmp_path / "b.png"))], progress=False) == []


def test_a_patch_pasted_into_another_picture_is_no_crop(tmp_path, photographs):
    """They share features in one geometry, but what surrounds these is not the same."""
    first, second = window(photographs[0], 0, 160), window(photographs[3], 200, 200)
    pasted = second.copy()
    pasted[30:90, 30:90] = first[30:90, 30:90]
    assert pairs(tmp_path, [("a", first, "train"), ("b", pasted, "test"), ("c", second, "test")]) == set()


def test_flat_and_few_pictures(tmp_path):
    flat = np.full((64, 64, 3), 90, np.uint8)
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2) * 3
    assert pairs(tmp_path, [("a", flat, "train"), ("b", flat, "test")]) == set()
    assert pairs(tmp_path, [("a", ramp, "train"), ("b", ramp.transpose(1, 0, 2), "test")]) == set()


def test_correlation_where_they_overlap(photographs):
    grey = cv2.cvtColor(photographs[0], cv2.COLOR_RGB2GRAY)
    first, second = grey[:200, :200], grey[50:250, 30:230]
    nearly = np.array([[1.0, 0.0, -31.5], [0.0, 1.0, -49.0]])  # off by 1.5 pixels to the left and 1 down
    assert overlap_correlation(first, second, nearly) > 0.99
    assert overlap_correlation(first, grey[300:500, 300:500], nearly) < 0.5
    away = np.array([[1.0, 0.0, -190.0], [0.0, 1.0, -190.0]])
    assert overlap_correlation(first, second, away) == 0


def test_codes_by_hand():
    codes = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    assert differing_bits(codes, codes[::-1].copy()).tolist() == [64, 2, 2, 64]
    assert differing_bits(codes, np.uint64(0)).tolist() == [0, 1, 1, 64]
    found = {tuple(sorted(pair)) for rows in agreeing(np.array([5, 7, 5, 7, 5])) for pair in zip(*rows, strict=True)}
    assert found == {(0, 2), (0, 4), (2, 4), (1, 3)}


def test_the_verb_tells_and_shows_them(tmp_path, photographs, lae_tf_command, monkeypatch):
    monkeypatch.setattr(checking, "measure_giveaways", lambda facts: [])
    rows = [("a", window(photographs[0], 80, 160), "train"), ("b", window(photographs[0], 110, 190), "test")]
    rows += [
        (f"fake-{split}", window(photographs[i + 1], 100, 100), split) for i, split in enumerate(("train", "test"))
    ]
    manifest(tmp_path, rows).write(tmp_path / "m.csv")
    page = tmp_path / "check.html"
    code, out, _ = lae_tf_command("check-data", tmp_path / "m.csv", "--html", page)
    assert code == 1 and "crops: 1 pair of pictures in different splits that overlap" in out
    assert f"{tmp_path}/a.png ~ {tmp_path}/b.png" in out
    assert "Fault: crops" in page.read_text() and f"{tmp_path}/a.png ~ {tmp_path}/b.png" in page.read_text()
    code, out, _ = lae_tf_command("check-data", tmp_path / "m.csv", "--json")
    (one,) = [one for one in json.loads(out)["findings"] if one["check"] == "crops"]
    assert one["severity"] == "fault" and one["files"] == [[str(tmp_path / "a.png"), str(tmp_path / "b.png")]]
