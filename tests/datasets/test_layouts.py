"""Each known data set, built small: labels, groups, splits, pairs, and what is listed as unmatched."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.data.manifest import Manifest
from lae_tf.datasets.layouts import LAYOUTS, Options, build_manifest
from lae_tf.datasets.layouts.samples import Components, Sample
from lae_tf.datasets.layouts.splits import assign
from lae_tf.errors import UsageError
from lae_tf.images.files import read_mask, write_png

SIZE = 32
BOX = (slice(8, 24), slice(4, 20))


def picture(value=100):
    return np.full((SIZE, SIZE, 3), value, np.uint8)


def edited(value=100):
    image = picture(value)
    image[BOX] += 60
    return image


def mask():
    drawn = np.zeros((SIZE, SIZE), np.uint8)
    drawn[BOX] = 255
    return drawn


def fill(folder, names, image):
    for name in names:
        write_png(folder / f"{name}.png", image)


def build(kind, root, **options):
    options = {"shares": (1.0, 0.0, 0.0), "progress": False, **options}
    progress = options.pop("progress")
    return build_manifest(kind, root, root.parent / "manifest.csv", Options(**options), progress)


def rows(built, root):
    """Table by path below the root, with masks relative to it as well."""
    frame = built.manifest.frame.copy()
    for column in ("path", "mask"):
        frame[column] = [cell and cell.removeprefix(f"{root}/") for cell in frame[column]]
    return frame.set_index("path")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def faceforensics(root, frames=("000000", "000010")):
    for name in ("000", "003", "001", "870"):
        for quality in ("c23", "c40"):
            fill(root / f"original_sequences/youtube/{quality}/videos/{name}", frames, picture())
    for name in ("000_003", "003_000", "001_870"):
        fill(root / f"manipulated_sequences/Deepfakes/c23/videos/{name}", frames, edited())
    fill(root / "manipulated_sequences/Deepfakes/masks/videos/000_003", frames, mask())


class TestFaceForensics:
    def test_pairs_share_group_and_official_split(self, root):
        faceforensics(root)
        (root / "splits").mkdir()
        for split, pair in {"train": ["003", "000"], "test": ["001", "870"]}.items():
            (root / f"splits/{split}.json").write_text(json.dumps([pair]))
        table = rows(build("faceforensics++", root, compression="c23"), root)
        assert len(table) == 14
        first = table[table["group"] == "000_003"]
        assert set(first["split"]) == {"train"} and len(first) == 8
        second = table[table["group"] == "001_870"]
        assert set(second["split"]) == {"test"} and len(second) == 6

    def test_masks_pair_by_frame_and_gaps_are_listed(self, root):
        faceforensics(root)
        fakes = "manipulated_sequences/Deepfakes"
        (root / f"{fakes}/masks/videos/000_003/000010.png").unlink()
        fill(root / f"{fakes}/masks/videos/555_556", ["000000"], mask())
        built = build("faceforensics++", root, compression="c23")
        table = rows(built, root)
        assert table.loc[f"{fakes}/c23/videos/000_003/000000.png", "mask"] == f"{fakes}/masks/videos/000_003/000000.png"
        assert table.loc[f"{fakes}/c23/videos/000_003/000010.png", "mask"] == ""
        text = "\n".join(built.unmatched)
        assert "Deepfakes/c23/000_003: 1 frames have no mask (000010)" in text
        assert "003_000: 2 frames have no mask" in text
        assert "masks/555_556: masks of a video without frames" in text
        assert (root.parent / "manifest-unmatched.txt").read_text().splitlines() == built.unmatched

    def test_all_compressions_without_a_choice(self, root):
        faceforensics(root)
        assert len(build("faceforensics++", root).manifest) == 22

    def test_derived_masks_where_the_original_is_at_hand(self, root):
        faceforensics(root)
        built = build("faceforensics++", root, compression="c23", derive=True)
        assert built.derived == 4
        frame = built.manifest.frame
        assert sorted(frame.loc[frame["label"] == "fake", "mask_source"]) == ["", ""] + ["derived"] * 4
        for path in frame.loc[frame["mask_source"] == "derived", "mask"]:
            overlap = read_mask(path)[mask() > 0].mean()
            assert overlap > 0.9 and read_mask(path).mean() < 0.4

    @pytest.mark.parametrize("place", ["c23/masks", "masks", "c23/masks/frames", "masks/images"])
    def test_masks_as_deepfakebench_has_them(self, root, place):
        stems = ("000", "037")
        fill(root / "original_sequences/youtube/c23/frames/054", stems, picture())
        fill(root / "manipulated_sequences/Deepfakes/c23/frames/054_071", stems, edited())
        fill(root / f"manipulated_sequences/Deepfakes/{place}/054_071", stems, mask())
        (root / "manipulated_sequences/Deepfakes/c23/landmarks/054_071").mkdir(parents=True)
        np.save(root / "manipulated_sequences/Deepfakes/c23/landmarks/054_071/000.npy", np.zeros(3))
        built = build("faceforensics++", root)
        assert not built.unmatched
        assert [built.manifest.counts()["train"][key] for key in ("real", "fake", "annotated")] == [2, 2, 2]
        frame = rows(built, root)
        path = "manipulated_sequences/Deepfakes/c23/frames/054_071/037.png"
        assert frame.loc[path, "mask"] == f"manipulated_sequences/Deepfakes/{place}/054_071/037.png"

    def test_masks_belong_to_one_compression(self, root):
        for quality in ("c23", "c40"):
            fill(root / f"original_sequences/youtube/{quality}/frames/054", ["0"], picture())
            fill(root / f"manipulated_sequences/FaceSwap/{quality}/frames/054_071", ["0"], edited())
        fill(root / "manipulated_sequences/FaceSwap/c40/masks/054_071", ["0", "1"], mask())
        fill(root / "manipulated_sequences/FaceSwap/c40/masks/999_998", ["0"], mask())
        built = build("faceforensics++", root)
        fakes = rows(built, root)[lambda table: table["label"] == "fake"]
        assert fakes["mask"].tolist() == ["", "manipulated_sequences/FaceSwap/c40/masks/054_071/0.png"]
        assert built.unmatched == [
            "manipulated_sequences/FaceSwap/c40/054_071: 1 frames of the masks have no image (1)",
            "manipulated_sequences/FaceSwap/c40/masks/999_998: masks of a video without frames",
        ]

    def test_other_compressions_are_counted(self, root):
        faceforensics(root)
        built = build("faceforensics++", root, compression="c40")
        assert "manipulated_sequences/Deepfakes/c23: 6 images left out, not of c40" in built.unmatched

    def test_actors_are_one_group_in_test(self, root):
        faceforensics(root)
        (root / "train.json").write_text(json.dumps([["000", "003"], ["001", "870"]]))
        fill(root / "original_sequences/actors/c23/videos/01__walking", ["0"], picture())
        fill(root / "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking__ABCDEFGH", ["0"], edited())
        built = build("faceforensics++", root, compression="c23")
        actors = rows(built, root)[lambda table: table["group"].str.contains("actor")]
        assert len(actors) == 2 and set(actors["split"]) == {"test"} and actors["group"].nunique() == 1
        assert not any("01__walking" in sentence for sentence in built.unmatched)

    def test_missing_original_is_listed_and_the_fake_kept(self, root):
        fill(root / "manipulated_sequences/FaceSwap/c40/videos/010_020", ["0"], edited())
        built = build("faceforensics++", root)
        assert built.unmatched == ["manipulated_sequences/FaceSwap/c40/010_020: its original 010 (c40) is not there"]

    @pytest.mark.parametrize("content", ['{"a": 1}', '[["1"]]', "[", "[[1, 2]]"])
    def test_damaged_split_file(self, root, content):
        faceforensics(root)
        (root / "val.json").write_text(content)
        with pytest.raises(UsageError, match=r"val\.json"):
            build("faceforensics++", root)


class TestCelebDF:
    def make(self, root):
        for name in ("Celeb-real/id0_0000", "Celeb-real/id1_0000", "Celeb-real/id2_0003", "YouTube-real/00000"):
            fill(root / name, ["0", "1"], picture())
        for name in ("id0_id1_0000", "id0_id2_0000", "id1_id0_0000"):
            fill(root / "Celeb-synthesis" / name, ["0", "1"], edited())

    def test_groups_are_the_target_videos(self, root):
        self.make(root)
        table = rows(build("celeb-df", root), root)
        assert set(table["group"]) == {"id0_0000", "id1_0000", "id2_0003", "youtube_00000"}
        assert table.loc["Celeb-synthesis/id0_id2_0000/0.png", "group"] == "id0_0000"
        assert set(table.loc[table["label"] == "fake", "method"]) == {"celeb-synthesis"}

    def test_official_list(self, root):
        self.make(root)
        fill(root / "Celeb-synthesis/id2_id1_0003", ["0"], edited())  # two groups with fakes are left for two splits
        lines = ["1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4", "1 YouTube-real/00009.mp4", ""]
        (root / "List_of_testing_videos.txt").write_text("\n".join(lines))
        built = build("celeb-df", root, shares=(0.5, 0.5, 0.0))
        table = rows(built, root)
        test = table[table["split"] == "test"]
        assert set(test["group"]) == {"id0_0000"} and len(test) == 4
        assert "Celeb-synthesis/id0_id2_0000/0.png" not in table.index  # its group is tested, it is not
        assert any("id0_0000: 2 images left out" in sentence for sentence in built.unmatched)
        assert any("YouTube-real/00009" in sentence for sentence in built.unmatched)
        assert set(table["split"]) == {"train", "val", "test"}

    def test_a_list_from_windows(self, root):
        self.make(root)
        (root / "List_of_testing_videos.txt").write_text("1 YouTube-real\\00000.mp4\r\n")
        table = rows(build("celeb-df", root), root)
        assert set(table.loc[table["split"] == "test", "group"]) == {"youtube_00000"}

    def test_names_without_a_donor(self, root):
        self.make(root)
        fill(root / "Celeb-synthesis/extra", ["0"], edited())
        table = rows(build("celeb-df", root), root)
        assert table.loc["Celeb-synthesis/extra/0.png", "group"] == "extra"

    def test_damaged_list(self, root):
        self.make(root)
        (root / "List_of_testing_videos.txt").write_text("Celeb-real/id0_0000.mp4\n")
        with pytest.raises(UsageError, match="line 1"):
            build("celeb-df", root)


class TestDFDC:
    def make(self, root, splits=("train", "train", "train")):
        facts = {
            "aaa.mp4": {"label": "REAL", "split": splits[0]},
            "bbb.mp4": {"label": "FAKE", "split": splits[0], "original": "aaa.mp4"},
            "ccc.mp4": {"label": "REAL", "split": splits[1]},
            "ddd.mp4": {"label": "FAKE", "split": splits[2], "original": "zzz.mp4"},
            "eee.mp4": {"label": "REAL", "split": splits[1]},
            "fff.mp4": {"label": "FAKE", "split": splits[0], "original": 5},
        }
        part = root / "dfdc_train_part_0"
        for name in ("aaa", "ccc", "xxx"):
            fill(part / name, ["0"], picture())
        for name in ("bbb", "ddd", "fff"):
            fill(part / name, ["0"], edited())
        (part / "metadata.json").write_text(json.dumps(facts))

    def test_groups_and_unmatched(self, root):
        self.make(root)
        built = build("dfdc", root)
        table = rows(built, root)
        assert dict(table["group"]) == {
            f"dfdc_train_part_0/{name}/0.png": group
            for name, group in {"aaa": "aaa", "bbb": "aaa", "ccc": "ccc", "ddd": "zzz", "fff": "5"}.items()
        }
        assert built.unmatched == [
            "dfdc_train_part_0/eee.mp4: in metadata.json, but has no frames",
            "dfdc_train_part_0/xxx: is not in metadata.json",
            "dfdc_train_part_0/ddd: its original zzz is not there",
            "dfdc_train_part_0/fff: its original 5 is not there",
        ]

    def test_splits_of_the_metadata(self, root):
        self.make(root, splits=("train", "validation", "test"))
        table = rows(build("dfdc", root), root)
        assert dict(zip(table["group"], table["split"], strict=True)) == {
            "aaa": "train",
            "ccc": "val",
            "zzz": "test",
            "5": "train",
        }

    def test_folders_without_metadata_are_listed(self, root):
        self.make(root)
        fill(root / "dfdc_train_part_1/eee", ["0", "1"], picture())
        (root / "dfdc_train_part_1/.x").mkdir()
        fill(root / "dfdc_train_part_1/.x", ["0"], picture())
        said = build("dfdc", root).unmatched
        assert said[-1] == "dfdc_train_part_1/eee: 2 images left out (0.png, 1.png), listed in no metadata.json"
        assert not any("/.x" in sentence for sentence in said)

    def test_names_from_windows(self, root):
        facts = {"part\\aaa.mp4": {"label": "REAL"}, "bbb.mp4": {"label": "FAKE", "original": "part\\aaa.mp4"}}
        fill(root / "aaa", ["0"], picture())
        fill(root / "bbb", ["0"], edited())
        (root / "metadata.json").write_text(json.dumps(facts))
        built = build("dfdc", root)
        assert not built.unmatched and set(rows(built, root)["group"]) == {"aaa"}

    def test_unknown_label(self, root):
        self.make(root)
        (root / "dfdc_train_part_0/metadata.json").write_text('{"aaa.mp4": {"label": "MAYBE"}}')
        with pytest.raises(UsageError, match=r"'aaa\.mp4': expected a label REAL or FAKE"):
            build("dfdc", root)


class TestPairs:
    def test_by_exact_stem(self, root):
        fill(root / "real", ["1", "10", "sub/1"], picture())
        fill(root / "stargan", ["1", "sub/1", "100"], edited())
        fill(root / "glow", ["10"], edited())
        fill(root / "masks/glow", ["10", "7"], mask())
        built = build("pairs", root)
        table = rows(built, root)
        assert table.loc["stargan/1.png", "group"] == "1" == table.loc["real/1.png", "group"]
        assert table.loc["stargan/sub/1.png", "group"] == "sub/1"
        assert table.loc["glow/10.png", "mask"] == "masks/glow/10.png"
        assert [sentence.removeprefix(f"{root}/") for sentence in built.unmatched] == [
            f"{root}/masks/glow/7.png: mask without an image".removeprefix(f"{root}/"),
            "stargan/100.png: has no image of the stem '100' in real/",
        ]

    def test_frames_of_a_video_are_one_group(self, root):
        for folder in ("real/clip", "stargan/clip"):
            fill(root / folder, ["0", "1"], picture())
            (root / folder / "frames.json").write_text("{}")
        assert set(rows(build("pairs", root), root)["group"]) == {"clip"}

    def test_masks_that_the_package_wrote_beside_the_images_are_no_method(self, root):
        fill(root / "real", ["1"], picture())
        fill(root / "stargan", ["1"], edited())
        for folder in ("masks-derived", "masks-drawn", "manifest-masks"):
            fill(root / folder, ["1"], mask())
        assert set(rows(build("pairs", root), root)["method"]) == {"", "stargan"}
        fill(root / "in/real", ["1"], picture())
        fill(root / "in/fake/gan", ["1"], edited())
        fill(root / "in/fake/masks-derived/gan", ["1"], mask())
        assert set(rows(build("folders", root / "in"), root)["method"]) == {"", "gan"}

    def test_a_manifest_that_is_replaced_is_kept(self, root):
        """It may name masks that people drew."""
        fill(root / "real", ["1"], picture())
        fill(root / "stargan", ["1"], edited())
        first = build("pairs", root)
        assert build("pairs", root).backup == first.backup == ""
        file = root.parent / "manifest.csv"
        table = pd.read_csv(file, keep_default_na=False)
        fill(root / "masks-drawn", ["1"], mask())
        drawn = os.path.relpath(root / "masks-drawn/1.png", root.parent)
        table.loc[table["label"] == "fake", ["mask", "mask_source"]] = [drawn, "human"]
        table.to_csv(file, index=False)
        kept = build("pairs", root).backup
        assert kept.endswith("manifest.csv.bak-1")
        assert pd.read_csv(kept, keep_default_na=False)["mask_source"].tolist().count("human") == 1

    def test_hidden_files_are_no_images_and_linked_folders_are_named(self, root):
        fill(root / "real", ["1", "._1"], picture())
        fill(root / "stargan", ["1"], edited())
        assert len(rows(build("pairs", root), root)) == 2
        (root / "stargan/more").symlink_to(root / "real")
        with pytest.raises(UsageError, match="more: is a link to a folder"):
            build("pairs", root)

    def test_a_name_that_is_not_text_is_named(self, root):
        fill(root / "real", ["1"], picture())
        fill(root / "stargan", ["1"], edited())
        shutil.copy(root / "real/1.png", os.fsencode(root / "real") + b"/caf\xe9.png")
        with pytest.raises(UsageError, match=r"caf.*not UTF-8; rename"):
            build("pairs", root)

    def test_other_suffix_and_doubled_stem(self, root):
        fill(root / "real", ["1"], picture())
        from PIL import Image

        (root / "stargan").mkdir()
        Image.fromarray(edited()).save(root / "stargan/1.bmp")
        Image.fromarray(edited()).save(root / "stargan/1.jpg")
        built = build("pairs", root)
        assert set(rows(built, root).index) == {"real/1.png", "stargan/1.bmp"}
        assert "has the stem of" in built.unmatched[0]

    def test_derived_masks_need_equal_sizes(self, root):
        fill(root / "real", ["1", "2"], picture())
        write_png(root / "glow/1.png", edited())
        write_png(root / "glow/2.png", picture()[:20])
        built = build("pairs", root, derive=True)
        assert built.derived == 1
        assert len(built.unmatched) == 1 and "32 x 20" in built.unmatched[0]

    def test_nothing_to_pair(self, root):
        fill(root / "real", ["1"], picture())
        with pytest.raises(UsageError, match="each method"):
            build("pairs", root)


class TestFolders:
    def test_given_splits_and_methods(self, root):
        for split in ("train", "valid", "test"):
            fill(root / split / "real", ["1"], picture())
            fill(root / split / "fake", ["1"], edited())
        fill(root / "train/fake/gan", ["9"], edited())
        table = rows(build("folders", root), root)
        assert table.loc["valid/fake/1.png", "split"] == "val"
        assert table.loc["train/fake/1.png", "method"] == "fake"
        assert table.loc["train/fake/gan/9.png", "method"] == "gan"
        assert table.loc["train/real/1.png", "group"] == table.loc["train/fake/1.png", "group"] == "train/1"

    def test_frames_of_videos(self, root):
        for folder in ("real/a", "fake/b", "fake/gan/c"):
            fill(root / folder, ["0", "1"], picture())
            (root / folder / "frames.json").write_text("{}")
        table = rows(build("folders", root), root)
        assert dict(table["group"]) == {
            f"{folder}/{frame}.png": folder[-1] for folder in ("real/a", "fake/b", "fake/gan/c") for frame in "01"
        }
        assert table.loc["fake/b/0.png", "method"] == "fake" and table.loc["fake/gan/c/0.png", "method"] == "gan"


class TestCasia:
    def test_masks_methods_and_groups(self, root):
        fill(root / "Au", ["Au_ani_00001", "Au_ani_00002", "Au_nat_30001"], picture())
        spliced, moved = "Tp_D_CRN_S_N_ani00001_ani00002_11130", "Tp_S_NRN_S_N_nat30001_nat30001_11131"
        fill(root / "Tp", [spliced, moved, "Tp_D_X_Y_Z_sec00007_sec00008_9"], edited())
        fill(root / "CASIA 2 Groundtruth", [f"{spliced}_gt", moved, "Tp_gone_gt"], mask())
        built = build("casia", root)
        table = rows(built, root)
        assert table.loc[f"Tp/{spliced}.png", "method"] == "splice"
        assert table.loc[f"Tp/{moved}.png", "method"] == "copy-move"
        assert table.loc[f"Tp/{spliced}.png", "mask"].endswith(f"{spliced}_gt.png")
        group = table.loc["Au/Au_ani_00001.png", "group"]
        assert group == table.loc["Au/Au_ani_00002.png", "group"] == table.loc[f"Tp/{spliced}.png", "group"]
        assert table.loc["Au/Au_nat_30001.png", "group"] == table.loc[f"Tp/{moved}.png", "group"] != group
        assert [sentence.split(": ")[1] for sentence in built.unmatched] == [
            "has no mask Tp_D_X_Y_Z_sec00007_sec00008_9_gt.png or Tp_D_X_Y_Z_sec00007_sec00008_9.png",
            "mask without an image",
        ]


class TestCoco:
    def content(self):
        from pycocotools import mask as oracle

        compressed = oracle.encode(np.asfortranarray(mask() // 255))
        square = [4, 8, 20, 8, 20, 24, 4, 24]
        size = {"height": SIZE, "width": SIZE}
        return {
            "categories": [{"id": 1, "name": "splice"}, {"id": 2, "name": "not a fake"}],
            "images": [
                {"id": 1, "file_name": "a.png", **size},
                {"id": 2, "file_name": "b.png", **size},
                {"id": 3, "file_name": "../secret.png", **size},
                {"id": 4, "file_name": "c.png", **size},
                {"id": 5, "file_name": "d.png", "height": 1_000_000, "width": 1_000_000},
            ],
            "annotations": [
                {
                    "image_id": 1,
                    "category_id": 1,
                    "segmentation": {"size": [SIZE, SIZE], "counts": compressed["counts"].decode()},
                },
                {"image_id": 4, "category_id": 2, "segmentation": [square]},
                {"image_id": 5, "category_id": 1, "segmentation": [square]},
                {"image_id": 99, "category_id": 1, "segmentation": [square]},
            ],
        }

    def test_masks_labels_and_hostile_names(self, root):
        write_png(root.parent / "secret.png", picture())
        fill(root / "images", ["a", "b", "c", "unlisted"], picture())
        fill(root, ["d"], picture())
        (root / "annotations.json").write_text(json.dumps(self.content()))
        built = build("coco", root)
        table = rows(built, root)
        assert dict(table["label"]) == {"images/a.png": "fake", "images/b.png": "real", "images/c.png": "real"} | {
            "d.png": "fake"
        }
        assert table.loc["images/a.png", "method"] == "splice"
        assert table.loc["images/a.png", "mask_source"] == "human"
        np.testing.assert_array_equal(read_mask(table.loc["images/a.png", "mask"]), mask() // 255)
        assert table.loc["d.png", "mask"] == ""
        text = "\n".join(built.unmatched)
        for part in ("'../secret.png' is not there", "image 99", "unlisted.png", "1000000 x 1000000"):
            assert part in text

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ('"height": 1000000', '"height": 1e999', "is not a COCO file"),
            ('"name": "splice"', '"name": "\\ud800"', "cannot be read as JSON"),
        ],
    )
    def test_numbers_and_names_beyond_all_files(self, root, old, new, said):
        fill(root / "images", ["a", "b", "c"], picture())
        text = json.dumps(self.content())
        assert old in text
        (root / "annotations.json").write_text(text.replace(old, new))
        with pytest.raises(UsageError, match=said):
            build("coco", root)

    def listing(self, *names):
        """A file that lists images by name, each forged as a whole; ids are text here, numbers there."""
        images = [{"id": str(n), "file_name": name, "height": SIZE, "width": SIZE} for n, name in enumerate(names)]
        whole = {"category_id": 1, "segmentation": [[0, 0, SIZE, 0, SIZE, SIZE, 0, SIZE]]}
        drawn = [{"id": n, "image_id": n, **whole} for n in range(len(names))]
        return json.dumps({"categories": [{"id": "1", "name": "splice"}], "images": images, "annotations": drawn})

    @pytest.mark.parametrize(
        "name",
        [
            "sub\\é 0.png",
            "images\\sub\\é 0.png",
            "C:\\work\\set\\sub\\é 0.png",
            "/home/ann/images/sub/é 0.png",
            "..\\images\\sub\\é 0.png",
            "sub/%C3%A9%200.png",
            "sub/e\u0301 0.png",
            "s3://bucket/sub/é 0.png",
        ],
    )
    def test_names_of_other_systems(self, root, name):
        fill(root / "images/sub", ["é 0"], picture())
        (root / "annotations").mkdir()
        (root / "annotations/instances_default.json").write_text(self.listing(name))
        built = build("coco", root)
        assert not built.unmatched
        assert rows(built, root).loc["images/sub/é 0.png", "mask"]

    @pytest.mark.parametrize("places", [("images/train", "images/val"), ("train", "val")])
    def test_subsets_have_images_of_one_name(self, root, places):
        (root / "annotations").mkdir()
        for place in places:
            fill(root / place, ["0"], picture())
            (root / f"annotations/instances_{place.split('/')[-1]}.json").write_text(self.listing("0.png"))
        built = build("coco", root)
        assert not built.unmatched and set(rows(built, root).index) == {f"{place}/0.png" for place in places}

    def test_roboflow_has_a_file_beside_the_images_of_each_split(self, root):
        for split in ("train", "valid"):
            fill(root / split, ["0"], picture())
            (root / split / "_annotations.coco.json").write_text(self.listing("0.png"))
        built = build("coco", root)
        assert not built.unmatched and len(built.manifest) == 2

    def test_of_two_images_that_a_name_may_be_none_is_guessed(self, root):
        for folder in (".", "images"):
            fill(root / folder, ["0", "1"], picture())
        fill(root, ["2"], picture())
        names = ("0.png", "C:\\a\\images\\1.png", "D:\\b\\images\\1.png", "2.png")
        (root / "x.json").write_text(self.listing(*names))
        built = build("coco", root)
        assert list(rows(built, root).index) == ["2.png"]
        assert f"'0.png' may be {root}/0.png or {root}/images/0.png; left out" in built.unmatched[0]
        assert f"both seem to be {root}/images/1.png; left out" in built.unmatched[1]
        assert built.unmatched[2:] == [f"{root}/1.png: left out, listed in no COCO file"]

    def test_a_failure_leaves_no_masks_behind(self, root):
        fill(root / "images", ["a"], picture())
        content = self.content()
        content["images"], content["annotations"] = content["images"][:1], content["annotations"][:1]
        (root / "annotations.json").write_text(json.dumps(content))
        before = sorted(root.parent.rglob("*"))
        with pytest.raises(UsageError, match="cannot fill the splits"):
            build("coco", root, shares=(0.7, 0.1, 0.2))
        assert sorted(root.parent.rglob("*")) == before

    def test_no_coco_file(self, root):
        (root / "a.json").write_text("[]")
        with pytest.raises(UsageError, match="not a COCO file"):
            build("coco", root)


class TestLeftOver:
    """Whatever became neither image nor mask is listed, in every layout."""

    def make(self, kind, root):
        if kind == "faceforensics++":
            fill(root / "original_sequences/youtube/c23/videos/000", ["0"], picture())
        elif kind == "celeb-df":
            fill(root / "Celeb-real/id0_0000", ["0"], picture())
        elif kind == "dfdc":
            fill(root / "part_0/aaa", ["0"], picture())
            (root / "part_0/metadata.json").write_text('{"aaa.mp4": {"label": "REAL"}}')
        elif kind == "pairs":
            fill(root / "real", ["0"], picture())
            fill(root / "glow", ["0"], edited())
        elif kind == "folders":
            fill(root / "train/real", ["0"], picture())
        elif kind == "casia":
            fill(root / "Au", ["Au_ani_00001"], picture())
            fill(root / "Tp", ["Tp_S_N_ani00001"], edited())
            fill(root / "Gt", ["Tp_S_N_ani00001_gt"], mask())
        else:
            fill(root / "images", ["0"], picture())
            images = [{"id": 1, "file_name": "0.png", "height": SIZE, "width": SIZE}]
            (root / "a.json").write_text(json.dumps({"categories": [], "images": images, "annotations": []}))

    @pytest.mark.parametrize("kind", LAYOUTS)
    def test_every_layout(self, kind, root):
        self.make(kind, root)
        before = build(kind, root)
        assert not before.unmatched and not before.report
        stray = root / ("masks/none" if kind == "pairs" else "sub/stray")  # there any folder beside real/ is a method
        fill(root, ["top"], picture())
        fill(stray, ["5", "6"], picture())
        (stray / "7.heic").write_bytes(b"\0\0\0\x18ftypheic")
        (stray / "8.png").symlink_to("nowhere")
        fill(root / ".ipynb_checkpoints", ["9"], picture())
        (root / "clip.mp4").write_bytes(b"x")
        (root / "loop").symlink_to(".")
        (root / "notes.txt").write_text("")
        name = stray.relative_to(root).as_posix()
        reasons = {"dfdc": "listed in no metadata.json", "coco": "listed in no COCO file"}
        reason = reasons.get(kind, "without a place in this layout")
        expected = [
            f"{root}: 1 videos left out (clip.mp4); a manifest holds images, which 'lae-tf frames' takes from videos",
            f"{root}/top.png: left out, {reason}",
            f"{stray}/7.heic: is not a JPEG, PNG, BMP, GIF, WebP or TIFF image, or not called so; convert it",
            f"{stray}/8.png: cannot be read: No such file or directory",
            f"{name}: 2 images left out (5.png, 6.png), {reason}",
        ]
        if kind not in reasons:  # these two look below the whole folder, and refuse links to others there
            (root / "elsewhere").symlink_to(root.parent)
            expected.append(f"{root}/elsewhere: left out, is a link to a folder; put the folder itself there")
        built = build(kind, root)
        assert set(built.manifest.frame["path"]) == set(before.manifest.frame["path"])
        assert sorted(built.unmatched) == sorted(expected)
        assert (root.parent / "manifest-unmatched.txt").read_text().splitlines() == built.unmatched

    def test_folders_that_links_lead_to_are_used(self, root):
        fill(root.parent / "disk", ["0"], picture())
        (root / "real").symlink_to(root.parent / "disk")
        fill(root / "glow", ["0"], edited())
        built = build("pairs", root)
        assert not built.unmatched and len(built.manifest) == 2

    def test_masks_of_this_package_are_no_part_of_the_data_set(self, root):
        fill(root / "real", ["1"], picture())
        fill(root / "glow", ["1"], edited())
        fill(root / "m-masks", ["1"], mask())
        fill(root / "masks-drawn", ["1"], mask())
        fill(root / "their-masks", ["1"], mask())
        (root / "m.csv").write_text("")
        assert [sentence.split(":")[0] for sentence in build("pairs", root).unmatched] == ["their-masks"]

    def test_hidden_folders_are_no_methods(self, root):
        fill(root / "train/real", ["1"], picture())
        fill(root / "train/fake/gan", ["1"], edited())
        for folder in ("train/real", "train/fake", "train/fake/gan"):
            fill(root / folder / ".ipynb_checkpoints", ["1-checkpoint"], picture())
        built = build("folders", root)
        assert not built.unmatched and set(rows(built, root)["method"]) == {"", "gan"} and len(built.manifest) == 2


class TestGroupsAndSplits:
    def test_components_join_through_others(self):
        components = Components()
        components.join("a", "b")
        components.join("c", "d")
        components.join("b", "c")
        components.join("e")
        assert len({components.group(name) for name in "abcd"}) == 1
        assert components.group("e") == "e"

    @given(
        sizes=st.lists(st.integers(1, 9), min_size=3, max_size=30),
        seed=st.integers(0, 5),
    )
    def test_groups_stay_whole_and_no_split_is_empty(self, sizes, seed):
        samples = [Sample(f"{group}/{i}", str(group)) for group, size in enumerate(sizes) for i in range(size)]
        kept, sentences = assign(samples, (0.7, 0.1, 0.2), seed)
        table = pd.DataFrame({"group": [s.group for s in kept], "split": [s.split for s in kept]})
        assert len(kept) == sum(sizes) and not sentences
        assert (table.groupby("group")["split"].nunique() == 1).all()
        assert set(table["split"]) == {"train", "val", "test"}

    def test_shares_and_seed(self):
        def splits(seed):
            samples = [Sample(f"{i}", f"{i}") for i in range(100)]
            assign(samples, (0.7, 0.1, 0.2), seed)
            return [sample.split for sample in samples]

        assert [splits(0).count(name) for name in ("train", "val", "test")] == [70, 10, 20]
        assert splits(0) == splits(0) != splits(1)

    def test_group_on_both_sides(self):
        samples = [Sample("a", "g", split="train"), Sample("b", "g", split="test"), Sample("c", "h", split="train")]
        kept, sentences = assign(samples, (0.7, 0.1, 0.2), 0)
        assert [(sample.path, sample.split) for sample in kept] == [("b", "test"), ("c", "train")]
        assert "1 images left out" in sentences[0]


class TestVerb:
    def test_json_and_text(self, root, lae_tf_command):
        fill(root / "real", ["1", "2", "3"], picture())
        fill(root / "glow", ["1", "2", "4"], edited())
        out = root.parent / "sub/m.csv"
        code, output, _ = lae_tf_command("manifest", "pairs", root, "-o", out, "--derive-masks", "--json")
        facts = json.loads(output)
        assert code == 0 and facts["derived_masks"] == 2 and len(facts["unmatched"]) == 2
        assert sum(numbers["fake"] for numbers in facts["counts"].values()) == 3
        code, output, errors = lae_tf_command("manifest", "pairs", root, "-o", out)
        assert code == 0 and "2 unmatched" in errors and "m-unmatched.txt" in errors

    def test_few_groups_fill_fewer_splits_unless_all_are_asked_for(self, root, lae_tf_command):
        fill(root / "real", ["1", "2"], picture())
        fill(root / "fake", ["8", "9"], edited())
        out = root.parent / "m.csv"
        code, _, errors = lae_tf_command("manifest", "folders", root, "-o", out)
        assert code == 0 and "No test split" in errors
        assert Manifest.read(out).counts().keys() == {"train", "val"}
        assert all(numbers["real"] == numbers["fake"] == 1 for numbers in Manifest.read(out).counts().values())
        out.unlink()
        code, _, errors = lae_tf_command("manifest", "folders", root, "-o", out, "--splits", 0.7, 0.1, 0.2)
        assert code == 2 and "--splits 0.8 0.2 0" in errors and not out.exists()
        (root / "fake/9.png").unlink()
        code, _, errors = lae_tf_command("manifest", "folders", root, "-o", out)
        assert code == 0 and "No val and no test split" in errors
        assert Manifest.read(out).counts().keys() == {"train"}

    def test_unknown_kind_and_videos_without_frames(self, root, lae_tf_command):
        code, _, errors = lae_tf_command("manifest", "imagenet", root)
        assert code == 2 and all(name in errors for name in LAYOUTS)
        (root / "real").mkdir()
        (root / "fake").mkdir()
        (root / "real/a.mp4").write_bytes(b"x")
        code, _, errors = lae_tf_command("manifest", "folders", root)
        assert code == 2 and "lae-tf frames" in errors
