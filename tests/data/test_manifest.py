"""The manifest: what it accepts, what it refuses and how it says so."""

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lae_tf.data.contract import COLUMNS
from lae_tf.data.manifest import Manifest
from lae_tf.errors import ManifestError, UsageError
from lae_tf.images.files import write_png


@pytest.fixture
def folder(tmp_path):
    """Files that rows can name: four images, an empty mask and one with two forged pixels."""
    for name in ("a.png", "b.png", "c.png", "sub/d.png"):
        write_png(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    mask = np.zeros((4, 4), np.uint8)
    write_png(tmp_path / "empty.png", mask)
    mask[1, 1:3] = 255
    write_png(tmp_path / "mask.png", mask)
    return tmp_path


def table(*rows, extra=()):
    return pd.DataFrame([dict(zip((*COLUMNS, *extra), row, strict=True)) for row in rows])


GOOD = (
    ("a.png", "real", "", "g1", "", "train"),
    ("b.png", "fake", "mask.png", "g1", "splice", "train"),
    ("c.png", "fake", "", "g2", "inpaint", "test"),
    ("sub/d.png", "real", "empty.png", "g2", "", "test"),
)


def problems(folder, *rows, extra=()):
    with pytest.raises(ManifestError) as caught:
        Manifest.from_frame(table(*rows, extra=extra), folder)
    return caught.value.problems


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_reads_rows_with_absolute_paths_and_three_mask_states(folder, suffix):
    Manifest.from_frame(table(*GOOD), folder).write(folder / f"m.{suffix}")

    manifest = Manifest.read(folder / f"m.{suffix}")

    assert list(manifest.frame["path"]) == [str(folder / row[0]) for row in GOOD]
    assert list(manifest.frame["mask"]) == ["", str(folder / "mask.png"), "", str(folder / "empty.png")]
    assert list(manifest.mask_state) == ["real", "annotated", "unlabelled", "real"]
    assert list(manifest.is_fake) == [False, True, True, False]
    assert manifest.counts() == {
        "train": {"real": 1, "fake": 1, "annotated": 1, "unlabelled": 0, "groups": 1},
        "test": {"real": 1, "fake": 1, "annotated": 0, "unlabelled": 1, "groups": 1},
    }


def test_written_paths_are_relative_posix_and_the_folder_can_move(folder, tmp_path_factory):
    Manifest.from_frame(table(*GOOD), folder).write(folder / "sub" / "m.csv")
    assert list(pd.read_csv(folder / "sub" / "m.csv")["path"]) == [
        "../a.png",
        "../b.png",
        "../c.png",
        "d.png",
    ]

    Manifest.from_frame(table(*GOOD), folder).write(folder / "m.csv")
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.copytree(folder, moved)
    assert Manifest.read(moved / "m.csv").digest() == Manifest.read(folder / "m.csv").digest()


def test_digest_is_the_same_for_both_formats_and_differs_with_any_cell(folder):
    manifest = Manifest.from_frame(table(*GOOD), folder)
    manifest.write(folder / "m.csv")
    manifest.write(folder / "m.parquet")
    assert Manifest.read(folder / "m.csv").digest() == Manifest.read(folder / "m.parquet").digest()
    changed = Manifest.from_frame(table(GOOD[0], (*GOOD[1][:4], "blend", "train"), *GOOD[2:]), folder)
    assert changed.digest() != manifest.digest()


def test_groups_that_look_like_numbers_or_missing_values_stay_text(folder):
    rows = [("a.png", "real", "", "007", "", "train"), ("b.png", "real", "", "NA", "", "val")]
    Manifest.from_frame(table(*rows), folder).write(folder / "m.csv")
    assert list(Manifest.read(folder / "m.csv").frame["group"]) == ["007", "NA"]


def test_parquet_with_nulls_and_numbers_reads_as_text(folder):
    rows = [("a.png", "real", None, 7, None, "train"), ("b.png", "fake", None, 8, "x", "train")]
    table(*rows).to_parquet(folder / "m.parquet")
    manifest = Manifest.read(folder / "m.parquet")
    assert list(manifest.frame["mask"]) == ["", ""]
    assert list(manifest.frame["group"]) == ["7", "8"]


def test_select_filters_methods_among_fakes_only(folder):
    manifest = Manifest.from_frame(table(*GOOD), folder)
    assert [name[-5] for name in manifest.select(methods=["splice"]).frame["path"]] == ["a", "b", "d"]
    assert list(manifest.select(split="test", label="fake").frame["method"]) == ["inpaint"]
    assert list(manifest.select(split="test").frame.index) == [0, 1]
    assert len(manifest.select(split="val")) == 0
    with pytest.raises(UsageError, match=r"'splise'.*did you mean 'splice'"):
        manifest.select(methods=["splise"])
    with pytest.raises(UsageError, match=r"'valid'.*did you mean 'val'"):
        manifest.select(split="valid")


def test_budget_counts_masks_drawn_by_people_in_the_training_split(folder):
    rows = [
        ("a.png", "real", "empty.png", "g1", "", "train", ""),
        ("b.png", "fake", "mask.png", "g1", "x", "train", "human"),
        ("c.png", "fake", "mask.png", "g1", "x", "train", "derived"),
        ("sub/d.png", "fake", "mask.png", "g2", "x", "test", "human"),
    ]
    # one of three training images: the derived mask, the real image's and the test mask cost nothing
    assert Manifest.from_frame(table(*rows, extra=["mask_source"]), folder).mask_budget() == pytest.approx(1 / 3)
    without_source = [row[:6] for row in rows]
    assert Manifest.from_frame(table(*without_source), folder).mask_budget() == pytest.approx(2 / 3)
    assert Manifest.from_frame(table(rows[3][:6]), folder).mask_budget() == 0.0


def test_an_image_is_not_its_own_mask(folder):
    (found,) = problems(folder, ("a.png", "fake", "a.png", "g1", "splice", "train"))
    assert "row 1, column 'mask'" in found and "is the image itself" in found


def test_every_problem_is_listed_with_row_and_column(folder):
    found = problems(
        folder,
        ("a.png", "real", "", "g1", "", "train"),
        ("b.png", "Fake", "", "g1", "splice", "test"),
        ("a.png", "real", "mask.png", "g3", "x", "val"),
        ("zz.png", "fake", "nomask.png", "", "", "tran"),
        ("", "real", "", "g4", "", "train"),
    )
    expected = [
        ("row 2, column 'label'", "did you mean 'fake'"),
        ("row 2, column 'group'", "'g1' is in split test here and in train"),
        ("row 3, column 'method'", "real image has no manipulation"),
        ("row 3, column 'path'", "already in row 1"),
        ("row 3, column 'mask'", "marks 2 pixels as forged"),
        ("row 4, column 'split'", "did you mean 'train'"),
        ("row 4, column 'group'", "is empty"),
        ("row 4, column 'method'", "is empty"),
        ("row 4, column 'path'", "zz.png is not a file"),
        ("row 4, column 'mask'", "nomask.png is not a file"),
        ("row 5, column 'path'", "is empty"),
    ]
    assert len(found) == len(expected)
    for sentence, (place, reason) in zip(found, expected, strict=True):
        assert sentence.startswith(place) and reason in sentence


def test_same_file_under_two_spellings_is_a_duplicate(folder):
    found = problems(
        folder,
        ("sub/d.png", "real", "", "g", "", "train"),
        (str(folder / "a.png") + "/../sub/./d.png", "real", "", "g", "", "train"),
    )
    assert len(found) == 1 and "row 2, column 'path'" in found[0]


def test_unreadable_mask_of_a_real_image_is_named(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    found = problems(folder, ("a.png", "real", "broken.png", "g", "", "train"))
    assert len(found) == 1 and "row 1, column 'mask'" in found[0] and "broken.png" in found[0]


def test_a_folder_and_a_nul_byte_are_not_files(folder):
    found = problems(folder, ("sub", "real", "", "g", "", "train"), ("x\0/y.png", "real", "", "g", "", "train"))
    assert [sentence.split(":")[0] for sentence in found] == ["row 1, column 'path'", "row 2, column 'path'"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "No columns"),
        ("path,label\nx,real\n", "column 'mask' is missing"),
        ("path,lable,mask,group,method,split\n", "unknown column 'lable' (did you mean 'label'?)"),
        ("path,label,mask,group,method,split\n", "has no rows"),
        ("path,label,mask,group,method,split\na.png,real,,g,,train,surplus\n", "more fields than its header"),
        ("path,label,mask,group,method,split\na.png,real,,g,,train\na,b,c,d,e,f,g,h\n", "line 3"),
        ("path,label,mask,group,method,split\na.png,real\n", "row 1, column 'split'"),
        ("path,label,mask,group,method,split\n\xff\n", "cannot be read as csv"),
    ],
)
def test_malformed_csv_is_refused_with_the_reason(folder, text, reason):
    (folder / "m.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ManifestError) as caught:
        Manifest.read(folder / "m.csv")
    assert reason in str(caught.value) and "m.csv" in str(caught.value)


def test_malformed_parquet_missing_file_and_other_suffixes_are_refused(folder):
    (folder / "m.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ManifestError, match="cannot be read as parquet"):
        Manifest.read(folder / "m.parquet")
    with pytest.raises(UsageError, match="no such manifest"):
        Manifest.read(folder / "absent.csv")
    with pytest.raises(UsageError, match=r"ends in \.csv or \.parquet, not in '\.xlsx'"):
        Manifest.read(folder / "m.xlsx")
    with pytest.raises(UsageError, match=r"not in '\.txt'"):
        Manifest.from_frame(table(*GOOD), folder).write(folder / "m.txt")


def test_utf8_mark_of_spreadsheets_is_not_part_of_the_first_column(folder):
    Manifest.from_frame(table(*GOOD), folder).write(folder / "m.csv")
    (folder / "m.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "m.csv").read_bytes())
    assert len(Manifest.read(folder / "m.csv")) == 4


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    group=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
    method=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
)
def test_any_text_survives_writing_and_reading(folder, group, method):
    rows = [("a.png", "real", "", group, "", "train"), ("b.png", "fake", "", group, method, "train")]
    Manifest.from_frame(table(*rows), folder).write(folder / "m.csv")
    frame = Manifest.read(folder / "m.csv").frame
    assert list(frame["group"]) == [group, group] and list(frame["method"]) == ["", method]
