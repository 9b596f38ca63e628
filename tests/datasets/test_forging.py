"""Forgeries: exact masks, reproducible, resumable, and no leak between splits."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lae_tf.data.manifest import Manifest
from lae_tf.datasets.forge_sources import _in_company
from lae_tf.datasets.forging import ForgeOptions, forge_folder
from lae_tf.errors import ImageError, ProblemsError, UsageError
from lae_tf.forge import AREA, METHODS, forge_image, generator
from lae_tf.forge.blending import blend, poisson
from lae_tf.forge.pasting import PasteParameters, _crop
from lae_tf.forge.regions import random_region
from lae_tf.images.files import read_image, read_mask, write_png

FACELESS = [name for name, method in METHODS.items() if not method.needs_face]


def textured(seed, height=64, width=80):
    """A smooth random picture with fine grain, so that every method changes something."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)


def fill(folder, count, height=48, width=48):
    for number in range(count):
        write_png(folder / f"{number:02}.png", textured(number, height, width))
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("method", FACELESS)
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (97, 40), (50, 160)])
def test_nothing_changes_outside_the_mask_and_enough_inside(method, size):
    image, donor = textured(1, *size), textured(2, 33, 71)
    before, donor_before = image.copy(), donor.copy()
    for seed in range(4):
        forged, mask = forge_image(method, image, generator(seed, method), donor)
        assert forged.dtype == np.uint8 and forged.shape == image.shape
        assert mask.dtype == np.uint8 and mask.shape == size and set(np.unique(mask)) == {0, 1}
        np.testing.assert_array_equal(forged[mask == 0], image[mask == 0])
        assert AREA[0] <= mask.mean() <= AREA[1]
        assert (np.abs(forged.astype(int) - image).max(axis=2) > 1).sum() >= 0.25 * mask.sum()
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(donor, donor_before)


@pytest.mark.parametrize("method", FACELESS)
def test_same_generator_same_forgery_other_seed_another(method):
    image, donor = textured(1), textured(2)
    first = forge_image(method, image, generator(5, method, "a"), donor)
    again = forge_image(method, image, generator(5, method, "a"), donor)
    other = forge_image(method, image, generator(6, method, "a"), donor)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


def test_methods_differ_where_they_should():
    """Telea and Navier-Stokes fill the same hole differently; filling removes the grain, splicing brings the donor."""
    image = textured(1)
    white = np.full_like(image, 255)
    telea, mask = forge_image("inpaint-telea", image, np.random.default_rng(0))
    navier, same_mask = forge_image("inpaint-ns", image, np.random.default_rng(0))
    np.testing.assert_array_equal(mask, same_mask)
    assert (telea != navier).any()

    def grain(picture, where):
        return np.abs(cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F))[where > 0].mean()

    core = cv2.erode(mask, np.ones((5, 5), np.uint8))
    assert grain(telea, core) < 0.5 * grain(image, core)

    params = METHODS["splice"].params.__class__(blends=("hard",), harmonise=0.0)
    forged, mask = METHODS["splice"].function(image, np.random.default_rng(3), white, params)
    assert (forged[mask > 0] == 255).all()


def test_copy_move_shows_content_from_elsewhere_in_the_image():
    """With neither rotation, scaling nor mirroring, every patch of the copy is found again in the original."""
    image = textured(4, 96, 96)
    params = METHODS["copy-move"].params.__class__(blends=("hard",), scale=(1.0, 1.0), turn=0.0, flip=0.0)
    forged, mask = METHODS["copy-move"].function(image, np.random.default_rng(1), None, params)
    ys, xs = np.nonzero(cv2.erode(mask, np.ones((9, 9), np.uint8)))
    middle = len(ys) // 2
    patch = forged[ys[middle] - 4 : ys[middle] + 5, xs[middle] - 4 : xs[middle] + 5]
    difference = cv2.matchTemplate(image, patch, cv2.TM_SQDIFF_NORMED)
    _, _, place, _ = cv2.minMaxLoc(difference)
    distance = np.hypot(place[0] + 4 - xs[middle], place[1] + 4 - ys[middle])
    assert difference.min() < 0.01 and distance > 10


def test_cloning_an_image_into_itself_changes_nothing_and_keeps_the_mask():
    image = textured(7)
    for seed in range(5):
        mask = random_region(np.random.default_rng(seed), *image.shape[:2], (0.05, 0.2))
        kept = mask.copy()
        difference = np.abs(poisson(image, image.copy(), mask).astype(int) - image)
        np.testing.assert_array_equal(mask, kept)  # seamlessClone overwrites the mask it is given
        assert difference.max() <= 2  # rounding; a shift by one pixel would give tens of levels


def test_blend_by_hand():
    image, content = np.full((1, 3, 3), 100, np.uint8), np.full((1, 3, 3), 201, np.uint8)
    # 100 + 0 * 101, 100 + 0.25 * 101 = 125.25, 201
    assert blend(image, content, np.array([[0.0, 0.25, 1.0]]))[0, :, 0].tolist() == [100, 125, 201]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(16, 120), st.integers(16, 120), st.floats(0.03, 0.2))
def test_regions_have_about_the_area_asked_for_and_keep_off_the_border(seed, height, width, area):
    region = random_region(np.random.default_rng(seed), height, width, (area, area))
    assert set(np.unique(region)) <= {0, 1}
    assert not region[[0, -1]].any() and not region[:, [0, -1]].any()
    assert region.mean() <= 1.6 * area + 8 / min(height, width) ** 2 * 16  # the outline's own pixels count
    if min(height, width) > 0.5 * max(height, width) and min(height, width) >= 32:
        assert region.mean() >= 0.5 * area


def test_flat_and_tiny_images_are_refused():
    with pytest.raises(ImageError, match="too flat: inpaint-ns"):
        forge_image("inpaint-ns", np.full((64, 64, 3), 90, np.uint8), np.random.default_rng(0))
    with pytest.raises(ImageError, match="too flat: copy-move"):
        forge_image("copy-move", np.full((64, 64, 3), 7, np.uint8), np.random.default_rng(0))
    with pytest.raises(ImageError, match="12 x 40 pixels, but forging needs at least 16"):
        forge_image("copy-move", textured(0, 40, 12), np.random.default_rng(0))


def test_unknown_method_names_the_nearest():
    with pytest.raises(UsageError, match="'inpaint-tela': did you mean 'inpaint-telea'") as caught:
        forge_image("inpaint-tela", textured(0), np.random.default_rng(0))
    assert caught.value.exit_code == 2


def test_folder_is_written_with_a_valid_manifest_and_exact_masks(tmp_path):
    real = fill(tmp_path / "real", 8)
    write_png(real / "sub" / "deep.png", textured(30))
    result = forge_folder(
        real,
        tmp_path / "out",
        ["splice", "inpaint-ns"],
        3,
        progress=False,
        options=ForgeOptions(per_image=2, splits=(0.5, 0.25, 0.25)),
    )

    manifest = Manifest.read(tmp_path / "out" / "manifest.csv")
    assert result.problems == [] and manifest.digest() == result.manifest.digest()
    assert len(manifest) == 9 + 9 * 2 * 2
    assert sum(numbers["groups"] for numbers in manifest.counts().values()) == 9
    frame = manifest.frame
    assert set(frame["group"]) == {f"{k:02}" for k in range(8)} | {"sub/deep"}
    originals = frame[frame["label"] == "real"].set_index("group")["path"]
    for row in frame[frame["label"] == "fake"].itertuples():
        forged, mask, original = read_image(row.path), read_mask(row.mask), read_image(originals[row.group])
        np.testing.assert_array_equal(forged[mask == 0], original[mask == 0])
        assert (forged != original).any()
    np.testing.assert_array_equal(read_image(originals["00"]), textured(0, 48, 48))


def test_folder_is_reproducible_whatever_the_workers_and_the_place(tmp_path):
    fill(tmp_path / "a" / "real", 5)
    fill(tmp_path / "elsewhere" / "real", 5)
    for place, workers in (("a", 1), ("elsewhere", 3)):
        here = tmp_path / place
        forge_folder(
            here / "real",
            here / "out",
            ["splice", "self-blend"],
            1,
            progress=False,
            options=ForgeOptions(workers=workers),
        )
    assert contents(tmp_path / "a" / "out") == contents(tmp_path / "elsewhere" / "out")


def test_adding_a_method_does_not_change_the_forgeries_of_another(tmp_path):
    real = fill(tmp_path / "real", 4)
    forge_folder(real, tmp_path / "one", ["copy-move"], 1, progress=False)
    forge_folder(real, tmp_path / "two", ["self-blend", "copy-move"], 1, progress=False)
    assert contents(tmp_path / "one" / "copy-move") == contents(tmp_path / "two" / "copy-move")


def test_interrupted_run_goes_on_and_ends_the_same(tmp_path):
    real = fill(tmp_path / "real", 5)
    out = tmp_path / "out"
    forge_folder(real, out, ["copy-move"], 1, progress=False)
    whole = contents(out)
    kept = out / "copy-move" / "00.png"
    for name in ("copy-move/01.png", "masks/copy-move/02.png", "real/03.png", "manifest.csv"):
        (out / name).unlink()
    stamp = kept.stat().st_mtime_ns
    forge_folder(real, out, ["copy-move"], 1, progress=False)
    assert contents(out) == whole and kept.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("record", ["", '{"seed": 1, "per_im', "[]", "\x00" * 40])
def test_a_record_that_was_half_written_is_written_again_and_nothing_of_unknown_making_kept(tmp_path, record):
    real = fill(tmp_path / "real", 4)
    forge_folder(real, tmp_path / "whole", ["copy-move"], 1, progress=False)
    out = tmp_path / "out"
    forge_folder(real, out, ["copy-move"], 2, progress=False)  # another seed
    (out / "forge.json").write_text(record)
    forge_folder(real, out, ["copy-move"], 1, progress=False)
    assert contents(out) == contents(tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
from lae_tf.datasets.forging import ForgeOptions, forge_folder
left, rename = int(sys.argv[1]), os.replace
def replace(*paths):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    rename(*paths)
os.replace = Path.replace = replace
forge_folder(sys.argv[2], sys.argv[3], ["copy-move"], 1, ForgeOptions(workers=1), progress=False)
"""


@pytest.mark.parametrize("renamed", [0, 1, 5, 12])
def test_a_kill_at_any_moment_leaves_what_the_next_run_finishes(tmp_path, renamed):
    """The record is the first of 14 files, then come 4 real images, 4 masks and forgeries in turn, and the manifest."""
    real = fill(tmp_path / "real", 4)
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(renamed), str(real), str(out)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert len(shown(out)) == renamed
    forge_folder(real, out, ["copy-move"], 1, progress=False)
    forge_folder(real, whole, ["copy-move"], 1, progress=False)
    assert shown(out) == shown(whole)


def shown(folder):
    """Contents without hidden files, such as a kill leaves."""
    return {name: data for name, data in contents(folder).items() if not Path(name).name.startswith(".")}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": 2}, "seed"),
        ({"methods": ["self-blend"]}, "methods"),
        ({"options": ForgeOptions(splits=(0.4, 0.3, 0.3))}, "listing"),
        ({"options": ForgeOptions(jpeg=(75, 95))}, "jpeg"),
    ],
)
def test_other_parameters_need_another_folder(tmp_path, change, word):
    real = fill(tmp_path / "real", 6)
    first = {"methods": ["copy-move"], "seed": 1}
    forge_folder(real, tmp_path / "out", progress=False, **first)
    before = contents(tmp_path / "out")
    with pytest.raises(UsageError, match=f"different {word}.*use another folder"):
        forge_folder(real, tmp_path / "out", progress=False, **{**first, **change})
    assert contents(tmp_path / "out") == before


def test_real_and_forged_images_are_saved_as_jpeg_of_the_qualities_asked_for(tmp_path):
    real = fill(tmp_path / "real", 8)
    options = ForgeOptions(jpeg=(60, 80))
    made = forge_folder(real, tmp_path / "out", ["copy-move"], 1, options, progress=False).manifest
    assert all(path.endswith(".jpg") for path in made.frame["path"])
    assert made.frame["mask"][made.is_fake].str.endswith(".png").all()

    def tables(quality):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
        return str(Image.open(buffer).quantization)

    expected = {tables(quality): quality for quality in range(60, 81)}
    found = [expected[str(Image.open(path).quantization)] for path in made.frame["path"]]
    assert len(set(found)) > 4
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "real" / "03.jpg").unlink()
    forge_folder(real, tmp_path / "out", ["copy-move"], 1, options, progress=False)
    assert contents(tmp_path / "out") == before
    with pytest.raises(UsageError, match="lowest and then the highest quality"):
        forge_folder(real, tmp_path / "other", ["copy-move"], 1, ForgeOptions(jpeg=(90, 75)), progress=False)
    assert not (tmp_path / "other").exists()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    real = fill(tmp_path / "real", 3)
    with pytest.raises(UsageError, match="is not empty"):
        forge_folder(real, real, ["copy-move"], 1, progress=False)


def test_results_below_the_real_images_are_no_input(tmp_path):
    real = fill(tmp_path / "real", 4)
    first = forge_folder(real, real / "out", ["copy-move"], 1, progress=False)
    again = forge_folder(real, real / "out", ["copy-move"], 1, progress=False)
    assert len(first.manifest) == len(again.manifest) == 8


def test_bad_and_flat_images_are_reported_and_skipped(tmp_path):
    real = fill(tmp_path / "real", 4)
    (real / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    write_png(real / "flat.png", np.full((40, 40, 3), 7, np.uint8))
    os.symlink(real / "nowhere.png", real / "link.png")
    result = forge_folder(real, tmp_path / "out", ["inpaint-ns"], 1, progress=False)
    assert [Path(problem.split(": ")[0]).name for problem in result.problems] == [
        "broken.jpg",
        "link.png",
        "flat.png",
    ]
    assert sum(numbers["fake"] for numbers in result.manifest.counts().values()) == 4
    for name in ("00.png", "01.png", "02.png", "03.png"):
        (real / name).write_bytes(b"")
    with pytest.raises(ProblemsError, match="is empty"):
        forge_folder(real, tmp_path / "none", ["inpaint-ns"], 1, progress=False)


def test_same_name_with_two_suffixes_gives_two_results(tmp_path):
    real = fill(tmp_path / "real", 3)
    (real / "00.bmp").write_bytes(cv2.imencode(".bmp", textured(9, 48, 48)[..., ::-1])[1].tobytes())
    result = forge_folder(real, tmp_path / "out", ["copy-move"], 1, progress=False)
    assert len(result.manifest) == 8
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "real" / "00.bmp.png"), textured(9, 48, 48))


def test_splits_follow_their_shares_and_none_is_empty(tmp_path):
    real = fill(tmp_path / "real", 20, 16, 16)
    counts = forge_folder(real, tmp_path / "out", ["copy-move"], 1, progress=False).manifest.counts()
    assert {split: numbers["groups"] for split, numbers in counts.items()} == {
        "train": 14,
        "val": 2,
        "test": 4,
    }
    few = fill(tmp_path / "few", 3, 16, 16)
    counts = forge_folder(few, tmp_path / "out3", ["copy-move"], 1, progress=False).manifest.counts()
    assert {split: numbers["groups"] for split, numbers in counts.items()} == {
        "train": 1,
        "val": 1,
        "test": 1,
    }
    with pytest.raises(UsageError, match="2 groups cannot fill"):
        forge_folder(sorted(few.iterdir())[:2], tmp_path / "out2", ["copy-move"], 1, progress=False)
    with pytest.raises(UsageError, match="sum to 1"):
        forge_folder(
            few, tmp_path / "bad", ["copy-move"], 1, progress=False, options=ForgeOptions(splits=(0.5, 0.5, 0.5))
        )


def test_groups_and_splits_given_from_outside_are_kept(tmp_path):
    files = sorted(fill(tmp_path / "real", 6).iterdir())
    groups = {str(path): "photo-a" if k < 3 else "photo-b" for k, path in enumerate(files)}
    splits = {"photo-a": "train", "photo-b": "test"}
    result = forge_folder(
        files, tmp_path / "out", ["splice"], 1, progress=False, options=ForgeOptions(groups=groups, group_splits=splits)
    )
    counts = result.manifest.counts()
    assert {split: numbers["groups"] for split, numbers in counts.items()} == {"train": 1, "test": 1}
    assert counts["train"]["real"] == counts["train"]["fake"] == 3
    with pytest.raises(UsageError, match="has no group; 1 of 6"):
        partial = dict(list(groups.items())[1:])
        forge_folder(
            files,
            tmp_path / "x",
            ["splice"],
            1,
            progress=False,
            options=ForgeOptions(groups=partial, group_splits=splits),
        )
    with pytest.raises(UsageError, match="group 'photo-b': split is None"):
        forge_folder(
            files,
            tmp_path / "x",
            ["splice"],
            1,
            progress=False,
            options=ForgeOptions(groups=groups, group_splits={"photo-a": "val"}),
        )


def test_donors_of_a_splice_come_from_the_same_split(tmp_path):
    """Each split has its own colour; no forgery may show another split's."""
    colours = {"train": 0, "val": 1, "test": 2}
    groups, splits = {}, {}
    for split, channel in colours.items():
        for number in range(3):
            image = np.zeros((40, 40, 3), np.uint8)
            image[..., channel] = np.random.default_rng(number).integers(100, 256, (40, 40))
            path = tmp_path / "real" / f"{split}{number}.png"
            write_png(path, image)
            groups[str(path)], splits[f"{split}{number}"] = f"{split}{number}", split
    result = forge_folder(
        tmp_path / "real",
        tmp_path / "out",
        ["splice"],
        1,
        progress=False,
        options=ForgeOptions(groups=groups, group_splits=splits),
    )
    frame = result.manifest.select(label="fake").frame
    assert len(frame) == 9
    for row in frame.itertuples():
        present = read_image(row.path).max(axis=(0, 1)) > 60
        assert np.flatnonzero(present).tolist() == [colours[row.split]]


def test_no_split_lacks_fakes_because_its_only_image_has_no_donor(tmp_path):
    real = fill(tmp_path / "real", 11)
    result = forge_folder(
        real, tmp_path / "out", ["splice"], 1, progress=False, options=ForgeOptions(splits=(0.7, 0.1, 0.2))
    )
    counts = result.manifest.counts()
    assert not result.problems and {split: numbers["fake"] for split, numbers in counts.items()} in (
        {"train": 6, "val": 2, "test": 3},
        {"train": 7, "val": 2, "test": 2},
    )
    files = sorted(real.iterdir())
    with pytest.raises(UsageError, match=r"5 images cannot give each of the splits .* two, and splice needs .*; add"):
        forge_folder(files[:5], tmp_path / "few", ["splice"], 1, progress=False)
    assert not (tmp_path / "few").exists()
    # with another method beside it the split has fakes, and what could not be forged is reported
    result = forge_folder(files[:5], tmp_path / "both", ["splice", "copy-move"], 1, progress=False)
    assert result.problems and all("needs a second image in the split" in problem for problem in result.problems)
    assert all(numbers["fake"] for numbers in result.manifest.counts().values())


def test_groups_of_any_size_are_divided_whole_with_company(tmp_path):
    for sizes in ({"a": 1}, {"a": 1, "b": 1, "c": 1}, {"a": 5, "b": 1}, {str(i): 1 for i in range(9)}):
        units = _in_company(sizes, 0)
        assert sorted(group for members in units.values() for group in members) == sorted(sizes)
        alone = [members for members in units.values() if sum(sizes[group] for group in members) == 1]
        assert not alone or len(sizes) == 1


def test_default_parameters_ask_for_areas_within_the_documented_range():
    for method in map(METHODS.get, FACELESS):
        assert AREA[0] <= method.params.area[0] < method.params.area[1] <= AREA[1]
    assert PasteParameters().blends == ("hard", "feather", "poisson")


def test_frames_of_a_video_stay_in_one_split(tmp_path):
    for video in range(4):
        fill(tmp_path / "real" / f"v{video}", 3)
        (tmp_path / "real" / f"v{video}" / "frames.json").write_text("{}")
    fill(tmp_path / "real", 2)
    manifest = forge_folder(tmp_path / "real", tmp_path / "out", ["splice"], 0, progress=False).manifest
    splits = manifest.frame.groupby("group")["split"].nunique()
    assert set(splits.index) == {"v0", "v1", "v2", "v3", "00", "01"} and (splits == 1).all()


def test_a_picture_that_was_replaced_is_noticed(tmp_path):
    real = fill(tmp_path / "real", 4)
    forge_folder(real, tmp_path / "out", ["copy-move"], 1, progress=False)
    write_png(real / "02.png", textured(99, 50, 50))
    with pytest.raises(UsageError, match="different listing"):
        forge_folder(real, tmp_path / "out", ["copy-move"], 1, progress=False)


def test_a_name_that_is_not_text_is_named(tmp_path):
    real = fill(tmp_path / "real", 3)
    os.rename(real / "02.png", os.fsencode(real) + b"/caf\xe9.png")
    with pytest.raises(UsageError, match="not UTF-8; rename"):
        forge_folder(real, tmp_path / "out", ["copy-move"], 1, progress=False)


@pytest.mark.parametrize("splits", [(float("nan"),) * 3, (0.5, 0.5, float("nan"))])
def test_shares_that_are_no_numbers_are_refused(tmp_path, splits):
    with pytest.raises(UsageError, match="that sum to 1"):
        forge_folder(
            fill(tmp_path / "real", 4),
            tmp_path / "out",
            ["copy-move"],
            1,
            progress=False,
            options=ForgeOptions(splits=splits),
        )


@pytest.mark.parametrize(("height", "width"), [(30, 200), (200, 30), (20, 20), (64, 80)])
def test_a_donor_of_any_shape_covers_the_image(height, width):
    donor = np.zeros((40, 40, 3), np.uint8)
    donor[..., 0] = np.arange(40)[:, None] * 6
    part = _crop(donor, height, width, np.random.default_rng(0))
    assert part.shape == (height, width, 3) and part[..., 0].max() <= 240
    # Its columns stay upright: the red of a donor's rows, and nothing of its columns.
    assert np.abs(np.diff(part[..., 0].astype(int), axis=1)).max() <= 1
