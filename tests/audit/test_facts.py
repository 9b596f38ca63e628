"""What is measured of a file, and how near-duplicates are found."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lae_tf.audit.duplicates import DISTANCE, near_duplicates
from lae_tf.audit.facts import image_facts, mask_facts, perceptual_hash
from lae_tf.images.files import write_png


def textured(seed, height=64, width=80):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95])
def test_jpeg_quality_is_read_off_the_tables(tmp_path, quality):
    file = tmp_path / "a.jpg"
    Image.fromarray(textured(0)).save(file, quality=quality, subsampling=2)
    facts = image_facts(str(file))
    assert facts["jpeg_quality"] == pytest.approx(quality, abs=1)
    assert (facts["is_jpeg"], facts["is_png"], facts["subsampling"], facts["tables"]) == (1, 0, 2, 2)
    assert (facts["width"], facts["height"], facts["bytes"]) == (80, 64, file.stat().st_size)


def test_a_png_has_no_tables_and_its_numbers_are_those_of_its_pixels(tmp_path):
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 40  # saturation: 200 - 0
    write_png(tmp_path / "a.png", image)
    facts = image_facts(str(tmp_path / "a.png"))
    assert (facts["red"], facts["green"], facts["blue"], facts["saturation"]) == (200, 0, 40, 200)
    assert facts["jpeg_quality"] == facts["tables"] == 0 and facts["is_png"] == 1
    assert facts["contrast"] == facts["laplacian"] == facts["gradient"] == facts["noise"] == 0
    assert facts["hash"] == -1  # a flat picture resembles every other


def test_noise_is_its_standard_deviation(tmp_path):
    grey = np.clip(np.random.default_rng(0).normal(128, 10, (200, 200)), 0, 255)
    write_png(tmp_path / "a.png", np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2))
    assert image_facts(str(tmp_path / "a.png"))["noise"] == pytest.approx(10, rel=0.05)


def test_blockiness_sees_a_compression_that_the_file_does_not_tell(tmp_path):
    values = []
    for quality in (None, 95, 40, 15):
        image = cv2.GaussianBlur(textured(1, 160, 160), (0, 0), 1)
        if quality:
            image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
        write_png(tmp_path / "a.png", image)
        values.append(image_facts(str(tmp_path / "a.png"))["blockiness"])
    assert abs(values[0]) < 0.2 and values[3] > values[2] > 0.3


def test_mask_facts_by_hand(tmp_path):
    mask = np.zeros((10, 20), np.uint8)
    mask[:5, :8], mask[5, :10] = 255, 60  # 40 forged, 10 in between, of 200
    write_png(tmp_path / "m.png", mask)
    expected = {"mask_width": 20, "mask_height": 10, "mask_share": 0.2, "mask_between": 0.05}
    assert mask_facts(str(tmp_path / "m.png")) == pytest.approx(expected)
    write_png(tmp_path / "m.png", (mask > 100).astype(np.uint8))  # in 0 and 1
    assert mask_facts(str(tmp_path / "m.png"))["mask_between"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_hash_survives_compression_and_scaling_but_tells_pictures_apart(seed):
    grey = cv2.cvtColor(textured(seed), cv2.COLOR_RGB2GRAY)
    smaller = cv2.resize(grey, (56, 45), interpolation=cv2.INTER_AREA)
    compressed = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)
    other = cv2.cvtColor(textured(seed + 50), cv2.COLOR_RGB2GRAY)
    distances = [(perceptual_hash(grey) ^ perceptual_hash(one)).bit_count() for one in (smaller, compressed, other)]
    assert max(distances[:2]) <= DISTANCE < 15 < distances[2]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_every_pair_across_splits_within_the_distance_is_found(seed, count):
    """Against comparing all with all; hashes come in families that differ by up to 8 bits."""
    rng = np.random.default_rng(seed)
    families = rng.integers(0, 2**63 - 1, 4)
    hashes, seen = [], set()
    while len(hashes) < count:
        value = int(rng.choice(families))
        for bit in rng.choice(63, rng.integers(0, 9), replace=False):
            value ^= 1 << int(bit)
        split = str(rng.choice(("train", "val", "test")))
        if (value, split) not in seen:
            seen.add((value, split))
            hashes.append((value, split))
    table = pd.DataFrame(hashes, columns=["hash", "split"])
    table["path"] = [str(number) for number in range(count)]
    table["thumbnail"] = [np.zeros(192, np.uint8)] * count
    expected = {
        (str(i), str(j))
        for i in range(count)
        for j in range(i + 1, count)
        if hashes[i][1] != hashes[j][1] and (hashes[i][0] ^ hashes[j][0]).bit_count() <= DISTANCE
    }
    assert set(near_duplicates(table)) == expected


def test_pictures_of_one_hash_but_other_colours_are_no_duplicates():
    table = pd.DataFrame({"hash": [7, 7], "split": ["train", "test"], "path": ["a", "b"]})
    table["thumbnail"] = [np.full(192, 100, np.uint8), np.full(192, 130, np.uint8)]
    assert near_duplicates(table) == []
    table["thumbnail"] = [np.full(192, 100, np.uint8), np.full(192, 105, np.uint8)]
    assert near_duplicates(table) == [("a", "b")]
