"""Planted faults are found, each by its check; a clean set has none."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lae_tf.audit import check_data, checking
from lae_tf.audit.page import write_page
from lae_tf.data.manifest import Manifest
from lae_tf.datasets.forging import ForgeOptions, forge_folder
from lae_tf.forge import PostProcessing
from lae_tf.images.files import read_image, read_mask, write_png

SIZE = 64
METHODS = ["splice", "copy-move", "warp"]


def photograph(seed):
    """A picture with structure at several scales and a grain of its own, unlike any other."""
    rng = np.random.default_rng(seed)
    image = rng.normal(128, np.exp(rng.uniform(0, 2.5)), (SIZE, SIZE, 3)).astype(np.float32)
    for cells, strength in ((4, 80), (9, 45), (24, 25)):
        coarse = rng.normal(0, strength * np.exp(rng.uniform(-1, 0.3)), (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Folder of a forged data set; tests change copies of it."""
    folder = tmp_path_factory.mktemp("clean")
    for number in range(30):
        write_png(folder / "photos" / f"{number:02}.png", photograph(number))
    forge_folder(
        folder / "photos", folder / "data", METHODS, 7, progress=False, options=ForgeOptions(splits=(0.6, 0.2, 0.2))
    )
    return folder / "data"


@pytest.fixture
def data(clean, tmp_path):
    """Copy of the clean set: its folder, and its manifest as a table to change."""
    shutil.copytree(clean, tmp_path / "data")
    return tmp_path / "data", pd.read_csv(tmp_path / "data" / "manifest.csv", dtype=str, keep_default_na=False)


@pytest.fixture
def no_classifier(monkeypatch):
    """Leave out what takes longest, where a test is about something else."""
    monkeypatch.setattr(checking, "measure_giveaways", lambda facts: [])


def check(folder, frame):
    frame.to_csv(folder / "manifest.csv", index=False)
    return check_data(folder / "manifest.csv", progress=False)


def found(checked):
    return {(one.severity, one.check) for one in checked.findings}


def only(checked, check):
    (one,) = [one for one in checked.findings if one.check == check]
    return one


def test_a_clean_set_has_no_fault_and_no_warning(clean):
    checked = check_data(clean / "manifest.csv", progress=False)
    assert checked.findings == [] and checked.faults == 0
    assert checked.compared == 90
    assert {one.kind for one in checked.predictability} >= {"file size", "JPEG tables", "dimensions", "sharpness"}


def test_a_clean_set_that_was_post_processed_has_none_either(tmp_path):
    for number in range(30):
        write_png(tmp_path / "photos" / f"{number:02}.png", photograph(number))
    forge_folder(
        tmp_path / "photos",
        tmp_path / "data",
        METHODS,
        5,
        progress=False,
        options=ForgeOptions(splits=(0.6, 0.2, 0.2), post_processing=PostProcessing()),
    )
    checked = check_data(tmp_path / "data" / "manifest.csv", progress=False)
    assert checked.findings == []


def test_a_picture_in_two_splits_is_found_though_it_was_compressed_and_resized(data, no_classifier):
    folder, frame = data
    row = frame[(frame["label"] == "real") & (frame["split"] == "train")].iloc[0]
    image = Image.open(folder / row["path"]).resize((96, 96), Image.Resampling.BICUBIC)
    image.save(folder / "again.png")
    copy = {**row, "path": "again.png", "group": "another", "split": "test"}
    checked = check(folder, pd.concat([frame, pd.DataFrame([copy])], ignore_index=True))
    one = only(checked, "duplicates")
    assert one.severity == "fault" and any(str(folder / "again.png") in pair for pair in one.files)
    # beside the photograph itself its forgeries resemble the copy; all of them are of its group
    others = {Path(file).name for pair in one.files for file in pair} - {"again.png"}
    assert others <= {Path(row["path"]).name}


def test_class_dependent_jpeg_quality_is_found_and_named(data):
    folder, frame = data
    for index, row in frame.iterrows():
        name = str(Path(row["path"]).with_suffix(".jpg"))
        Image.open(folder / row["path"]).save(folder / name, quality=90 if row["label"] == "real" else 70)
        frame.loc[index, "path"] = name
    checked = check(folder, frame)
    tables = [one for one in checked.findings if "JPEG tables" in one.message]
    assert [one.severity for one in tables] == ["fault"]
    (measured,) = [one for one in checked.predictability if (one.kind, one.fakes) == ("JPEG tables", "all fakes")]
    assert measured.auroc.value == 1.0 and measured.auroc.low == 1.0
    assert measured.strongest == "jpeg_quality" and measured.medians == pytest.approx((70, 90), abs=1.0)
    assert not any("dimensions" in one.message for one in checked.findings)


def test_one_method_saved_otherwise_is_found_among_others(data):
    folder, frame = data
    for index, row in frame.iterrows():
        name = str(Path(row["path"]).with_suffix(".jpg"))
        quality = 60 if row["method"] == "splice" else 92
        Image.open(folder / row["path"]).save(folder / name, quality=quality)
        frame.loc[index, "path"] = name
    checked = check(folder, frame)
    telling = {one.fakes for one in checked.predictability if one.kind == "JPEG tables" and one.tells}
    assert "splice" in telling and "copy-move" not in telling
    assert ("fault", "give-aways") in found(checked)


def test_compression_hidden_in_lossless_files_is_found(data):
    folder, frame = data
    for row in frame.itertuples():
        if row.label == "fake":
            image = cv2.imread(str(folder / row.path))
            encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
            cv2.imwrite(str(folder / row.path), cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    checked = check(folder, frame)
    assert any("compression traces" in one.message and one.severity == "fault" for one in checked.findings)


def test_other_dimensions_of_fakes_are_found(data):
    folder, frame = data
    for row in frame.itertuples():
        if row.label == "real":
            write_png(folder / row.path, cv2.resize(read_image(folder / row.path), (72, 72)))
    checked = check(folder, frame)
    one = [one for one in checked.findings if "dimensions" in one.message]
    assert [(o.severity, o.check) for o in one] == [("fault", "give-aways")]


def test_file_size_is_a_warning_that_says_never_to_feed_it(data):
    folder, frame = data
    for row in frame.itertuples():
        if row.label == "fake":
            cv2.imwrite(str(folder / row.path), cv2.imread(str(folder / row.path)), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    checked = check(folder, frame)
    (one,) = checked.findings
    assert (one.severity, one.check) == ("warning", "give-aways") and "Never feed it" in one.message
    assert checked.faults == 0


@pytest.mark.parametrize(("down", "right"), [(10, 0), (-6, 8), (0, -14)])
def test_a_shifted_mask_is_found_with_its_shift(data, no_classifier, down, right):
    folder, frame = data
    shifted = []
    for row in frame[frame["method"] == "splice"].itertuples():
        mask = read_mask(folder / row.mask)
        rows, columns = np.nonzero(mask)
        moved = (rows + down, columns + right)
        if min(moved[0].min(), moved[1].min()) < 0 or max(moved[0].max(), moved[1].max()) >= SIZE:
            continue  # part of the mask would leave the image
        write_png(folder / row.mask, np.roll(mask, (down, right), (0, 1)) * np.uint8(255))
        shifted.append(str(folder / row.path))
    checked = check(folder, frame)
    one = only(checked, "masks")
    assert one.severity == "fault" and "not where the image differs" in one.message
    found_files = {files[0] for files in one.files}
    assert found_files <= set(shifted) and len(found_files) >= 0.7 * len(shifted) > 0


def test_masks_that_are_empty_of_another_size_or_grey_are_found(data, no_classifier):
    folder, frame = data
    masks = frame.loc[frame["mask"] != "", "mask"].tolist()
    write_png(folder / masks[0], np.zeros((SIZE, SIZE), np.uint8))
    write_png(folder / masks[1], np.full((SIZE, SIZE), 255, np.uint8))
    write_png(folder / masks[2], cv2.resize(read_mask(folder / masks[2]), (SIZE, SIZE // 2)) * np.uint8(255))
    write_png(folder / masks[3], cv2.resize(read_mask(folder / masks[3]), (SIZE // 2, SIZE // 2)) * np.uint8(255))
    grey = cv2.GaussianBlur(read_mask(folder / masks[4]) * np.uint8(255), (0, 0), 3)
    write_png(folder / masks[4], grey)
    checked = check(folder, frame)
    messages = {
        one.message.split(" masks ")[1].split(":")[0].split(",")[0]: (one.severity, one.files[0][1])
        for one in checked.findings
        if " masks " in one.message and one.check == "masks" and "could be held" not in one.message
    }
    assert messages == {
        "of fakes mark nothing": ("fault", str(folder / masks[0])),
        "have another aspect ratio than their image": ("fault", str(folder / masks[2])),
        "mark the whole image": ("warning", str(folder / masks[1])),
        "have another size than their image": ("warning", str(folder / masks[3])),
        "hold values between black and white": ("warning", str(folder / masks[4])),
    }


def test_a_real_image_listed_again_as_fake_is_found(data, no_classifier):
    folder, frame = data
    row = frame[frame["label"] == "real"].iloc[2]
    shutil.copy(folder / row["path"], folder / "fake.png")
    copy = {**row, "path": "fake.png", "label": "fake", "method": "splice"}
    checked = check(folder, pd.concat([frame, pd.DataFrame([copy])], ignore_index=True))
    one = only(checked, "labels")
    assert one.severity == "fault" and one.files == ((str(folder / "fake.png"), str(folder / row["path"])),)


def test_a_real_image_labelled_fake_is_found_by_the_fakes_made_from_it(data, no_classifier):
    folder, frame = data
    index = frame[(frame["label"] == "real") & (frame["split"] == "train")].index[3]
    frame.loc[index, ["label", "method"]] = ["fake", "splice"]
    checked = check(folder, frame)
    one = only(checked, "labels")
    assert one.severity == "fault" and [files[0] for files in one.files] == [str(folder / frame.loc[index, "path"])]


def test_a_fake_labelled_real_is_found_by_its_source(data, no_classifier):
    folder, frame = data
    index = frame[frame["method"] == "splice"].index[4]
    frame.loc[index, ["label", "method", "mask"]] = ["real", "", ""]
    checked = check(folder, frame)
    one = only(checked, "labels")
    assert one.severity == "fault" and one.count == 1
    assert str(folder / frame.loc[index, "path"]) in one.files[0]


def test_a_real_image_only_saved_anew_and_labelled_fake_is_a_warning(data, no_classifier):
    folder, frame = data
    row = frame[frame["label"] == "real"].iloc[1]
    noise = np.random.default_rng(0).integers(-1, 2, (SIZE, SIZE, 3))
    write_png(folder / "fake.png", np.clip(read_image(folder / row["path"]) + noise, 0, 255).astype(np.uint8))
    copy = {**row, "path": "fake.png", "label": "fake", "method": "splice"}
    checked = check(folder, pd.concat([frame, pd.DataFrame([copy])], ignore_index=True))
    assert found(checked) == {("warning", "labels")}
    assert only(checked, "labels").files[0] == (str(folder / "fake.png"), str(folder / row["path"]))


def test_corrupt_files_are_found_and_the_rest_is_checked(data, no_classifier):
    folder, frame = data
    image, mask = frame["path"][0], frame.loc[frame["mask"] != "", "mask"].iloc[3]
    (folder / image).write_bytes((folder / image).read_bytes()[:200])
    (folder / mask).write_text("no image")
    checked = check(folder, frame)
    one = only(checked, "files")
    assert one.severity == "fault" and set(one.files) == {(str(folder / image),), (str(folder / mask),)}
    assert checked.compared > 80 and found(checked) == {("fault", "files")}


def test_missing_and_rare_labels_and_methods_are_found(data, no_classifier):
    folder, frame = data
    no_real_val = frame[~((frame["split"] == "val") & (frame["label"] == "real"))]
    assert "none is real" in only(check(folder, no_real_val), "balance").message
    train_splices = frame[(frame["split"] == "train") & (frame["method"] == "splice")].index
    few = frame.drop(train_splices[1:])
    one = only(check(folder, few), "balance")
    assert one.severity == "warning" and "splice (1), against 18" in one.message
    reals = frame[(frame["split"] == "train") & (frame["label"] == "real")].index
    one = only(check(folder, frame.drop(reals[1:])), "balance")
    assert one.severity == "warning" and "only 1 real images of 55" in one.message


def test_a_manifest_that_breaks_the_contract_is_all_that_is_reported(data, tmp_path):
    folder, frame = data
    frame.loc[0, "label"] = "genuine"
    frame.loc[1, "path"] = "nowhere.png"
    checked = check(folder, frame)
    assert checked.manifest is None and found(checked) == {("fault", "manifest")} and checked.faults == 2
    assert "genuine" in checked.findings[0].message
    assert "nothing else was checked" in write_page(checked, tmp_path / "page.html").read_text()


def test_nothing_but_reals_without_masks(tmp_path):
    for number in range(3):
        write_png(tmp_path / f"{number}.png", photograph(number))
    rows = [(f"{number}.png", "real", "", f"g{number}", "", "train") for number in range(3)]
    Manifest.from_frame(
        pd.DataFrame(rows, columns=["path", "label", "mask", "group", "method", "split"]), tmp_path
    ).write(tmp_path / "manifest.csv")
    checked = check_data(tmp_path / "manifest.csv", progress=False)
    assert found(checked) == {("fault", "balance")} and checked.predictability == []


def test_the_verb_prints_writes_a_page_and_ends_with_one_on_a_fault(data, lae_tf_command, monkeypatch):
    folder, frame = data
    page = folder / "out" / "check.html"
    with monkeypatch.context() as patch:
        patch.setattr(checking, "measure_giveaways", lambda facts: [])
        code, out, _ = lae_tf_command("check-data", folder / "manifest.csv", "--html", page)
    assert code == 0 and "no faults and no warnings in 120 images" in out
    assert page.read_text().count('<li class="example') == 4  # samples: real, and one for each method
    assert page.read_text().count("<img") == 4 * 6

    mask = folder / frame.loc[frame["mask"] != "", "mask"].iloc[0]
    write_png(mask, np.zeros((SIZE, SIZE), np.uint8))
    code, out, _ = lae_tf_command("check-data", folder / "manifest.csv", "--json", "--html", page)
    result = json.loads(out)
    assert code == 1 and result["faults"] == 1 and result["images"] == 120
    assert result["findings"][0]["files"][0][1] == str(mask)
    assert {one["kind"] for one in result["predictability"]} >= {"colour", "sharpness"}
    assert "Fault: masks" in page.read_text() and page.read_text().count('<li class="example') == 5

    code, _, error = lae_tf_command("check-data", folder / "absent.csv")
    assert code == 2 and "absent.csv" in error
