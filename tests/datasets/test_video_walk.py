"""The README's three commands: from folders of videos to a trained run and an annotated video."""

import json

import av
import cv2
import numpy as np
import pytest
from video_files import write_video

SMALL = [
    "data.image_size=32", "data.batch_size=4", "model.widths=[4,8]", "model.trunk=none",
    "pretrain.epochs=1", "pretrain.alignment=0"
]  # fmt: skip


def scene(seed, forged):
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
    frames = [np.roll(image, shift, axis=1) for shift in range(6)]
    for frame in frames if forged else []:
        frame[12:36, 16:48] = rng.integers(0, 256, (24, 32, 3))
    return frames


@pytest.fixture
def videos(tmp_path):
    for number in range(12):
        for label in ("real", "fake"):
            images = scene(number, forged=label == "fake")
            write_video(tmp_path / f"videos/{label}/{label}{number}.mp4", images=images)
    return tmp_path / "videos"


def test_from_videos_to_an_annotated_video(videos, tmp_path, lae_tf_command):
    out, run, report = tmp_path / "frames", tmp_path / "run", tmp_path / "report"
    code, text, errors = lae_tf_command(
        "frames", videos, out, "--count", "2", "--whole", "--layout", "folders", "--json"
    )
    assert code == 0, errors
    facts = json.loads(text)
    assert facts["images"] == 48 and facts["manifest"] == str(out / "manifest.csv") and not facts["unmatched"]

    settings = [word for value in SMALL for word in ("--set", value)]
    code, text, errors = lae_tf_command("train", out / "manifest.csv", "--output", run, *settings)
    assert code == 0, errors

    clip = videos / "fake/fake0.mp4"
    code, text, errors = lae_tf_command("predict", run, clip, "--whole", "--report", report, "--annotate", "--json")
    assert code == 0, errors
    record = json.loads(text.splitlines()[0])
    assert 0 < record["score"] < 1
    annotated = list(report.rglob("*.mp4"))
    assert len(annotated) == 1
    with av.open(str(annotated[0])) as video:
        assert sum(1 for _ in video.decode(video=0)) == 6


def test_a_tree_of_another_layout_is_refused_before_the_work(tmp_path, lae_tf_command):
    write_video(tmp_path / "v/clips/a.mp4", frames=3)
    code, _, errors = lae_tf_command("frames", tmp_path / "v", tmp_path / "out", "--whole", "--layout", "folders")
    assert code == 2 and "real" in errors and "Traceback" not in errors
    assert not list(tmp_path.glob("out/**/*.png"))
