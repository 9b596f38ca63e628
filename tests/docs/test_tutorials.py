"""The tutorials are true: every `lae-tf` line of theirs runs as it stands, with settings that make it quick."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data
from tiny_dataset import make_config, photograph, write_dataset
from video_files import write_video

from lae_tf.images.files import write_png
from lae_tf.training.run import Run

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
QUICK = ["data.batch_size=8", "pretrain.epochs=1", "align.epochs=1"]
SMALL = ["data.image_size=32", "model.trunk=none", "model.widths=[4, 8]", "model.blocks=0", *QUICK]


def blocks(page: str) -> list[list[str]]:
    """Return the lines of each block of commands, without comments."""
    text = (TUTORIALS / page).read_text(encoding="utf-8")
    found = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [[line.split(" #")[0].strip() for line in block.splitlines()] for block in found]


@pytest.fixture
def typed(lae_tf_command, tmp_path, monkeypatch):
    """Type a line of a tutorial in a folder; trainings get settings that make them quick."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> None:
        program, *words = shlex.split(line)
        assert program == "lae-tf", line
        if words[0] == "train" and not words[1].endswith(".yaml"):
            for setting in QUICK if "--from" in words else SMALL:
                words += ["--set", setting]
        code, _, errors = lae_tf_command(*words)
        assert code == 0, f"{line}: {errors[-2000:]}"

    return run


def write_photographs(folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(count):
        write_png(folder / f"{seed}-{number}.png", photograph(rng))


def test_a_first_detector(typed, tmp_path):
    for folder, count in (("my_photos", 24), ("more_photos", 24), ("my_real_photos", 110), ("photos", 24)):
        write_photographs(tmp_path / folder, count, seed=len(folder))
    Image.fromarray(data.coffee()).save(tmp_path / "photo.jpg")
    first, changed, step_by_step = blocks("first-detector.md")
    for line in first + changed:
        typed(line)
    assert list((tmp_path / "out").glob("*.png")) and (tmp_path / "runs/second/fine_tuning.json").is_file()
    shutil.rmtree(tmp_path / "runs")
    for line in step_by_step:
        typed(line)
    assert (tmp_path / "runs/first/report/report.html").is_file()


@contextmanager
def running(*words: str) -> Iterator[dict]:
    """Run a command that serves until Ctrl-C; give what it says of itself."""
    arguments = [sys.executable, "-W", "ignore", "-m", "lae_tf.cli.main", *words, "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def draw_on_the_page(line: str) -> None:
    """Draw a square on every image of `lae-tf annotate`, as its page does, and call it done."""
    with running(*shlex.split(line)[1:], "--no-browser") as facts, httpx.Client(base_url=facts["url"]) as page:
        for index in range(facts["images"]):
            height, width = np.asarray(Image.open(page.get(f"/api/images/{index}"))).shape[:2]
            mask = np.zeros((height, width), np.uint8)
            mask[4:16, 4:16] = 255
            write_png("mask.png", mask)
            revision = page.get(f"/api/masks/{index}").headers["etag"]
            headers = {"content-type": "image/png", "if-match": revision}
            page.put(f"/api/masks/{index}", content=Path("mask.png").read_bytes(), headers=headers).raise_for_status()
            page.put(f"/api/verdicts/{index}", json={"verdict": "done"}).raise_for_status()


def test_first_masks(typed, tmp_path, monkeypatch):
    folder = tmp_path / "quickstart-out"
    manifest = write_dataset(folder / "data", {"train": (60, 20, 0), "val": (8, 4, 0), "test": (8, 4, 0)})
    frame = pd.read_csv(manifest, keep_default_na=False)
    frame.loc[frame["split"] == "train", "mask"] = ""
    frame.to_csv(manifest, index=False)
    config = make_config(Path("data/manifest.csv"), Path("run"), pretrain={"epochs": 1}, align={"epochs": 1})
    config.write(folder / "first-round.yaml")
    (lines,) = blocks("first-masks.md")
    assert lines.pop(0) == "cd quickstart-out"
    monkeypatch.chdir(folder)
    for line in lines:
        if line.startswith("lae-tf annotate"):
            draw_on_the_page(line)
        else:
            typed(line)
    assert [row["stage"] for row in Run(folder / "first").read_metrics()] == ["pretrain", "align"]


def test_videos(typed, tmp_path):
    rng = np.random.default_rng(0)
    face = data.astronaut()[:256, 96:352]
    for number in range(8):
        for label in ("real", "fake"):
            frames = [np.roll(face, 4 * number + step, axis=1) for step in range(3)]
            for frame in frames if label == "fake" else []:
                frame[80:140, 90:170] //= 2
                frame[80:140, 90:170] += rng.integers(0, 60, (60, 80, 3), np.uint8)
            write_video(tmp_path / f"videos/{label}/{label}{number}.mp4", images=frames)
    shutil.copy(tmp_path / "videos/fake/fake0.mp4", tmp_path / "clip.mp4")
    (lines,) = blocks("videos.md")
    for line in lines:
        typed(line)
    assert list((tmp_path / "out").rglob("*.mp4"))


def test_serve(typed, trained_run, tmp_path):
    shutil.copytree(trained_run.path, tmp_path / "runs" / "first")
    Image.fromarray(data.coffee()).save(tmp_path / "photo.jpg")
    (_, export, serve), (asked) = blocks("serve.md")
    typed(export)
    with running(*shlex.split(serve)[1:], "--rest-api-port", "0") as facts:
        command = " ".join(asked).replace("localhost:8501", facts["url"].removeprefix("http://"))
        assert facts["url"].removeprefix("http://") in command
        answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
    assert 0 < json.loads(answer)["predictions"][0]["score"] < 1
