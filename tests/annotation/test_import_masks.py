"""Masks into the manifest: exactly what was drawn, or nothing at all and every reason why."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from lae_tf.annotation.import_masks import detect_format, import_masks
from lae_tf.annotation.items import Item
from lae_tf.annotation.label_studio import brush_region
from lae_tf.annotation.round import Round
from lae_tf.annotation.store import AnnotationStore
from lae_tf.cli.export_tasks import command as export_verb
from lae_tf.cli.import_masks import command as import_verb
from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError, ProblemsError, UsageError

HEIGHT, WIDTH = 20, 30


def rectangle(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def write_masks(folder: Path, **masks: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask * np.uint8(255)).save(folder / f"{name}.png")
    return folder


def table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run.parent / "data" / "manifest.csv", keep_default_na=False).set_index("path")


def pixels(run: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(run.parent / "data" / table(run)["mask"][name]))


@pytest.fixture
def run(write_run, tmp_path):
    return write_run(tmp_path / "own")


def test_what_was_drawn_is_in_the_manifest(run):
    manifest = run.parent / "data" / "manifest.csv"
    before = manifest.read_bytes()
    selected = Round.open(run)
    store = AnnotationStore(selected.annotations, selected.items)
    mask = rectangle(3, 4, 9, 20)
    store.save_mask(selected.items[0], mask)
    store.save_verdict(selected.items[0], "done")
    store.save_verdict(selected.items[1], "not_fake")
    store.save_mask(selected.items[2], mask)  # begun, not finished
    imported = import_masks(selected.annotations, "annotations", selected)

    np.testing.assert_array_equal(pixels(run, "fake1.png"), 255 * mask)
    rows = table(run)
    assert rows.loc["fake1.png", "mask_source"] == "human"
    assert (rows["mask"] != "").sum() == 1
    assert (rows["mask_source"] != "").sum() == 1
    assert Manifest.read(manifest).mask_state[:3].tolist() == ["annotated", "unlabelled", "unlabelled"]
    assert (imported.masks, imported.replaced) == (1, 0)
    assert imported.not_fake == [str(selected.items[1].image)]
    assert imported.missing == [str(selected.items[2].image)]
    assert imported.share == pytest.approx(1 / 203)
    assert Path(imported.backup).read_bytes() == before


def test_a_verdict_takes_a_mask_drawn_earlier_back(run):
    """Drawn, imported, then judged not to be a fake: the budget counts no mask any more."""
    selected = Round.open(run)
    store = AnnotationStore(selected.annotations, selected.items)
    for item in selected.items[:2]:
        store.save_mask(item, rectangle(3, 4, 9, 20))
        store.save_verdict(item, "done")
    assert import_masks(selected.annotations, "annotations", selected).share == pytest.approx(2 / 203)
    store.save_verdict(selected.items[0], "not_fake")
    result = CliRunner().invoke(import_verb, [str(run), "--json"], catch_exceptions=False)
    imported = json.loads(result.output)
    assert (imported["masks"], imported["replaced"], imported["withdrawn"]) == (1, 1, 1)
    assert imported["not_fake"] == [str(selected.items[0].image)] and imported["missing"] == [
        str(selected.items[2].image)
    ]
    assert imported["share"] == pytest.approx(1 / 203)
    assert table(run)["mask_source"].tolist().count("human") == 1
    assert table(run).loc["fake1.png", ["mask", "mask_source"]].tolist() == ["", ""]
    said = CliRunner().invoke(import_verb, [str(run)], catch_exceptions=False).output
    assert "1 masks of round 1 imported" in said and "1 images judged not to be fakes: decided, without a mask." in said


def test_verdicts_stand_when_another_source_is_imported(run):
    selected = Round.open(run)
    store = AnnotationStore(selected.annotations, selected.items)
    for item in selected.items[1:3]:
        store.save_verdict(item, "not_fake")
    import_masks(selected.annotations, "annotations", selected)
    judged = [str(item.image) for item in selected.items[1:3]]
    drawn = write_masks(run.parent / "drawn", fake1=rectangle(3, 4, 9, 20), fake3=rectangle(3, 4, 9, 20))
    imported = import_masks(drawn, "png", Round.open(run))
    assert [path for path in judged if "fake3" not in path] == imported.not_fake
    assert len(imported.not_fake) == 1  # the mask of the third image overrules the verdict on it


def test_what_an_earlier_import_brought_is_not_missing(run):
    for name in ("fake1", "fake2"):
        drawn = write_masks(run.parent / name, **{name: rectangle(3, 4, 9, 20)})
        imported = import_masks(drawn, "png", Round.open(run))
    assert [Path(image).name for image in imported.missing] == ["fake3.png"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(arrays(np.uint8, (HEIGHT, WIDTH), elements=st.integers(0, 1)).filter(lambda mask: 0 < mask.mean() <= 0.95))
def test_any_mask_arrives_exactly_and_replaces_the_one_before(run, mask):
    import_masks(write_masks(run.parent / "drawn", fake1=mask), "png", Round.open(run))
    np.testing.assert_array_equal(pixels(run, "fake1.png"), 255 * mask)
    assert (table(run)["mask"] != "").sum() == 1


def test_importing_again_replaces_and_says_so(run):
    selected = Round.open(run)
    first = import_masks(write_masks(run.parent / "a", fake1=rectangle(0, 0, 5, 5)), "png", selected)
    kept = table(run)
    second = import_masks(
        write_masks(run.parent / "b", fake1=rectangle(1, 1, 9, 9), fake2=rectangle(0, 0, 5, 5)), "png", selected
    )
    assert (second.masks, second.replaced) == (2, 1)
    np.testing.assert_array_equal(pixels(run, "fake1.png"), 255 * rectangle(1, 1, 9, 9))
    # The manifest as it was between the two still means what it meant.
    old = np.asarray(Image.open(run.parent / "data" / kept["mask"]["fake1.png"]))
    np.testing.assert_array_equal(old, 255 * rectangle(0, 0, 5, 5))
    assert first.backup != second.backup


def test_masks_lie_beside_the_manifest_and_outlive_the_run(run, tmp_path):
    mask = rectangle(3, 4, 9, 20)
    import_masks(write_masks(tmp_path / "a", fake1=mask), "png", Round.open(run))
    (file,) = (run.parent / "data" / "masks-drawn").iterdir()
    assert table(run).loc["fake1.png", "mask"] == f"masks-drawn/{file.name}"
    shutil.rmtree(run)
    assert Manifest.read(run.parent / "data" / "manifest.csv").mask_state[0] == "annotated"
    np.testing.assert_array_equal(pixels(run, "fake1.png"), 255 * mask)


@pytest.mark.parametrize("content", ["another mask", "no image"])
def test_a_file_that_somebody_changed_is_not_written_again(run, tmp_path, content):
    mask = rectangle(3, 4, 9, 20)
    source = write_masks(tmp_path / "a", fake1=mask)
    import_masks(source, "png", Round.open(run))
    folder = run.parent / "data" / "masks-drawn"
    (file,) = folder.iterdir()
    if content == "another mask":
        Image.fromarray(255 * rectangle(0, 0, 2, 2)).save(file)
    else:
        file.write_text(content)
    changed = file.read_bytes()
    for _ in range(2):
        import_masks(source, "png", Round.open(run))
        assert file.read_bytes() == changed
        assert len(list(folder.iterdir())) == 2
        np.testing.assert_array_equal(pixels(run, "fake1.png"), 255 * mask)


def test_an_import_that_fails_half_way_leaves_nothing_behind(run, read_tree, tmp_path, monkeypatch):
    source = write_masks(tmp_path / "a", fake1=rectangle(0, 0, 5, 5))
    before = read_tree(run.parent)

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(Manifest, "write", fail)
    with pytest.raises(OSError, match="no space"):
        import_masks(source, "png", Round.open(run))
    assert read_tree(run.parent) == before
    assert not (run.parent / "data" / "masks-drawn").exists()


def test_a_person_overrides_a_derived_mask_and_pays_for_it(run):
    data = run.parent / "data"
    write_masks(data, derived=rectangle(0, 0, 3, 3))
    rows = table(run).reset_index()
    rows["mask_source"] = ""
    rows.loc[rows["path"] == "fake1.png", ["mask", "mask_source"]] = ["derived.png", "derived"]
    rows.to_csv(data / "manifest.csv", index=False)
    assert Manifest.read(data / "manifest.csv").mask_budget() == 0
    imported = import_masks(write_masks(run.parent / "a", fake1=rectangle(2, 2, 9, 9)), "png", Round.open(run))
    assert imported.share == pytest.approx(1 / 203)
    assert table(run).loc["fake1.png", "mask_source"] == "human"


WRONG = {
    "size": ({"fake1": np.ones((HEIGHT, WIDTH + 1), np.uint8)}, "31 x 20 pixels, the image has 30 x 20"),
    "empty": ({"fake1": rectangle(0, 0, 0, 0)}, "empty"),
    # 19 of 20 rows are 95 %, which is allowed; one more pixel is not.
    "coverage": ({"fake1": rectangle(0, 0, 19, 30) | rectangle(19, 0, 20, 1)}, "covers 95.2 %"),
    "unknown": ({"stranger": rectangle(0, 0, 5, 5)}, "'stranger.png' is not a selected image"),
    "real": ({"0": rectangle(0, 0, 5, 5)}, "'0.png' is not a selected image"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_one_wrong_mask_stops_the_import(run, read_tree, kind):
    masks, message = WRONG[kind]
    source = write_masks(run.parent / "drawn", **masks, fake2=rectangle(0, 0, 5, 5))
    before = read_tree(run.parent)
    with pytest.raises(ProblemsError, match="1 problem") as raised:
        import_masks(source, "png", Round.open(run))
    assert message in raised.value.problems[0]
    assert read_tree(run.parent) == before


def test_coverage_at_the_limit_is_allowed(run):
    assert import_masks(write_masks(run.parent / "a", fake1=rectangle(0, 0, 19, 30)), "png", Round.open(run)).masks == 1


def test_every_problem_is_reported_at_once(run, read_tree):
    source = write_masks(
        run.parent / "drawn",
        fake1=rectangle(0, 0, 0, 0),
        fake2=np.ones((3, 4), np.uint8),
        stranger=rectangle(0, 0, 5, 5),
    )
    (source / "fake3.png").write_bytes(b"no image")
    before = read_tree(run.parent)
    with pytest.raises(ProblemsError) as raised:
        import_masks(source, "png", Round.open(run))
    for name, problem in zip(("fake1", "fake2", "fake3", "stranger"), sorted(raised.value.problems), strict=True):
        assert f"{name}.png" in problem
    assert read_tree(run.parent) == before


def test_an_image_decided_twice_is_a_problem(run, read_tree):
    source = write_masks(run.parent / "drawn", fake1=rectangle(0, 0, 5, 5))
    write_masks(source / "data", fake1=rectangle(0, 0, 6, 6))
    before = read_tree(run.parent)
    with pytest.raises(ProblemsError, match="twice"):
        import_masks(source, "png", Round.open(run))
    assert read_tree(run.parent) == before


def test_an_image_that_became_real_is_a_problem(run, read_tree):
    manifest = run.parent / "data" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("fake1.png,fake,,g1,splice", "fake1.png,real,,g1,"))
    source = write_masks(run.parent / "drawn", fake1=rectangle(0, 0, 5, 5))
    before = read_tree(run.parent)
    with pytest.raises(ProblemsError, match="only fakes have masks"):
        import_masks(source, "png", Round.open(run))
    assert read_tree(run.parent) == before


def test_three_per_cent_is_over_budget(write_run, read_tree, tmp_path):
    # 3 of 100 training images are 3 %, which is not under 3 %.
    run = write_run(tmp_path / "own", reals=97)
    drawn = {f"fake{rank}": rectangle(0, 0, 5, 5) for rank in (1, 2, 3)}
    source = write_masks(run.parent / "drawn", **drawn)
    before = read_tree(run.parent)
    with pytest.raises(ProblemsError, match=r"3\.00 % .* under 3 %"):
        import_masks(source, "png", Round.open(run))
    assert read_tree(run.parent) == before
    assert import_masks(source, "png", Round.open(run), allow_over_budget=True).share == 0.03


def test_masks_that_are_there_already_count(write_run, tmp_path):
    run = write_run(tmp_path / "own", reals=97)
    selected = Round.open(run)
    two = {f"fake{rank}": rectangle(0, 0, 5, 5) for rank in (1, 2)}
    import_masks(write_masks(tmp_path / "a", **two), "png", selected)
    with pytest.raises(ProblemsError, match=r"3\.00 %"):
        import_masks(write_masks(tmp_path / "b", fake3=rectangle(0, 0, 5, 5)), "png", selected)
    assert import_masks(write_masks(tmp_path / "c", fake2=rectangle(0, 0, 6, 6)), "png", selected).share == 0.02


def test_a_selection_that_was_allowed_over_budget_may_be_imported(write_run, tmp_path):
    run = write_run(tmp_path / "own", reals=1, allow_over_budget=True)
    source = write_masks(tmp_path / "a", fake1=rectangle(0, 0, 5, 5))
    assert import_masks(source, "png", Round.open(run)).share == 0.25


def test_nothing_drawn_is_said(run, read_tree):
    before = read_tree(run.parent)
    selected = Round.open(run)
    with pytest.raises(UsageError, match="no finished mask"):
        import_masks(selected.annotations, "annotations", selected)
    assert read_tree(run.parent) == before


@pytest.mark.parametrize("kind", ["label-studio", "coco", "png"])
def test_files_of_another_run_are_refused(run, write_run, read_tree, tmp_path, kind):
    other = write_run(tmp_path / "other", reals=1)  # its images have the same stems, sizes and ranks
    result = CliRunner().invoke(export_verb, [str(other), str(tmp_path / "out"), "--format", kind, "--attention"])
    assert result.exit_code == 0, result.output
    source = {"label-studio": "tasks.json", "coco": "annotations.json", "png": "masks"}[kind]
    source = tmp_path / "out" / source
    if kind == "label-studio":  # the predictions, as if accepted by an annotator
        tasks = json.loads(source.read_text())
        source.write_text(json.dumps([{**task, "annotations": task["predictions"]} for task in tasks]))
    before = read_tree(run.parent)
    with pytest.raises(
        UsageError, match=r"another run or round; none of its 3 images, such as '.*0001-fake1-"
    ) as raised:
        import_masks(source, kind, Round.open(run))
    assert "\n" not in str(raised.value)
    assert read_tree(run.parent) == before


def test_tasks_of_another_run_that_nobody_annotated_are_refused_too(run, write_run, tmp_path):
    other = write_run(tmp_path / "other", reals=1)
    CliRunner().invoke(export_verb, [str(other), str(tmp_path / "out")], catch_exceptions=False)
    with pytest.raises(UsageError, match="another run or round"):
        import_masks(tmp_path / "out" / "tasks.json", "label-studio", Round.open(run))
    with pytest.raises(UsageError, match="no finished mask"):
        import_masks(tmp_path / "out" / "tasks.json", "label-studio", Round.open(other))


def coco(names, **fields):
    """A COCO file whose images each have the same rectangle, of rows 4 to 12 and columns 3 to 15."""
    box = [3, 4, 15, 4, 15, 12, 3, 12]
    return {
        "categories": [{"id": 1, "name": "forged"}],
        "images": [{"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "segmentation": [box]} for n in range(len(names))],
        **fields,
    }


@pytest.mark.parametrize(
    "files",
    [
        {"annotations/instances_train.json": ["fake1.png"], "annotations/instances_val.json": ["fake2.png"]},
        {"annotations/instances_default.json": ["fake1.png", "fake2.png"]},
        {"result.json": ["images\\0a1b2c3d-fake1.png", "images\\0a1b2c3d-fake2.png"]},
        {"train/_annotations.coco.json": ["fake1_png.rf.0a1b.png", "fake2_png.rf.0a1b.png"]},
    ],
)
def test_a_folder_with_coco_files_is_known(run, tmp_path, files):
    for name, images in files.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(json.dumps(coco(images)))
    (tmp_path / "out/annotations/.instances_x.json").parent.mkdir(exist_ok=True)
    (tmp_path / "out/annotations/.instances_x.json").write_text("hidden")
    result = CliRunner().invoke(import_verb, [str(run), str(tmp_path / "out"), "--json"], catch_exceptions=False)
    answer = json.loads(result.output)
    assert (answer["format"], answer["masks"]) == ("coco", 2)
    for image in ("fake1.png", "fake2.png"):
        np.testing.assert_array_equal(pixels(run, image), 255 * rectangle(4, 3, 12, 15))


def test_images_that_are_not_found_are_not_said_to_be_of_another_run(run, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(coco(["elsewhere/photo.png"])))
    with pytest.raises(
        UsageError, match=r"none of its 1 images, such as 'elsewhere/photo\.png', is selected"
    ) as raised:
        import_masks(tmp_path / "x.json", "coco", Round.open(run))
    assert "another run" not in str(raised.value)


def test_hidden_folders_of_masks_are_passed_over(run, tmp_path):
    source = write_masks(tmp_path / "a", fake1=rectangle(0, 0, 5, 5))
    write_masks(source / ".ipynb_checkpoints", fake1=rectangle(0, 0, 6, 6))
    assert import_masks(source, "png", Round.open(run)).masks == 1
    (source / "fake2.png").symlink_to("fake2.png")
    with pytest.raises(ProblemsError, match=r"fake2\.png: cannot be read: Too many levels"):
        import_masks(source, "png", Round.open(run))


def test_what_the_page_drew_for_another_run_is_refused(run, write_run, read_tree, tmp_path):
    drawn = Round.open(write_run(tmp_path / "other", reals=1))
    store = AnnotationStore(drawn.annotations, drawn.items)
    store.save_mask(drawn.items[0], rectangle(3, 4, 9, 20))
    store.save_verdict(drawn.items[0], "done")
    before = read_tree(run.parent)
    with pytest.raises(UsageError, match=r"another selection \('0001-fake1-.*' is not in this one\)"):
        import_masks(drawn.annotations, "annotations", Round.open(run))
    assert read_tree(run.parent) == before


def test_rounds_that_are_not_there(run, write_run, tmp_path):
    with pytest.raises(UsageError, match="no round 2"):
        Round.open(run, 2)
    with pytest.raises(UsageError, match="no run here"):
        Round.open(tmp_path)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    with pytest.raises(UsageError, match="lae-tf select"):
        Round.open(tmp_path / "bare")


def test_the_last_round_is_the_default(run):
    for number in (2, 10):
        (run / "rounds" / str(number)).mkdir()
        text = (run / "rounds" / "1" / "selection.csv").read_text()
        (run / "rounds" / str(number) / "selection.csv").write_text(text)
    assert Round.open(run).number == 10
    assert Round.open(run, 1).items[0].attention.name == "0001.png"
    assert Round.open(run).items[0].attention is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.txt", "", "expected a JSON file"), ("a.zip", "", "unpack"), ("a.json", "{", "is not JSON")],
)
def test_sources_of_no_known_format(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        detect_format(tmp_path / name)


@pytest.mark.parametrize("kind", ["coco", "png"])
def test_verbs_take_masks_out_and_back(run, tmp_path, kind):
    out = tmp_path / "out"
    exported = CliRunner().invoke(
        export_verb, [str(run), str(out), "--format", kind, "--attention", "--json"], catch_exceptions=False
    )
    assert json.loads(exported.output)["images"] == 3
    source = out / "annotations.json" if kind == "coco" else out
    for item in Round.open(run).items:  # everybody adds the upper left pixel
        correct(out, kind, item)
    result = CliRunner().invoke(import_verb, [str(run), str(source), "--json"], catch_exceptions=False)
    answer = json.loads(result.output)
    assert (answer["format"], answer["masks"], answer["replaced"]) == (kind, 3, 0)
    for rank in (1, 2, 3):
        expected = rectangle(2, rank, 9, rank + 10) | rectangle(0, 0, 1, 1)
        np.testing.assert_array_equal(pixels(run, f"fake{rank}.png"), 255 * expected)


def correct(out: Path, kind: str, item: Item) -> None:
    """Add the upper left pixel to what was exported."""
    if kind == "png":
        path = out / "masks" / f"{item.name}.png"
        Image.fromarray(np.asarray(Image.open(path)) | 255 * rectangle(0, 0, 1, 1)).save(path)
    elif kind == "coco":
        content = json.loads((out / "annotations.json").read_text())
        corner = {"segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]], "image_id": item.rank, "category_id": 1}
        content["annotations"].append(corner)
        (out / "annotations.json").write_text(json.dumps(content))
    else:
        tasks = json.loads((out / "tasks.json").read_text())
        tasks[item.rank - 1]["annotations"][0]["result"].append(brush_region(rectangle(0, 0, 1, 1), "corner"))
        (out / "tasks.json").write_text(json.dumps(tasks))


@pytest.mark.parametrize("kind", ["label-studio", "coco", "png"])
def test_attention_that_nobody_corrected_is_refused_by_name(run, read_tree, tmp_path, kind):
    out = tmp_path / "out"
    CliRunner().invoke(export_verb, [str(run), str(out), "--format", kind, "--attention"], catch_exceptions=False)
    source = {"label-studio": out / "tasks.json", "coco": out / "annotations.json", "png": out}[kind]
    if kind == "label-studio":  # predictions become annotations when somebody submits them
        tasks = json.loads(source.read_text())
        source.write_text(json.dumps([{**task, "annotations": task["predictions"]} for task in tasks]))
    first, second, third = Round.open(run).items
    correct(out, kind, second)
    before = read_tree(run.parent)
    with pytest.raises(ProblemsError, match="2 problems") as raised:
        import_masks(source, kind, Round.open(run))
    for item, problem in zip((first, third), raised.value.problems, strict=True):
        assert f"the mask of {item.image} is the model's attention" in problem
    assert read_tree(run.parent) == before


def test_attention_that_is_called_done_on_the_page_is_a_verdict(run):
    selected = Round.open(run)
    store = AnnotationStore(selected.annotations, selected.items)
    store.save_mask(selected.items[0], rectangle(2, 1, 9, 11))
    store.save_verdict(selected.items[0], "done")
    assert import_masks(selected.annotations, "annotations", selected).masks == 1


@pytest.mark.parametrize("kind", ["coco", "png"])
def test_attention_never_comes_back_as_drawn_unless_asked_for(run, tmp_path, kind):
    out = tmp_path / "out"
    CliRunner().invoke(export_verb, [str(run), str(out), "--format", kind], catch_exceptions=False)
    source = out / "annotations.json" if kind == "coco" else out
    with pytest.raises(LAEError):
        import_masks(source, kind, Round.open(run))
    assert "mask_source" not in table(run)


def test_verb_imports_what_the_page_saved(run):
    selected = Round.open(run)
    store = AnnotationStore(selected.annotations, selected.items)
    store.save_mask(selected.items[1], rectangle(0, 0, 4, 4))
    store.save_verdict(selected.items[1], "done")
    store.save_verdict(selected.items[2], "not_fake")
    result = CliRunner().invoke(import_verb, [str(run)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 masks of round 1" in result.output
    assert "0.49 %" in result.output
    assert f"Judged not to be a fake, still labelled so: {selected.items[2].image}" in result.output


def test_verbs_do_without_tensorflow(run, tmp_path):
    code = (
        "import sys; from lae_tf.cli.export_tasks import command\n"
        f"command([{str(run)!r}, {str(tmp_path / 'out')!r}], standalone_mode=False)\n"
        "import lae_tf.annotation.import_masks, lae_tf.masks.differencing\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
