"""`lae-tf explain` from end to end on the shared run."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lae_tf.data.manifest import Manifest
from lae_tf.errors import UsageError
from lae_tf.explain.explaining import explain_files, summarise
from lae_tf.explain.known_masks import load_mask, truth_from_folder, truth_from_manifest
from lae_tf.explain.methods import METHODS
from lae_tf.explain.report import _cards, _caution
from lae_tf.model.preprocessing import Preprocessor


@pytest.fixture(scope="module")
def chosen(tiny_manifest):
    """Two real images and two fakes with masks."""
    frame = Manifest.read(tiny_manifest).select(split="test").frame
    return [*frame[frame["label"] == "real"]["path"][:2], *frame[frame["mask"] != ""]["path"][:2]]


@pytest.fixture(scope="module")
def explained(trained_run, tiny_manifest, chosen, tmp_path_factory):
    """What the command printed and wrote, with one damaged file among the images."""
    from click.testing import CliRunner

    from lae_tf.cli.explain import command

    folder = tmp_path_factory.mktemp("explained")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = [*chosen[:3], str(folder / "bad.png"), chosen[3]]
    arguments = [str(trained_run.path), *paths, "--manifest", str(tiny_manifest), "-o", str(folder / "out"), "--json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return result, folder / "out", paths


def test_the_answer(explained):
    result, out, paths = explained
    answer = json.loads(result.stdout)
    assert answer["report"] == str(out / "report.html")
    assert {row["method"] for row in answer["summary"]} == set(METHODS)
    assert [image["path"] for image in answer["images"]] == paths
    values = [row["faithfulness"] for row in answer["summary"]]
    assert values == sorted(values, reverse=True)
    for row in answer["summary"]:
        assert row["images"] == 4 and row["with_mask"] == 2
        assert row["faithfulness"] == pytest.approx(row["insertion_auc"] - row["deletion_auc"])


def test_a_bad_file_is_reported_and_skipped(explained):
    result, *_ = explained
    assert result.exit_code == 1
    assert "bad.png" in result.stderr
    assert set(json.loads(result.stdout)["images"][3]) == {"path", "error"}


def test_files(explained):
    result, out, _ = explained
    panels = [Path(image["panel"]) for image in json.loads(result.stdout)["images"] if "panel" in image]
    assert sorted(panels) == sorted((out / "panels").iterdir()) and len(panels) == 4
    for panel in panels:
        with Image.open(panel) as picture:
            assert picture.format == "PNG" and picture.width > 600
    assert sorted(path.name for path in out.iterdir()) == ["explanations.csv", "panels", "report.html", "summary.csv"]
    with (out / "explanations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * len(METHODS)
    page = (out / "report.html").read_text("utf-8")
    # The curves, and of each of four images: input, reconstruction, every method's map, and the mask where it is known.
    masks = 4 - page.count("mask\nnot known")
    assert page.count("data:image/png;base64,") == 1 + 4 * (2 + len(METHODS)) + masks
    assert page.count('<li class="example') == 4 and "linear-gradient" in page
    assert "Score-CAM" in page and "Most faithful" in page


def test_agreement_is_measured_where_a_forged_region_is_known(explained):
    result, *_ = explained
    for image in json.loads(result.stdout)["images"]:
        for numbers in image.get("methods", {}).values():
            assert (numbers["pixel_auroc"] is None) == ("fake" not in Path(image["path"]).name)


def test_curves_begin_with_the_score_of_the_image(trained_run, chosen):
    model = trained_run.load_model()
    found = list(explain_files(model, chosen[:2], methods=["attention", "random"], seed=1))
    for one in found:
        for faithfulness in one.faithfulness.values():
            assert faithfulness.deletion[0] == pytest.approx(one.prediction.score, abs=1e-5)
            assert faithfulness.deletion[-1] == pytest.approx(one.baseline_score, abs=1e-5)
            np.testing.assert_allclose(faithfulness.insertion[[0, -1]], faithfulness.deletion[[-1, 0]], atol=1e-6)
        np.testing.assert_allclose(one.maps["attention"], one.prediction.attention, atol=1e-6)
    table = [row for one in found for row in one.rows()]
    mean = np.mean([one.faithfulness["random"].deletion_auc for one in found])
    summary = summarise(pd.DataFrame(table)).set_index("method")
    assert summary.loc["random", "deletion_auc"] == pytest.approx(mean)
    assert "pixel_auroc" not in summary  # no mask is known


def summary_of(**faithfulness):
    """Summary of images 0, 1, ... with the given faithfulness, method by method."""
    rows = [
        {"path": str(path), "method": method, "faithfulness": value, "insertion_auc": value, "deletion_auc": 0.0}
        for method, values in faithfulness.items()
        for path, value in enumerate(values)
    ]
    return summarise(
        pd.DataFrame(rows).assign(pixel_auroc=np.nan, best_iou=np.nan, pointing=np.nan, energy_inside=np.nan)
    )


def test_methods_are_compared_with_the_control_image_by_image():
    summary = summary_of(grad_cam=[0.9, -0.1, -0.1], random=[0.0, 0.0, 0.0], attention=[0.2, 0.1, -0.1])
    assert list(summary["method"]) == ["grad_cam", "attention", "random"]
    np.testing.assert_allclose(summary["beats_random"], [1 / 3, 2 / 3, np.nan])
    np.testing.assert_allclose(summary["p_value"], [7 / 8, 4 / 8, np.nan])  # of 8 results, 7 with a win and 4 with two
    assert "beats_random" not in summary_of(attention=[0.5])


def test_the_page_names_no_method_that_chance_may_have_made_best():
    (card,) = _cards(summary_of(attention=[0.2] * 4, random=[0.0] * 4))
    assert card.value == "none for certain" and "attention (LAE) leads" in card.note and "p = 0.06" in card.note
    (card,) = _cards(summary_of(attention=[0.2] * 5, random=[0.0] * 5))
    assert card.value == "attention (LAE)" and "100 % of 5 images" in card.note
    # p = 1/32; of two methods the better one leads by chance twice as often.
    card, *_ = _cards(summary_of(attention=[0.2] * 5, grad_cam=[0.1] * 5, random=[0.0] * 5))
    assert card.value == "none for certain" and "p = 0.06" in card.note


def test_the_page_warns_where_blur_counts_as_a_forgery():
    rows = pd.DataFrame({"path": ["a", "a", "b", "c"], "baseline_label": ["real", "real", "fake", "fake"]})
    assert "of 2 of 3 images" in _caution(rows)
    assert _caution(rows[:3]) and not _caution(rows[:2])


def test_masks_from_a_folder(trained_run, chosen, tmp_path, lae_tf_command):
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(masks / f"{Path(chosen[2]).stem}.bmp")
    (masks / f"{Path(chosen[3]).stem}.png").write_bytes(b"no mask")
    code, out, err = lae_tf_command(
        "explain",
        trained_run.path,
        *chosen[2:],
        "--masks",
        masks,
        "--methods",
        "random",
        "-o",
        tmp_path / "o",
        "--json",
    )
    first, second = json.loads(out)["images"]
    assert first["methods"]["random"]["pixel_auroc"] is not None
    # A mask that cannot be read is reported, its image explained without it.
    assert code == 1 and Path(chosen[3]).stem in err
    assert second["methods"]["random"]["pixel_auroc"] is None and second["panel"]


def test_overlays_and_panels_have_the_shape_of_the_file(trained_run, chosen, tmp_path, lae_tf_command):
    with Image.open(chosen[0]) as picture:
        picture.convert("RGB").resize((120, 60)).save(tmp_path / "wide.png")
        picture.convert("RGB").resize((60, 120)).save(tmp_path / "tall.png")
    arguments = ["explain", trained_run.path, tmp_path / "tall.png", tmp_path / "wide.png", "-o", tmp_path / "o"]
    arguments += ["--methods", "attention,random", "--max-side", "100"]
    code, _, err = lae_tf_command(*arguments)
    assert code == 2 and "give --overlays too" in err
    code, out, _ = lae_tf_command(*arguments, "--overlays", "--json")
    images = json.loads(out)["images"]
    assert code == 0 and [set(image["overlays"]) for image in images] == [{"attention", "random"}] * 2
    for image, size in zip(images, [(50, 100), (100, 50)], strict=True):
        for method, file in image["overlays"].items():
            assert Path(file) == tmp_path / "o" / "overlays" / method / Path(image["path"]).name
            with Image.open(file) as picture:
                assert picture.size == size
    heights = [Image.open(image["panel"]).height for image in images]
    assert heights[0] > 1.5 * heights[1]


def test_a_table_for_people(trained_run, chosen, tmp_path, lae_tf_command):
    # On Linux a name is bytes; one that is no text is explained all the same.
    odd = (
        os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png") if sys.platform == "linux" else str(tmp_path / "cafe.png")
    )
    shutil.copy(chosen[0], odd)
    code, out, err = lae_tf_command(
        "explain", trained_run.path, odd, "--methods", "random,attention", "-o", tmp_path / "o"
    )
    assert code == 0
    assert out.split()[0] == "method" and {line.split()[0] for line in out.splitlines()[1:]} == {"random", "attention"}
    assert str(tmp_path / "o" / "report.html") in err
    name = r"caf\udce9.png" if sys.platform == "linux" else "cafe.png"
    assert all(name in (tmp_path / "o" / file).read_text("utf-8") for file in ("explanations.csv", "report.html"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "lime"], "lime"),
        (["--masks", "{empty}"], "no mask is named"),
        (["--masks", "{empty}", "--manifest", "{manifest}"], "one of them"),
    ],
)
def test_wrong_requests(trained_run, tiny_manifest, chosen, tmp_path, lae_tf_command, options, message):
    (tmp_path / "empty").mkdir()
    filled = [option.format(empty=tmp_path / "empty", manifest=tiny_manifest) for option in options]
    code, _, err = lae_tf_command("explain", trained_run.path, chosen[0], *filled, "-o", tmp_path / "o")
    assert code == 2 and message in err and "Traceback" not in err
    assert not (tmp_path / "o").exists()


def test_bad_files_alone(trained_run, tmp_path, lae_tf_command):
    (tmp_path / "bad.png").write_bytes(b"")
    code, _, err = lae_tf_command("explain", trained_run.path, tmp_path / "bad.png", "-o", tmp_path / "o")
    assert code == 2 and "bad.png" in err and not (tmp_path / "o").exists()


# --- what is known of images ------------------------------------------------------------------------------


def test_truth_from_a_manifest(tiny_manifest, chosen):
    lookup = truth_from_manifest(tiny_manifest, chosen)
    assert (lookup(chosen[0]).label, lookup(chosen[0]).mask) == (0, "")
    assert lookup(chosen[2]).label == 1 and lookup(chosen[2]).mask.endswith("-mask.png")
    assert lookup("elsewhere.png").label is None
    with pytest.raises(UsageError, match="none of the images"):
        truth_from_manifest(tiny_manifest, ["elsewhere.png"])


def test_two_masks_of_one_name_are_refused(tmp_path):
    for name in ("a.png", "a.bmp"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    with pytest.raises(UsageError, match=r"two masks.*a\.bmp.*a\.png"):
        truth_from_folder(tmp_path, ["a.jpg"])


def test_a_mask_is_of_one_image(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    lookup = truth_from_folder(tmp_path, ["fake/a.jpg", "fake/b.jpg"])
    assert lookup("fake/a.jpg").mask == str(tmp_path / "a.png") and lookup("fake/b.jpg").mask == ""
    with pytest.raises(UsageError, match=r"two of the images, fake/a\.jpg and real/a\.png"):
        truth_from_folder(tmp_path, ["fake/a.jpg", "real/a.png"])
    with pytest.raises(UsageError, match="no mask is named as one of the images"):
        truth_from_folder(tmp_path, ["fake/b.jpg"])
    with pytest.raises(UsageError, match="is the image itself, and no mask of it"):
        truth_from_folder(tmp_path, [str(tmp_path / "a.png")])


def test_masks_are_resized_by_the_nearest_pixel(tmp_path):
    mask = np.random.default_rng(0).integers(0, 2, (8, 8)).astype(np.uint8)
    Image.fromarray(mask * 255).save(tmp_path / "m.png")
    np.testing.assert_array_equal(
        load_mask(str(tmp_path / "m.png"), Preprocessor(16), (8, 8)), mask.repeat(2, 0).repeat(2, 1)
    )
