"""Scores of videos: the same pixels as for training, the report's files, the annotated copy."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from video_files import write_video

from lae_tf.data.views import look
from lae_tf.datasets.extraction import Cropping, extract
from lae_tf.errors import VideoError
from lae_tf.metrics.verdict import ConformalBounds
from lae_tf.model.lae import LAE
from lae_tf.predict.videos import VideoPrediction, annotate_video, mean_interval, predict_video
from lae_tf.training.run import Run
from lae_tf.video.frames import Selection, read_frames


def prediction(scores, times=None, **changes):
    scores = np.asarray(scores, float)
    times = np.arange(len(scores)) / 10 if times is None else np.asarray(times, float)
    fields = {
        "path": "a.mp4",
        "indices": np.arange(len(scores)),
        "attention": np.zeros((len(scores), 4, 4), np.float16),
        "threshold": 0.5,
        "without_face": 0,
    }
    return VideoPrediction(times=times, scores=scores, **{**fields, **changes})


class TestMean:
    def test_interval_of_constant_scores_is_a_point(self):
        assert mean_interval(np.full(10, 0.3)) == pytest.approx((0.3, 0.3))

    def test_width_as_in_theory_for_independent_scores(self):
        scores = np.random.default_rng(0).uniform(0, 1, 400)
        low, high = mean_interval(scores)
        assert high - low == pytest.approx(2 * 1.96 * scores.std() / 20, rel=0.3)

    def test_alike_neighbours_make_it_wider(self):
        rng = np.random.default_rng(1)
        scores = np.repeat(rng.uniform(0, 1, 20), 20)
        widths = [np.ptp(mean_interval(values)) for values in (scores, rng.permutation(scores))]
        assert widths[0] > 2 * widths[1]

    def test_label_by_the_mean(self):
        assert prediction([0.4, 0.6]).label == "fake" and prediction([0.4, 0.59]).label == "real"

    def test_verdict_by_the_mean(self):
        bounds = ConformalBounds(lowest_fake=0.25, highest_real=0.75, error_rate=0.1)
        cases = {(0.3, 0.1): "real", (0.3, 0.2): "unsure", (1.0, 0.5): "unsure", (1.0, 0.6): "fake"}
        for scores, verdict in cases.items():
            one = prediction(scores, bounds=bounds)
            assert one.verdict == one.record()["verdict"] == verdict
        assert prediction([0.4, 0.6]).verdict == "fake"


def test_most_suspicious_are_apart_in_time():
    scores = np.full(240, 0.1)
    scores[100:105] = [0.5, 0.6, 0.9, 0.7, 0.6]
    scores[200] = 0.8
    chosen = prediction(scores).most_suspicious()
    assert chosen[:2] == [102, 200] and len(chosen) == 12
    assert not {100, 101, 103, 104} & set(chosen[2:])


class TestPredict:
    def test_same_score_as_for_extracted_images(self, trained_run, tmp_path, lae_tf_command):
        path = write_video(tmp_path / "v/a.mp4", frames=12)
        model = trained_run.load_model()
        result = predict_video(model, path, Selection(count=3), None, batch_size=2)
        assert result.indices.tolist() == [1, 5, 9] and result.without_face == 0
        assert result.attention.shape == (3, 24, 32)  # of frames of 48 by 64 pixels, without the mirrors
        extract(tmp_path / "v", tmp_path / "out", Selection(count=3), Cropping(whole=True), progress=False)
        code, output, _ = lae_tf_command("predict", trained_run.path, tmp_path / "out/a", "--json")
        records = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert code == 0
        np.testing.assert_allclose(result.scores, [record["score"] for record in records], atol=1e-5)

    def test_report_and_bad_video(self, trained_run, tmp_path, lae_tf_command):
        path = write_video(tmp_path / "a.mp4", frames=12)
        (tmp_path / "bad.mp4").write_bytes(b"x" * 100)
        arguments = ("predict", trained_run.path, path, tmp_path / "bad.mp4", "--whole", "--frames", "4")
        code, output, errors = lae_tf_command(*arguments, "--report", tmp_path / "out", "--annotate", "--json")
        good, bad = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
        assert code == 1 and "bad.mp4" in bad["error"] and "Skipped" in errors
        table = pd.read_csv(tmp_path / "out/a/scores.csv")
        assert table["score"].mean() == pytest.approx(good["score"])
        assert good["interval"][0] <= good["score"] <= good["interval"][1]
        for name in ("scores.png", "suspicious.png"):
            with Image.open(tmp_path / "out/a" / name) as image:
                assert image.format == "PNG"
        copy = list(read_frames(tmp_path / "out/a/annotated.mp4", Selection(every=1)))
        assert [round(frame.time, 2) for frame in copy] == [round(i / 10, 2) for i in range(12)]
        assert copy[0].image.shape == (48, 64, 3)

    def test_the_mean_is_held_against_the_threshold_that_is_named(self, trained_run, tmp_path, lae_tf_command):
        path = write_video(tmp_path / "a.mp4", frames=6)
        arguments = ("predict", trained_run.path, path, "--whole", "--frames", "3")
        _, output, _ = lae_tf_command(*arguments, "--json")
        own = json.loads(output.splitlines()[-1])
        assert (own["threshold"], own["threshold_from"]) == (0.5, "model")
        assert own["score"] == pytest.approx(np.mean([frame["score"] for frame in own["frames"]]))
        assert own["label"] == ("fake" if own["score"] >= 0.5 else "real")
        for threshold, label in ((own["score"] - 1e-4, "fake"), (own["score"] + 1e-4, "real")):
            code, output, errors = lae_tf_command(*arguments, "--threshold", threshold)
            score, called, *_ = output.splitlines()[-1].split()
            assert code == 0 and called == label and (float(score) >= threshold) == (label == "fake")
            assert "(--threshold)" in errors
        code, _, errors = lae_tf_command(*arguments, "--max-false-alarms", "1%")
        assert code == 2 and "at least 100 real validation images" in errors

    def test_a_folder_of_videos_stands_for_them(self, trained_run, tmp_path, lae_tf_command):
        paths = [write_video(tmp_path / f"clips/{name}.mp4", frames=4) for name in ("deep/b", "a")]
        command = ("predict", trained_run.path, "--whole", "--frames", "2", "--json")
        outputs = [
            lae_tf_command(*command, *args)[:2] for args in ([tmp_path / "clips"], [tmp_path / "clips/**/*.mp4"])
        ]
        for code, output in outputs:
            found = [json.loads(line)["path"] for line in output.splitlines() if line.startswith("{")]
            assert code == 0 and sorted(found) == sorted(map(str, paths))
        (tmp_path / "empty").mkdir()
        code, _, errors = lae_tf_command("predict", trained_run.path, tmp_path / "empty")
        assert code == 2 and "no images found" in errors

    def test_no_face_and_wrong_mixtures(self, trained_run, tmp_path, lae_tf_command):
        path = write_video(tmp_path / "a.mp4", frames=4)
        code, _, errors = lae_tf_command("predict", trained_run.path, path, "--frames", "1")
        assert code == 1 and "no face" in errors
        assert lae_tf_command("predict", trained_run.path, path, "--annotate")[0] == 2
        (tmp_path / "b.png").write_bytes(b"")
        code, _, errors = lae_tf_command("predict", trained_run.path, path, tmp_path / "b.png")
        assert code == 2 and "b.png: is not a video" in errors


class TestWindows:
    @pytest.fixture(scope="class")
    def run(self, trained_run, tmp_path_factory):
        """The shared run with a model that looks through windows."""
        folder = tmp_path_factory.mktemp("run") / "windows"
        shutil.copytree(trained_run.path, folder)
        LAE(image_size=16, widths=(4, 4), trunk="none", self_correlation=False, view="windows").save(
            str(folder / "model.keras")
        )
        return Run(folder)

    def test_frames_are_seen_as_images_are(self, run, tmp_path, lae_tf_command):
        path = write_video(tmp_path / "a.mp4", frames=6, corner=True)
        code, output, errors = lae_tf_command(
            "predict", run.path, path, "--frames", "3", "--report", tmp_path / "out", "--annotate", "--json"
        )
        assert code == 0, errors
        record = json.loads(output.splitlines()[-1])
        model = run.load_model()
        frames = list(read_frames(path, Selection(count=3)))
        seen = [look(model, frame.image) for frame in frames]
        expected = np.asarray(model.calibration(np.array([one.logit for one in seen], np.float32)))
        np.testing.assert_allclose([frame["score"] for frame in record["frames"]], expected, atol=1e-5)
        assert record["view"] == "windows" and record["without_face"] == 0
        assert {Path(file).name for file in record["files"]} == {
            "scores.csv",
            "scores.png",
            "suspicious.png",
            "annotated.mp4",
        }
        result = predict_video(model, path, Selection(count=3), None)
        np.testing.assert_allclose(result.attention[1], seen[1].attention, atol=1e-3)
        copy = list(read_frames(tmp_path / "out/a/annotated.mp4", Selection(every=1)))
        assert len(copy) == 6 and copy[0].image.shape == frames[0].image.shape

    def test_a_frame_may_take_so_long(self, run, trained_run, tmp_path, lae_tf_command):
        path = write_video(tmp_path / "a.mp4", frames=2)
        arguments = (path, "--frames", "1", "--seconds", "5", "--json")
        code, output, _ = lae_tf_command("predict", run.path, *arguments)
        assert code == 0 and len(json.loads(output.splitlines()[-1])["frames"]) == 1
        code, _, errors = lae_tf_command("predict", trained_run.path, *arguments)
        assert code == 2 and "--seconds is for models of the view 'windows'; this one's is 'whole'" in errors


class TestAnnotate:
    def test_attention_glows_where_it_is(self, tmp_path):
        path = write_video(tmp_path / "a.mp4", frames=6, images=[np.full((49, 65, 3), 60, np.uint8)[:48, :64]] * 6)
        heat = np.zeros((6, 8, 8), np.float16)
        heat[:, :4, :4] = 1.0
        annotate_video(prediction([0.9] * 6, path=str(path), attention=heat), None, tmp_path / "sub/b.mp4")
        image = next(read_frames(tmp_path / "sub/b.mp4", Selection(every=1))).image
        assert image[8:16, 8:24].mean() > 120 and abs(float(image[10:20, 45:60].mean()) - 60) < 8
        assert [file.name for file in (tmp_path / "sub").iterdir()] == ["b.mp4"]

    def test_frames_that_share_a_time(self, tmp_path):
        path = write_video(tmp_path / "a.mkv", frames=6)
        data = path.read_bytes()
        with av.open(str(path)) as container:
            blocks = [packet.pos for packet in container.demux(video=0) if packet.size]
        # the two bytes after a block's track number are its time in milliseconds, from its cluster's
        assert data.count(b"\x81" + (300).to_bytes(2, "big"), blocks[3]) == 1
        path.write_bytes(data.replace(b"\x81" + (300).to_bytes(2, "big"), b"\x81" + (200).to_bytes(2, "big")))
        assert [frame.time for frame in read_frames(path, Selection(every=1))] == [0.0, 0.1, 0.2, 0.2, 0.4, 0.5]
        annotate_video(prediction([0.9] * 6, path=str(path)), None, tmp_path / "b.mp4")
        assert len(list(read_frames(tmp_path / "b.mp4", Selection(every=1)))) == 6

    def test_unreadable_video_leaves_nothing(self, tmp_path):
        with pytest.raises(VideoError):
            annotate_video(prediction([0.9], path=str(tmp_path / "none.mp4")), None, tmp_path / "b.mp4")
        assert list(tmp_path.iterdir()) == []
