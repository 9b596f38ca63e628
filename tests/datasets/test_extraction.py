"""Videos to images: the tree, resuming, bad files, faces, and originals that lend their crops."""

import json

import cv2
import numpy as np
import pytest
import skimage.data
from video_files import level, write_video

from lae_tf.data.manifest import Manifest
from lae_tf.datasets import extraction
from lae_tf.datasets.extraction import RECORD, Cropping, extract
from lae_tf.datasets.layouts import Options, build_manifest
from lae_tf.datasets.layouts.originals import original_of
from lae_tf.datasets.layouts.rehearsal import require_divisible
from lae_tf.errors import UsageError, VideoError
from lae_tf.images.files import read_image
from lae_tf.video.crops import read_crops
from lae_tf.video.frames import Selection


def astronaut(shift=0, forged=False):
    """A frame with a face that has moved to the right."""
    image = cv2.resize(skimage.data.astronaut()[:300, 60:460], (320, 240))
    if forged:
        image[80:120, 110:160] = 255 - image[80:120, 110:160]
    return np.roll(image, shift, axis=1)


def run(source, out, **options):
    cropping = Cropping(options.pop("whole", True), options.pop("original_of", None))
    return extract(source, out, **{"selection": Selection(every=4), "progress": False, **options}, cropping=cropping)


@pytest.fixture
def videos(tmp_path):
    write_video(tmp_path / "in/a.mp4", frames=9)
    write_video(tmp_path / "in/sub/b.mkv", frames=5)
    (tmp_path / "in/sub/metadata.json").write_text("{}")
    return tmp_path / "in"


class TestWhole:
    def test_tree_and_pixels(self, videos, tmp_path):
        result = run(videos, tmp_path / "out")
        assert result.images == {"a": 3, "sub/b": 2} and not result.problems
        assert [level(read_image(tmp_path / f"out/a/{i:06d}.png")) for i in (0, 4, 8)] == [0, 4, 8]
        assert (tmp_path / "out/sub/metadata.json").read_text() == "{}"
        record = json.loads((tmp_path / f"out/a/{RECORD}").read_text())
        assert [(frame["time"], frame["place"]) for frame in record["frames"]] == [
            (time, [0, 0, 48, 64]) for time in (0.0, 0.4, 0.8)
        ]

    def test_resumes_and_redoes_what_changed(self, videos, tmp_path):
        out = tmp_path / "out"
        run(videos, out)
        (out / "sub/b" / RECORD).unlink()  # as if killed while working on it
        (out / "sub/b/000004.png").unlink()
        before = (out / "a/000000.png").stat().st_mtime_ns
        assert run(videos, out).skipped == 1
        assert (out / "a/000000.png").stat().st_mtime_ns == before and (out / "sub/b/000004.png").exists()
        result = run(videos, out, selection=Selection(count=1))
        assert result.images == {"a": 1, "sub/b": 1} and result.skipped == 0
        assert [path.name for path in (out / "a").glob("*.png")] == ["000004.png"]

    def test_bad_videos_are_reported_and_the_rest_done(self, videos, tmp_path):
        (videos / "bad.mp4").write_bytes(b"nonsense" * 50)
        write_video(videos / "a.avi", frames=3)
        result = run(videos, tmp_path / "out")
        assert len(result.images) == 2
        assert sorted(problem.split(":")[0].rsplit("/")[-1] for problem in result.problems) == ["a.mp4", "bad.mp4"]

    def test_a_video_that_breaks_half_way_leaves_no_frames(self, videos, tmp_path, monkeypatch):
        """Loose frames would pass for images of their own, each in a split of its own."""

        def breaking(path, selection, track):
            crops = read_crops(path, selection, track)
            yield next(crops)
            if path.stem == "a":
                raise VideoError(f"{path}: is damaged")
            yield from crops

        monkeypatch.setattr(extraction, "read_crops", breaking)
        result = run(videos, tmp_path / "out")
        assert result.images == {"sub/b": 2} and len(result.problems) == 1
        assert not (tmp_path / "out/a").exists()

    def test_frames_of_a_killed_extraction_are_known_for_one_video(self, videos, tmp_path, monkeypatch):
        def killed(path, selection, track):
            yield next(read_crops(path, selection, track))
            raise KeyboardInterrupt

        monkeypatch.setattr(extraction, "read_crops", killed)
        with pytest.raises(KeyboardInterrupt):
            run(videos, tmp_path / "out")
        left = list((tmp_path / "out").rglob("*.png"))
        assert left and all((frame.parent / RECORD).is_file() for frame in left)
        monkeypatch.undo()
        assert run(videos, tmp_path / "out").images == {"a": 3, "sub/b": 2}

    def test_output_below_the_input(self, videos):
        with pytest.raises(UsageError, match="outside"):
            run(videos, videos / "out")


class TestFaces:
    def test_crops_are_square_and_steady(self, tmp_path):
        write_video(tmp_path / "v/a.mp4", images=[astronaut(2 * i) for i in range(9)])
        result = run(tmp_path / "v", tmp_path / "out", whole=False)
        assert result.images == {"a": 3}
        record = json.loads((tmp_path / f"out/a/{RECORD}").read_text())
        places = np.array([frame["place"] for frame in record["frames"]])
        assert np.ptp(places[:, 2]) <= 4 and (places[:, 2] == places[:, 3]).all()
        assert places[-1, 1] > places[0, 1]  # it follows
        assert read_image(tmp_path / "out/a/000000.png").shape == (places[0, 2], places[0, 3], 3)

    def test_no_face_is_reported(self, tmp_path, lae_tf_command):
        write_video(tmp_path / "v/a.mp4", frames=3)
        code, output, errors = lae_tf_command("frames", tmp_path / "v", tmp_path / "out", "--every", "2")
        assert code == 1 and "no face found in 2 frames" in errors and not list((tmp_path / "out").glob("a/*"))
        code, output, _ = lae_tf_command("frames", tmp_path / "v", tmp_path / "out", "--whole", "--json")
        assert code == 0 and json.loads(output)["images"] == 3

    def test_from_videos_to_a_manifest_with_derived_masks(self, tmp_path):
        root = tmp_path / "ffpp"
        real = [astronaut(2 * i) for i in range(5)]
        fake = [astronaut(2 * i, forged=True) for i in range(5)]
        write_video(root / "original_sequences/youtube/c23/videos/000.mp4", images=real)
        write_video(root / "original_sequences/youtube/c40/videos/000.mp4", images=real)
        write_video(root / "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4", images=fake)
        finder = lambda folder, video: original_of("faceforensics++", folder, video)  # noqa: E731
        result = run(root, tmp_path / "out", whole=False, original_of=finder)
        assert sorted(result.images.values()) == [2, 2, 2], result.problems
        places = [
            [frame["place"] for frame in json.loads(path.read_text())["frames"]]
            for path in (tmp_path / "out").rglob(RECORD)
        ]
        assert places[0] == places[1] == places[2]
        built = build_manifest(
            "faceforensics++", tmp_path / "out", tmp_path / "m.csv", Options("c23", (1.0, 0.0, 0.0), derive=True), False
        )
        assert built.derived == 2 and len(built.manifest) == 4


class TestSplits:
    @pytest.fixture
    def three_and_three(self, tmp_path):
        for number in range(3):
            write_video(tmp_path / f"in/real/r{number}.mp4", frames=3)
            write_video(tmp_path / f"in/fake/swap/f{number}.mp4", frames=3)
        return tmp_path / "in"

    def frames(self, command, source, *options):
        return command(
            "frames", source, source.parent / "out", "--whole", "--every", "2", "--layout", "folders", *options
        )

    def test_each_split_has_both_labels(self, three_and_three, lae_tf_command):
        code, _, _ = self.frames(lae_tf_command, three_and_three)
        counts = Manifest.read(three_and_three.parent / "out/manifest.csv").counts()
        assert code == 0 and {split: (n["real"], n["fake"]) for split, n in counts.items()} == dict.fromkeys(
            ("train", "val", "test"), (2, 2)
        )

    def test_shares_and_seed(self, three_and_three, lae_tf_command):
        homes = []
        for seed in range(4):
            code, _, _ = self.frames(lae_tf_command, three_and_three, "--splits", 0.5, 0.5, 0, "--seed", seed)
            frame = Manifest.read(three_and_three.parent / "out/manifest.csv").frame
            assert code == 0 and set(frame["split"]) == {"train", "val"}
            homes.append(dict(zip(frame["group"], frame["split"], strict=True)))
        assert any(home != homes[0] for home in homes)

    @pytest.mark.parametrize(
        ("missing", "said"),
        [(["r0"], "2 groups with real"), (["r0", "r1"], "1 group with real"), (["r0", "r1", "r2"], "no video is real")],
    )
    def test_too_few_are_refused_before_the_work(self, three_and_three, lae_tf_command, missing, said):
        for name in missing:
            (three_and_three / f"real/{name}.mp4").unlink()
        code, _, errors = self.frames(lae_tf_command, three_and_three)
        assert code == 2 and said in errors and "--splits" in errors
        assert not (three_and_three.parent / "out").exists()

    def test_a_folder_in_another_layout_is_refused_before_the_work(self, tmp_path, lae_tf_command):
        write_video(tmp_path / "in/authentic/a.mp4", frames=3)
        code, _, errors = self.frames(lae_tf_command, tmp_path / "in")
        assert code == 2 and f"{tmp_path}/in: expected the folders 'real' and 'fake'" in errors
        assert not (tmp_path / "out").exists()

    def test_what_was_extracted_before_counts(self, three_and_three, lae_tf_command):
        (three_and_three / "real").rename(three_and_three.parent / "later")
        real = three_and_three.parent / "reals"
        real.mkdir()
        (three_and_three.parent / "later").rename(real / "real")
        assert lae_tf_command("frames", real, three_and_three.parent / "out", "--whole", "--every", "2")[0] == 0
        assert self.frames(lae_tf_command, three_and_three)[0] == 0

    def test_the_finders_of_other_data_sets_see_what_they_would(self, tmp_path):
        for name in ("Celeb-real/id0_0001", "Celeb-real/id1_0001", "Celeb-synthesis/id0_id1_0001"):
            write_video(tmp_path / f"in/{name}.mp4", frames=2)
        with pytest.raises(UsageError, match="1 group with fake images"):
            require_divisible("celeb-df", tmp_path / "in", tmp_path / "out", (0.5, 0.5, 0.0))
        (tmp_path / "in/List_of_testing_videos.txt").write_text(
            "1 Celeb-real/id0_0001.mp4\n0 Celeb-synthesis/id0_id1_0001.mp4\n"
        )
        require_divisible("celeb-df", tmp_path / "in", tmp_path / "out", (1.0, 0.0, 0.0))


class TestOriginals:
    def test_celeb_df_and_dfdc(self, tmp_path):
        for name in ("Celeb-real/id0_0001.mp4", "part/aaa.mp4", "part/bbb.mp4"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert original_of("celeb-df", tmp_path, "Celeb-synthesis/id0_id4_0001.mp4") == "Celeb-real/id0_0001.mp4"
        assert original_of("celeb-df", tmp_path, "Celeb-synthesis/id7_id4_0001.mp4") is None
        facts = {
            "bbb.mp4": {"label": "FAKE", "original": "aaa.mp4"},
            "ccc.mp4": {"label": "FAKE", "original": "../../etc/passwd"},
        }
        (tmp_path / "part/metadata.json").write_text(json.dumps(facts))
        assert original_of("dfdc", tmp_path, "part/bbb.mp4") == "part/aaa.mp4"
        assert original_of("dfdc", tmp_path, "part/ccc.mp4") is None
        assert original_of("dfdc", tmp_path, "part/aaa.mp4") is None

    def test_masks_and_compressions_share_the_first_original(self, tmp_path):
        for quality in ("c23", "c40"):
            path = tmp_path / f"original_sequences/youtube/{quality}/videos/071.mp4"
            path.parent.mkdir(parents=True)
            path.touch()
        first = "original_sequences/youtube/c23/videos/071.mp4"
        for video in ("FaceSwap/c40/videos/071_054.mp4", "FaceSwap/masks/videos/071_054.mp4"):
            assert original_of("faceforensics++", tmp_path, f"manipulated_sequences/{video}") == first
        assert original_of("faceforensics++", tmp_path, first.replace("c23", "c40")) == first
        assert original_of("faceforensics++", tmp_path, first) is None
        with pytest.raises(UsageError, match="celeb-df"):
            original_of("pairs", tmp_path, "a.mp4")
