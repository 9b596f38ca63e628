"""`lae-tf predict`: tables, files and heatmaps; a bad file never stops the rest."""

import csv
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lae_tf.data.finding import find_images
from lae_tf.data.manifest import Manifest
from lae_tf.errors import UsageError
from lae_tf.images.files import read_image, read_mask
from lae_tf.metrics.decision import label_of
from lae_tf.metrics.verdict import verdict_of
from lae_tf.predict.heatmap_names import heatmap_names
from lae_tf.predict.images import predict_files


@pytest.fixture(scope="module")
def photos(tiny_manifest, tmp_path_factory):
    """Eight test images, a nested folder with two more, and a text file."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    paths = list(Manifest.read(tiny_manifest).select(split="test").frame["path"])
    for path in paths[::2][:8]:
        shutil.copy(path, folder)
    for path in paths[1:5:2]:
        shutil.copy(path, folder / "more")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def model(trained_run):
    return trained_run.load_model()


def expected_scores(model, paths):
    images = np.stack([read_image(path) for path in paths]).astype(np.float32) / 255
    return model.predict(images, verbose=0)["score"][:, 0]


# --- finding files ----------------------------------------------------------------------------------------


def test_folders_are_searched_by_suffix_and_below(photos):
    found = find_images([str(photos)])
    assert len(found) == 10 and found == sorted(found)
    assert all(path.endswith(".png") for path in found)


def test_hidden_companions_of_files_are_no_images(tmp_path):
    for name in ("a.png", "._a.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert find_images([str(tmp_path)]) == [str(tmp_path / "a.png")]


def test_the_folder_itself_is_not_named_in_paths(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "sub" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images(["."]) == ["sub/a.png"] == find_images(["./sub"])


def test_linked_folders_are_refused_rather_than_left_out(tmp_path, photos):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "more").symlink_to(photos)
    with pytest.raises(UsageError, match="more: is a link to a folder"):
        find_images([str(tmp_path)])


def test_globs_files_and_folders_together_repeat_nothing(photos):
    one = str(next(photos.glob("*.png")))
    assert find_images([one, str(photos / "*.png"), str(photos)]) == list(
        dict.fromkeys([one, *find_images([str(photos / "*.png")]), *find_images([str(photos)])])
    )
    assert len(find_images([str(photos / "**" / "*.png")])) == 10


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path):
    name = tmp_path / "holiday [1].png"
    Image.new("RGB", (8, 8)).save(name)
    assert find_images([str(name)]) == [str(name)]


@pytest.mark.parametrize("missing", ["nowhere.png", "*.webp", "empty"])
def test_a_path_that_matches_nothing_is_refused(tmp_path, missing):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no such file, and no images"):
        find_images([str(tmp_path / missing)])


def test_images_by_content_are_scored_and_the_rest_is_named(trained_run, photos, tmp_path, lae_tf_command):
    picture = Image.open(next(photos.glob("*.png"))).convert("RGB")
    for name in ("x.JPG", "photo.jfif", "y.jpe", ".hidden/z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with (tmp_path / name).open("wb") as file:
            picture.save(file, "JPEG")
    command = ("predict", trained_run.path, tmp_path, "--json", "--csv", tmp_path / "scores.csv")
    code, output, _ = lae_tf_command(*command)
    records = [json.loads(line) for line in output.splitlines()]
    assert code == 0 and [os.path.basename(record["path"]) for record in records] == ["photo.jfif", "x.JPG", "y.jpe"]
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    code, output, errors = lae_tf_command(*command)
    first, *scored = (json.loads(line) for line in output.splitlines())
    assert code == 1 and len(scored) == 3 and first["path"] == str(tmp_path / "phone.heic")
    assert f"Skipped: {first['error']}" in errors and "is not a JPEG" in first["error"]
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [bool(row["error"]) for row in rows] == [True, False, False, False]


# --- the library ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_scores_are_those_of_the_model_on_the_decoded_pixels(model, photos, batch_size):
    paths = find_images([str(photos)])
    found = list(predict_files(model, paths, batch_size))
    assert [one.path for one in found] == paths
    np.testing.assert_allclose([one.score for one in found], expected_scores(model, paths), atol=1e-5)
    threshold = float(model.calibration.threshold)
    assert [one.label for one in found] == ["fake" if one.score >= threshold else "real" for one in found]
    assert all(one.attention.shape == (32, 32) and one.image.shape == (32, 32, 3) for one in found)


BAD = {
    "empty.png": b"",
    "text.jpg": b"hello",
    "cut.jpg": None,  # a truncated photograph
    "bomb.png": None,  # 40 000 x 40 000 pixels
    "folder.png": None,
}


@pytest.fixture
def bad_files(tmp_path):
    for name, content in BAD.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    (tmp_path / "whole.jpg").unlink()
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    (tmp_path / "folder.png").mkdir()
    return [str(tmp_path / name) for name in BAD]


def test_bad_files_are_reported_in_their_place(model, photos, bad_files):
    good = find_images([str(photos)])
    mixed = [bad_files[0], good[0], *bad_files[1:3], good[1], *bad_files[3:], good[2]]
    found = list(predict_files(model, mixed, batch_size=3))
    assert [one.path for one in found] == mixed
    for one in found:
        assert bool(one.error) == (one.path in bad_files)
        assert one.path in one.error or not one.error
    np.testing.assert_allclose(
        [one.score for one in found if not one.error], expected_scores(model, good[:3]), atol=1e-5
    )


def test_a_batch_of_bad_files_alone(model, bad_files):
    assert all(one.error and one.image is None for one in predict_files(model, bad_files, 2))


# --- the command ------------------------------------------------------------------------------------------


def test_table(trained_run, model, photos, lae_tf_command):
    code, out, err = lae_tf_command("predict", trained_run.path, photos)
    assert code == 0
    rows = [line.split(maxsplit=3) for line in out.splitlines()]
    paths = find_images([str(photos)])
    assert [path for *_, path in rows] == paths
    np.testing.assert_allclose([float(score) for score, *_ in rows], expected_scores(model, paths), atol=1e-4)
    threshold, bounds = float(model.calibration.threshold), model.calibration.bounds
    for score, label, verdict, _ in rows:
        assert label == label_of(float(score), threshold) and verdict in (label, "unsure")
    counts = Counter(verdict_of(score, threshold, bounds) for score in expected_scores(model, paths))
    assert Counter(verdict for _, _, verdict, _ in rows) == counts
    assert f"10 scored, {counts['fake']} fake, {counts['unsure']} unsure, 0 skipped." in err


def test_json_csv_heatmaps_and_a_bad_file(trained_run, model, photos, tmp_path, lae_tf_command):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table, maps = tmp_path / "new" / "scores.csv", tmp_path / "maps"
    code, out, err = lae_tf_command(
        "predict", trained_run.path, photos, tmp_path / "damaged.png", "--json", "--csv", table, "--heatmaps", maps
    )
    assert code == 1
    assert "damaged.png" in err and "Traceback" not in err
    records = [json.loads(line) for line in out.splitlines()]
    assert len(records) == 11 and set(records[-1]) == {"path", "error"}
    decision = {"path", "score", "label", "verdict", "logit", "threshold", "threshold_from"}
    about = {"model", "version", "digest", "view"}
    found = set(records[0]) - {"credentials"}  # where the extra is installed
    assert found == {*decision, *about, "width", "height", "regions", "heatmap"}
    assert {(record["threshold"], record["threshold_from"]) for record in records[:-1]} == {(0.5, "model")}
    for record in records[:-1]:
        with Image.open(record["heatmap"]) as picture:
            assert picture.format == "PNG" and picture.mode == "RGB"
    assert len({record["heatmap"] for record in records[:-1]}) == len(list(maps.iterdir())) == 10
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [record["path"] for record in records]
    assert [row["verdict"] for row in rows[:-1]] == [record["verdict"] for record in records[:-1]]
    assert [int(row["regions"]) for row in rows[:-1]] == [len(record["regions"]) for record in records[:-1]]
    assert float(rows[0]["score"]) == records[0]["score"] and rows[-1]["error"] == records[-1]["error"]
    assert [path.name for path in table.parent.iterdir()] == ["scores.csv"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A photograph of 400 x 300 pixels, one turned by its EXIF tag, and one of 50 x 70 with alpha."""
    folder = tmp_path_factory.mktemp("shapes")
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((400, 300))
    photo.save(folder / "flat.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    photo.crop((0, 0, 50, 70)).convert("RGBA").save(folder / "clear.png")
    return folder


SIZES = {"clear": (50, 70), "flat": (400, 300), "turned": (300, 400)}


def test_evidence_has_the_size_and_shape_of_the_file(trained_run, model, shapes, tmp_path):
    """In a process of its own, as users start it."""
    places = {name: tmp_path / name for name in ("heatmaps", "masks", "maps", "found.coco.json")}
    options = ["--heatmaps", "--masks", "--maps", "--regions"]
    words = [word for pair in zip(options, places.values(), strict=True) for word in pair]
    command = [sys.executable, "-m", "lae_tf.cli.main", "predict", trained_run.path, shapes, "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = {Path(record["path"]).stem: record for record in map(json.loads, done.stdout.splitlines())}
    found = {Path(one.path).stem: one for one in predict_files(model, find_images([str(shapes)]))}
    for name, (width, height) in SIZES.items():
        record, attention = records[name], found[name].attention
        assert (record["width"], record["height"]) == (width, height) == found[name].size[::-1]
        assert read_image(record["heatmap"]).shape == (height, width, 3)
        mask = read_mask(record["mask"])
        scaled = cv2.resize(attention, (width, height))
        assert (
            mask.shape == (height, width)
            and (mask[abs(scaled - 0.5) > 0.01] == (scaled > 0.5)[abs(scaled - 0.5) > 0.01]).all()
        )
        with Image.open(record["map"]) as stored:
            np.testing.assert_allclose(np.asarray(stored) / 65535, attention, atol=1e-3)
        assert sum(region["area"] for region in record["regions"]) <= mask.sum()
    images = json.loads(places["found.coco.json"].read_text())["images"]
    assert {Path(one["file_name"]).stem: (one["width"], one["height"]) for one in images} == SIZES


def test_heatmaps_are_scaled_down_on_request(trained_run, shapes, tmp_path, lae_tf_command):
    arguments = ("predict", trained_run.path, shapes, "--max-side", "100")
    code, _, err = lae_tf_command(*arguments)
    assert code == 2 and "--max-side is the size of heatmaps" in err
    assert lae_tf_command(*arguments, "--heatmaps", tmp_path)[0] == 0
    sizes = {path.stem: read_image(path).shape[1::-1] for path in tmp_path.iterdir()}
    assert sizes == {"clear": (50, 70), "flat": (100, 75), "turned": (75, 100)}


def test_regions_name_their_format(trained_run, shapes, tmp_path, lae_tf_command):
    code, _, err = lae_tf_command("predict", trained_run.path, shapes, "--regions", tmp_path / "found.xml")
    assert code == 2 and "found.xml: expected a name that ends in .json, .csv or .coco.json" in err


@pytest.mark.parametrize("option", ["--masks", "--maps", "--regions"])
def test_a_server_gives_no_evidence_but_heatmaps(shapes, tmp_path, lae_tf_command, option):
    place = tmp_path / "found.csv"
    code, _, err = lae_tf_command("predict", "--server", "http://127.0.0.1:1", shapes, option, place)
    assert code == 2 and f"{option} needs the attention itself" in err and "name a RUN" in err
    code, _, err = lae_tf_command(
        "predict", "--server", "http://127.0.0.1:1", shapes, "--heatmaps", tmp_path, "--max-side", "99"
    )
    assert code == 2 and "--max-side needs" in err


def test_copies(trained_run, model, photos, tmp_path, lae_tf_command):
    arguments = ["predict", trained_run.path, photos, "--copies"]
    code, out, _ = lae_tf_command(*arguments, "--json", "--csv", tmp_path / "out.csv")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(records) == 10
    threshold, bounds = float(model.calibration.threshold), model.calibration.bounds
    for record in records:
        scores = [record[name] for name in ("score", "score_jpeg-90", "score_scale-3/4")]
        agree = len({label_of(score, threshold) for score in scores}) == 1
        assert record["verdict"] == (verdict_of(scores[0], threshold, bounds) if agree else "unsure")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score_scale-3/4"]) for row in rows] == [record["score_scale-3/4"] for record in records]
    code, _, err = lae_tf_command("predict", "--server", "http://127.0.0.1:1", photos, "--copies")
    assert code == 2 and "--copies needs a RUN" in err


def test_a_threshold_of_ones_own_moves_the_verdict_with_the_label(trained_run, model, photos, lae_tf_command):
    _, out, _ = lae_tf_command("predict", trained_run.path, photos, "--json", "--threshold", "0.9")
    for record in map(json.loads, out.splitlines()):
        assert record["verdict"] == verdict_of(record["score"], record["threshold"], model.calibration.bounds)
        assert record["verdict"] in (record["label"], "unsure") and record["threshold"] == pytest.approx(0.9)


def test_the_picture_itself_is_in_its_heatmap(trained_run, photos, tmp_path, lae_tf_command):
    """A heatmap lays the attention over the image: it varies where the image does."""
    path = find_images([str(photos)])[0]
    lae_tf_command("predict", trained_run.path, path, "--heatmaps", tmp_path)
    (heatmap,) = tmp_path.iterdir()
    with Image.open(heatmap) as picture:
        drawn = np.asarray(picture.convert("L").resize((32, 32)), float)
    grey = np.asarray(Image.open(path).convert("L"), float)
    assert np.corrcoef(drawn.ravel(), grey.ravel())[0, 1] > 0.3


def test_heatmap_names_never_collide():
    files = ["a/x.png", "b/x.jpg", "c/x-2.png", "x.webp", "y.png", "d/X.png"]
    names = heatmap_names(files)
    assert list(names) == files and names["a/x.png"] == "x.png" and names["y.png"] == "y.png"
    assert len({name.lower() for name in names.values()}) == len(files)  # also where case does not count


@pytest.mark.parametrize("name", ["run", "empty"])
def test_a_missing_run_is_a_usage_error(tmp_path, photos, lae_tf_command, name):
    (tmp_path / "empty").mkdir()
    code, _, err = lae_tf_command("predict", tmp_path / name, photos)
    assert code == 2 and name in err and "Traceback" not in err


def test_paths_that_match_nothing_are_a_usage_error(trained_run, tmp_path, lae_tf_command):
    code, _, err = lae_tf_command("predict", trained_run.path, tmp_path / "none*.png")
    assert code == 2 and "none*.png" in err


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_name_that_is_not_text_is_scored(trained_run, photos, tmp_path, lae_tf_command):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    shutil.copy(find_images([str(photos)])[0], odd)
    code, out, _ = lae_tf_command("predict", trained_run.path, odd, "--csv", tmp_path / "out.csv")
    assert code == 0 and "caf\ufffd.png" in out
    assert b"/caf\xe9.png," in (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--report", "r"], "--report is for videos"),
        (["--whole"], "--whole is for models of the view 'faces', and for videos; this one's is 'whole'"),
        (["--frames", "3"], "--frames"),
    ],
)
def test_options_for_videos_are_refused_for_images(trained_run, photos, lae_tf_command, option, said):
    code, _, err = lae_tf_command("predict", trained_run.path, photos, *option)
    assert code == 2 and said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["RUN", "clip.mp4", "--csv", "x.csv"], "--csv is for images; these are videos"),
        (["RUN", "clip.mp4", "--heatmaps", "h"], "--heatmaps is for images"),
        (["RUN", "clip.mp4", "--masks", "h"], "--masks is for images"),
        (["RUN", "clip.mp4", "--regions", "x.csv"], "--regions is for images"),
        (["RUN", "clip.mp4", "--copies"], "--copies is for images"),
        (["--server", "http://127.0.0.1:1", "clip.mp4"], "--server scores images"),
    ],
)
def test_options_for_images_are_refused_for_videos(trained_run, tmp_path, lae_tf_command, arguments, said):
    (tmp_path / "clip.mp4").touch()
    places = {"RUN": trained_run.path, "clip.mp4": tmp_path / "clip.mp4"}
    code, _, err = lae_tf_command("predict", *(places.get(argument, argument) for argument in arguments))
    assert code == 2 and said in err
