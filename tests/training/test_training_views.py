"""Training, evaluation and prediction in the views of parts, on photographs of more than a window."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tiny_dataset import photograph

from lae_tf.cli.main import cli
from lae_tf.data.contract import COLUMNS
from lae_tf.errors import UsageError
from lae_tf.images.files import write_png

SIZE = (70, 110)


def large(rng):
    """A photograph put together from small ones."""
    rows = [np.concatenate([photograph(rng) for _ in range(4)], axis=1) for _ in range(3)]
    return np.concatenate(rows)[: SIZE[0], : SIZE[1]]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Real photographs for training and validation; fakes, half of them without a mask, for the test alone."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 6), ("val", 12), ("test", 4)):
        for number in range(count):
            name = f"{split}-{number}"
            image = large(rng)
            write_png(folder / f"{name}.png", image)
            rows.append((f"{name}.png", "real", "", name, "", split))
            if split == "test":
                mask = np.zeros(SIZE, np.uint8)
                mask[10:40, 50:90] = 255
                forged = np.where(mask[..., None] > 0, 255 - image, image)
                write_png(folder / f"{name}-fake.png", forged)
                write_png(folder / f"{name}-mask.png", mask)
                rows.append((f"{name}-fake.png", "fake", f"{name}-mask.png" * (number % 2), name, "negative", split))
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def run(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "windows"
    settings = ["data.view=windows", "data.image_size=32", "data.batch_size=8", "pretrain.epochs=1"]
    settings += ["model.widths=[4,8,8,8]", "model.blocks=0", "model.trunk=none", "calibration.error_rate=0.2"]
    arguments = [
        "train",
        str(manifest),
        "--output",
        str(folder),
        *(part for one in settings for part in ("--set", one)),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder


def test_photographs_alone_are_enough(run):
    decision = json.loads((run / "calibration.json").read_text())
    # Twelve photographs and twelve forgeries, stored and degraded.
    assert decision["validation_images"] == 48 and decision["validation_reals"] == 24
    scores = pd.read_csv(run / "validation_scores.csv")
    assert scores["degraded"].tolist() == [False] * 24 + [True] * 24


def test_prediction_and_evaluation_say_the_same(run, manifest, tmp_path):
    photos = [str(path) for path in sorted(manifest.parent.glob("test-?.png"))]
    result = CliRunner().invoke(cli, ["predict", str(run), *photos, "--json"], catch_exceptions=False)
    predicted = {record["path"]: record["score"] for record in map(json.loads, result.stdout.splitlines())}
    arguments = ["evaluate", str(run), str(manifest)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (table,) = run.rglob("predictions.csv")
    evaluated = pd.read_csv(table).set_index("path")["score"]
    for path, score in predicted.items():
        assert evaluated[path] == pytest.approx(score, abs=1e-6)


def test_what_takes_the_whole_alone_says_so(run, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(cli, ["export", str(run), str(out), "--format", "tflite"])
    assert isinstance(result.exception, UsageError)
    assert "takes models of the view 'whole'; this one's is 'windows'" in str(result.exception)
    assert not out.exists()


def test_a_window_is_explained(run, manifest, tmp_path):
    photo = str(manifest.parent / "test-0.png")
    arguments = ["explain", str(run), photo, "-o", str(tmp_path / "out"), "--methods", "attention", "--json"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)["images"]
    assert record["square"]["side"] >= 32 and (tmp_path / "out" / "report.html").is_file()
