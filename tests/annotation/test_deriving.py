"""Masks by differencing: where a fake differs, not where it was compressed, and never over another mask."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import data

from lae_tf.annotation.deriving import derive_masks
from lae_tf.cli.masks import command
from lae_tf.data.contract import COLUMNS
from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError, ProblemsError, UsageError
from lae_tf.masks.differencing import Differencing, difference_mask

SIDE = 128
FLAT = np.full((SIDE, SIDE, 3), 90, np.uint8)


def forge(image, box, by=(100, 0, 0)):
    top, left, bottom, right = box
    forged = image.astype(int)
    forged[top:bottom, left:right] += by
    region = np.zeros(image.shape[:2], bool)
    region[top:bottom, left:right] = True
    return forged.clip(0, 255).astype(np.uint8), region


def recompressed(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def iou(mask, region):
    return (mask & region).sum() / (mask | region).sum()


# Anywhere, or from close to one edge of the image to close to the other.
spans = st.tuples(st.integers(0, 100), st.integers(10, SIDE)).map(lambda span: (span[0], min(sum(span), SIDE)))
spans |= st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda gaps: (gaps[0], SIDE - gaps[1]))
boxes = st.tuples(spans, spans).map(lambda box: (box[0][0], box[1][0], box[0][1], box[1][1]))


@given(boxes, st.sampled_from([(100, 0, 0), (0, -80, 0), (0, 0, 165), (-60, -60, -60)]))
def test_a_changed_rectangle_is_found_within_two_pixels(box, by):
    fake, region = forge(FLAT, box, by)
    mask = difference_mask(fake, FLAT)
    assert mask.dtype == np.uint8
    assert mask.shape == (SIDE, SIDE)
    # Blurred by sigma 1, a step of at most 165 levels is under 6 from 1.80 pixels on: the third pixel centre
    # beyond an edge is at 2.5, so at most two pixels are gained. Corners are rounded off by less than two.
    beyond = ndimage.binary_dilation(region, np.ones((3, 3)), iterations=2)
    within = ndimage.binary_erosion(region, np.ones((3, 3)), iterations=2)
    assert not (mask.astype(bool) & ~beyond).any()
    assert not (within & ~mask.astype(bool)).any()


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_gaps_at_the_edge_stay_open_as_gaps_within_a_region_do_not(gap):
    parameters = Differencing(blur=0, smallest_area=1)
    fake, region = forge(FLAT, (gap, gap, SIDE - gap, SIDE - gap))
    region[[gap, gap, -1 - gap, -1 - gap], [gap, -1 - gap, gap, -1 - gap]] = False  # corners are single pixels
    np.testing.assert_array_equal(difference_mask(fake, FLAT, parameters), region)
    fake[:, 60 : 60 + gap] = 90
    np.testing.assert_array_equal(difference_mask(fake, FLAT, parameters)[40:90, 50:70], 1)


def test_equal_images_differ_nowhere():
    assert not difference_mask(data.astronaut()[:SIDE, :SIDE], data.astronaut()[:SIDE, :SIDE]).any()


def test_the_largest_channel_counts():
    fake, _ = forge(FLAT, (20, 20, 60, 60), (0, 0, 40))  # a mean over channels would be 13
    assert difference_mask(fake, FLAT, Differencing(threshold=30)).any()
    assert not difference_mask(fake, FLAT, Differencing(threshold=41)).any()


def test_a_region_reaches_to_where_it_hardly_differs():
    fake, _ = forge(FLAT, (20, 20, 60, 60), (30, 0, 0))
    fake, _ = forge(fake, (60, 20, 90, 60), (8, 0, 0))  # joined to it: forged
    fake, _ = forge(fake, (20, 90, 60, 120), (8, 0, 0))  # apart: noise
    mask = difference_mask(fake, FLAT)
    assert mask[22:88, 22:58].all()
    assert not mask[:, 80:].any()


def test_small_regions_are_dropped_and_small_holes_filled():
    fake, _ = forge(FLAT, (20, 20, 80, 80))
    fake[40:44, 40:44] = FLAT[40:44, 40:44]  # a hole
    fake[100:104, 100:104] = 255  # a spot
    mask = difference_mask(fake, FLAT)
    assert mask[30:70, 30:70].all()
    assert not mask[95:, 95:].any()
    assert difference_mask(fake, FLAT, Differencing(smallest_area=4))[101:103, 101:103].all()


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_compression_is_not_taken_for_a_forgery(quality):
    source = data.astronaut()[60:188, 180:308]
    fake, region = forge(source, (40, 30, 90, 100), (-50, 20, 60))
    assert difference_mask(recompressed(source, quality), recompressed(source, 90)).mean() < 0.02
    assert iou(difference_mask(recompressed(fake, quality), recompressed(source, quality)), region) > 0.8


def test_other_sizes_are_refused():
    with pytest.raises(UsageError, match="128 x 128 pixels, its source 127 x 128"):
        difference_mask(FLAT, FLAT[:, :-1])


@pytest.fixture
def folder(tmp_path):
    """Fakes b/1 and c/1 of sources b/1 and (by group) s; one drawn by hand, one without a source, one untouched."""
    fake, region = forge(FLAT, (20, 20, 80, 80))
    files = {"fakes/b/1.png": fake, "fakes/c/1.png": fake, "fakes/hand.png": fake, "fakes/lost.png": fake}
    files |= {"fakes/same.png": FLAT, "sources/b/1.png": FLAT, "sources/s.png": FLAT, "sources/hand.png": FLAT}
    files |= {"sources/same.png": FLAT, "real.png": FLAT}
    for name, image in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    Image.fromarray(region[::-1]).save(tmp_path / "hand-mask.png")
    rows = [(name, "fake", "", f"g{n}", "swap", "train") for n, name in enumerate(files) if name.startswith("fakes")]
    frame = pd.DataFrame([*rows, ("real.png", "real", "", "r", "", "train")], columns=list(COLUMNS))
    frame = frame.set_index("path")
    frame.loc["fakes/c/1.png", "group"] = "s"
    frame.loc["fakes/hand.png", "mask"] = "hand-mask.png"
    frame.reset_index()[list(COLUMNS)].to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def test_unlabelled_fakes_get_the_masks_of_their_own_sources(folder, read_tree):
    before = read_tree(folder)
    derived = derive_masks(folder / "manifest.csv", folder / "sources", folder / "derived", Differencing())
    lost, same = [str(folder / "fakes" / name) for name in ("lost.png", "same.png")]
    assert (derived.masks, derived.without_source, derived.without_difference) == (2, [lost], [same])
    rows = pd.read_csv(folder / "manifest.csv", keep_default_na=False).set_index("path")
    assert rows["mask_source"].to_dict() == {
        "fakes/b/1.png": "derived",
        "fakes/c/1.png": "derived",
        "fakes/hand.png": "",
        "fakes/lost.png": "",
        "fakes/same.png": "",
        "real.png": "",
    }
    assert rows.loc["fakes/hand.png", "mask"] == "hand-mask.png"
    assert rows.loc["fakes/lost.png", "mask"] == rows.loc["fakes/same.png", "mask"] == ""
    region = np.zeros((SIDE, SIDE), bool)
    region[20:80, 20:80] = True
    assert rows.loc["fakes/b/1.png", "mask"] != rows.loc["fakes/c/1.png", "mask"]
    for name in ("fakes/b/1.png", "fakes/c/1.png"):
        mask = np.asarray(Image.open(folder / rows.loc[name, "mask"]))
        assert set(np.unique(mask)) == {0, 255}
        # A step of 100 levels, blurred, is above 6 up to 1.55 pixels away: two are gained on each side.
        assert iou(mask > 0, region) >= 60**2 / 64**2
    # Only the mask drawn by a person counts: 1 of 6 training images.
    assert Manifest.read(folder / "manifest.csv").mask_budget() == pytest.approx(1 / 6)
    after = read_tree(folder)
    assert after[Path(derived.backup).name] == before["manifest.csv"]
    assert all(after[name] == content for name, content in before.items() if name != "manifest.csv")


def test_doing_it_again_changes_nothing(folder, read_tree):
    derive_masks(folder / "manifest.csv", folder / "sources", folder / "derived", Differencing())
    before = read_tree(folder)
    with pytest.raises(LAEError):
        derive_masks(folder / "manifest.csv", folder / "fakes", folder / "derived", Differencing())
    assert read_tree(folder) == before


@pytest.mark.parametrize("content", ["smaller", "damaged"])
def test_a_pair_that_cannot_be_used_is_reported_and_the_others_are_not_lost(folder, content):
    if content == "smaller":
        Image.fromarray(FLAT[:-1]).save(folder / "sources" / "s.png")
    else:
        (folder / "sources" / "s.png").write_bytes(b"no image")
    arguments = ["diff", str(folder / "manifest.csv"), "--sources", str(folder / "sources"), "--json"]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, ProblemsError)
    assert result.exception.exit_code == 1
    answer = json.loads(result.stdout)
    lost, same = [str(folder / "fakes" / name) for name in ("lost.png", "same.png")]
    assert (answer["masks"], answer["without_source"], answer["without_difference"]) == (1, [lost], [same])
    (problem,) = answer["problems"]
    assert str(folder / "sources" / "s.png") in problem
    assert problem in str(result.exception)
    rows = pd.read_csv(folder / "manifest.csv", keep_default_na=False).set_index("path")
    assert list(rows.index[rows["mask_source"] == "derived"]) == ["fakes/b/1.png"]


def test_where_every_pair_is_bad_the_manifest_stays_as_it_is(folder):
    for source in (folder / "sources").rglob("*.png"):
        source.write_bytes(b"no image")
    before = (folder / "manifest.csv").read_bytes()
    derived = derive_masks(folder / "manifest.csv", folder / "sources", folder / "derived", Differencing())
    assert (derived.masks, len(derived.problems), derived.backup) == (0, 3, None)
    assert (folder / "manifest.csv").read_bytes() == before
    assert not list(folder.glob("manifest.csv.*"))


def test_where_every_fake_has_a_mask_the_sources_are_not_blamed(folder):
    rows = pd.read_csv(folder / "manifest.csv", keep_default_na=False)
    rows[rows["label"].eq("real") | rows["mask"].ne("")].to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(UsageError, match=r"manifest\.csv: every fake has a mask already"):
        derive_masks(folder / "manifest.csv", folder / "sources", folder / "derived", Differencing())


def test_without_a_folder_the_source_is_the_only_real_image_of_the_group(folder):
    rows = pd.read_csv(folder / "manifest.csv", keep_default_na=False).set_index("path")
    Image.fromarray(FLAT).save(folder / "real2.png")
    Image.fromarray(FLAT).save(folder / "real3.png")
    rows.loc["real2.png"] = rows.loc["real3.png"] = rows.loc["real.png"]
    # Group r has one real image, group s two.
    rows.loc[["real2.png", "real3.png"], "group"] = "s"
    rows.loc["fakes/b/1.png", "group"] = "r"
    rows.reset_index()[list(COLUMNS)].to_csv(folder / "manifest.csv", index=False)
    derived = derive_masks(folder / "manifest.csv", None, folder / "derived", Differencing())
    assert (derived.masks, len(derived.without_source)) == (1, 3)
    rows = pd.read_csv(folder / "manifest.csv", keep_default_na=False).set_index("path")
    assert list(rows.index[rows["mask_source"] == "derived"]) == ["fakes/b/1.png"]
    with pytest.raises(UsageError, match="only real image"):
        derive_masks(folder / "manifest.csv", None, folder / "derived", Differencing())


def test_a_folder_without_images_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        derive_masks(folder / "manifest.csv", tmp_path / "empty", folder / "derived", Differencing())


def test_verb(folder):
    arguments = ["diff", str(folder / "manifest.csv"), "--sources", str(folder / "sources"), "--json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    answer = json.loads(result.stdout)
    assert answer["masks"] == 2
    masks = sorted((folder / "masks-derived").iterdir())
    assert answer["folder"] == str(folder / "masks-derived")
    assert len(masks) == 2


def test_verb_takes_a_threshold(folder):
    arguments = ["diff", str(folder / "manifest.csv"), "--sources", str(folder / "sources"), "--threshold", "101"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "0 masks derived" in result.stdout
    assert "3 fakes (" in result.stdout and "that differ nowhere" in result.stdout
