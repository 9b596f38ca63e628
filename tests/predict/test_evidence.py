"""Evidence at the size of the file, written from maps that are given."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from lae_tf.errors import ImageError, UsageError
from lae_tf.images.files import read_image, read_mask
from lae_tf.masks.coco_file import CocoFile, decode_segmentation
from lae_tf.predict.evidence import EvidenceWriter, overlay_on_file
from lae_tf.predict.evidence_places import EvidencePlaces
from lae_tf.predict.images import Prediction
from lae_tf.report.panels import overlay

BLOCK = np.zeros((3, 4), np.float32)
BLOCK[1, 2] = 1
"""One cell of twelve. On 400 x 300 pixels it spans columns 200 to 299 and rows 100 to 199."""


def prediction(path, attention, size):
    return Prediction(
        str(path), 0.9, "fake", 2.0, 0.5, verdict="unsure", attention=np.asarray(attention, np.float32), size=size
    )


@pytest.fixture
def photo(tmp_path):
    """A photograph of 400 x 300 pixels."""
    ramp = np.linspace(0, 255, 400).astype(np.uint8)
    Image.fromarray(np.tile(ramp, (300, 1))).convert("RGB").save(tmp_path / "photo.jpg", quality=95)
    return tmp_path / "photo.jpg"


def test_all_files_of_one_image(photo, tmp_path):
    places = EvidencePlaces(
        heatmaps=tmp_path / "h", masks=tmp_path / "m", maps=tmp_path / "r", regions=tmp_path / "new" / "found.json"
    )
    writer = EvidenceWriter(places, [str(photo)])
    record = writer.add(prediction(photo, BLOCK, (300, 400)))
    assert (record["width"], record["height"]) == (400, 300)
    assert [record[kind] for kind in ("heatmap", "mask", "map")] == [str(tmp_path / f"{d}/photo.png") for d in "hmr"]
    with Image.open(record["heatmap"]) as drawn:
        assert drawn.size == (400, 300) and drawn.mode == "RGB"
        assert (drawn.getpixel((10, 10)) == np.full(3, drawn.getpixel((10, 10))[0])).all()  # untouched: grey
        red, _, blue = drawn.getpixel((250, 150))
        assert red - blue > 60  # marked: yellow
    with Image.open(record["mask"]) as mask:
        assert mask.size == (400, 300) and mask.mode == "L"
        values = np.asarray(mask)
    assert set(np.unique(values)) == {0, 255}
    # Between the centre of the cell, 1, and those around it, 0, the map falls to 0.5 at the cell's edge.
    (region,) = record["regions"]
    assert region["box"] == [200, 100, 100, 100] and region["peak"] == pytest.approx(1, abs=0.02)
    assert region["area"] == (values == 255).sum() and region["share"] == round(region["area"] / 120_000, 6)
    # Within it the mask is where (1 - u)(1 - v) > 1/2, u and v the distances from the centre: in each quarter the
    # integral of 1 - 1 / (2 p) for p from 1/2 to 1.
    assert region["area"] / 10_000 == pytest.approx(4 * (1 - np.log(2)) / 2, abs=0.005)
    assert not (tmp_path / "new").exists()
    writer.finish()
    (listed,) = json.loads((tmp_path / "new" / "found.json").read_text())
    assert listed["regions"] == record["regions"] and listed["mask"] == record["mask"]
    assert (listed["path"], listed["verdict"], listed["score"]) == (str(photo), "unsure", 0.9)


def test_raw_maps_come_back(photo, tmp_path):
    attention = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    attention[0, :2] = 0, 1
    record = EvidenceWriter(EvidencePlaces(maps=tmp_path), [str(photo)]).add(prediction(photo, attention, (300, 400)))
    with Image.open(record["map"]) as stored:
        values = np.asarray(stored)
    assert (values[0, :2] == (0, 65535)).all()
    np.testing.assert_allclose(values / 65535, attention, atol=0.5 / 65535 + 1e-7)


def test_nothing_is_written_that_was_not_asked_for(photo, tmp_path):
    writer = EvidenceWriter(EvidencePlaces(), [str(photo)])
    assert set(writer.add(prediction(photo, BLOCK, (300, 400)))) == {"width", "height", "regions"}
    writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(("max_side", "size"), [(None, (400, 300)), (100, (100, 75)), (401, (400, 300))])
def test_the_longer_side_of_heatmaps(photo, max_side, size):
    drawn = overlay_on_file(str(photo), BLOCK, max_side)
    assert drawn.shape == (size[1], size[0], 3)


def test_a_rotated_photograph_is_upright(tmp_path):
    stored = np.zeros((30, 40, 3), np.uint8)
    stored[:, :20] = 255  # its left half is the upper half, turned by 90 degrees
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    drawn = overlay_on_file(str(tmp_path / "turned.png"), np.zeros((2, 2)))
    np.testing.assert_array_equal(drawn[:20], 255)
    np.testing.assert_array_equal(drawn[20:], 0)
    assert drawn.shape == (40, 30, 3)


def test_alpha_is_dropped(tmp_path):
    pixels = np.full((6, 9, 4), 200, np.uint8)
    pixels[..., 3] = 0
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    heat = np.full((6, 9), 0.3)
    drawn = overlay_on_file(str(tmp_path / "clear.png"), heat)
    np.testing.assert_array_equal(drawn, overlay(np.full((6, 9, 3), np.float32(200 / 255)), heat))


def test_an_image_that_is_gone_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        overlay_on_file(str(tmp_path / "gone.png"), BLOCK)


def test_a_name_that_does_not_say_the_format(tmp_path):
    with pytest.raises(UsageError, match=r"found\.txt: expected a name that ends in \.json, \.csv or \.coco\.json"):
        EvidenceWriter(EvidencePlaces(regions=tmp_path / "found.txt"), [])


@pytest.fixture
def two(tmp_path):
    """Two predictions: regions of 2 x 2 and 1 x 3 pixels on 8 x 6, and none on 5 x 5."""
    values = np.zeros((6, 8))
    values[0:2, 0:2], values[3, 4:7] = 1, 0.75
    return [prediction("a/x.png", values, (6, 8)), prediction("b/x.png", np.zeros((5, 5)), (5, 5))]


def written(path: Path, predictions):
    writer = EvidenceWriter(EvidencePlaces(regions=path), [one.path for one in predictions])
    for one in predictions:
        writer.add(one)
    writer.finish()
    return path


def test_regions_as_csv(two, tmp_path):
    with written(tmp_path / "FOUND.CSV", two).open(newline="") as file:
        rows = list(csv.DictReader(file))
    image = {"path": "a/x.png", "width": "8", "height": "6", "label": "fake", "verdict": "unsure", "image_score": "0.9"}
    names = ("x", "y", "region_width", "region_height", "area", "share", "score", "peak")
    assert rows == [
        {**image, **dict(zip(names, values, strict=True))}
        for values in (
            ("0", "0", "2", "2", "4", "0.083333", "1.0", "1.0"),
            ("4", "3", "3", "1", "3", "0.0625", "0.75", "0.75"),
        )
    ]


def test_regions_as_coco(two, tmp_path):
    path = written(tmp_path / "found.coco.json", two)
    content = json.loads(path.read_text())
    assert content["categories"] == [{"id": 1, "name": "forged", "supercategory": ""}]
    first, second = content["images"]
    assert first == {"id": 1, "file_name": "a/x.png", "width": 8, "height": 6, "verdict": "unsure", "score": 0.9}
    assert (second["id"], second["file_name"]) == (2, "b/x.png")
    boxes = [
        (one["id"], one["image_id"], one["category_id"], one["bbox"], one["area"], one["score"])
        for one in content["annotations"]
    ]
    assert boxes == [(1, 1, 1, [0, 0, 2, 2], 4, 1.0), (2, 1, 1, [4, 3, 3, 1], 3, 0.75)]
    assert all(one["segmentation"]["size"] == [6, 8] and one["iscrowd"] == 1 for one in content["annotations"])
    # Read back by our own reader and by COCO's.
    image, _ = CocoFile.read(path).images
    union = sum(decode_segmentation(region.segmentation, 6, 8) for region in image.regions)
    np.testing.assert_array_equal(union, two[0].attention > 0.5)
    coco = COCO(str(path))
    np.testing.assert_array_equal(sum(map(coco.annToMask, coco.loadAnns(coco.getAnnIds([1])))), union)


def test_a_mask_is_one_that_training_reads(photo, tmp_path):
    record = EvidenceWriter(EvidencePlaces(masks=tmp_path / "m"), [str(photo)]).add(
        prediction(photo, BLOCK, (300, 400))
    )
    assert read_mask(record["mask"])[150, 250] == 1 and read_mask(record["mask"]).shape == (300, 400)
    assert read_image(record["mask"]).max() == 255
