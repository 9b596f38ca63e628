"""A run with one round of selection, written by hand: annotation needs no model."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lae_tf.config.sections import Config

HEIGHT, WIDTH = 20, 30


def write_run(root: Path, fakes: int = 3, reals: int = 200, stem: str = "fake{}", **selection) -> Path:
    """Write ROOT/data with a manifest and ROOT/run whose round 1 selected every fake; return the run."""
    data, round_folder = root / "data", root / "run" / "rounds" / "1"
    (data / "real").mkdir(parents=True)
    (round_folder / "attention").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (fakes + 1, HEIGHT, WIDTH, 3), dtype=np.uint8)
    manifest = [["path", "label", "mask", "group", "method", "split"]]
    chosen = [["rank", "path", "utility", "strategy", "reason"]]
    for rank in range(1, fakes + 1):
        path = data / f"{stem.format(rank)}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[rank]).save(path)
        manifest.append([path.relative_to(data).as_posix(), "fake", "", f"g{rank}", "splice", "train"])
        chosen.append([str(rank), str(path), "0.5", "random", "drawn at random"])
        attention = np.zeros((HEIGHT, WIDTH), np.uint8)
        attention[2:9, rank : rank + 10] = 200
        Image.fromarray(attention).save(round_folder / "attention" / f"{rank:04d}.png")
    Image.fromarray(pixels[0]).save(data / "real" / "0.png")
    for number in range(reals):
        if number:
            shutil.copyfile(data / "real" / "0.png", data / "real" / f"{number}.png")
        manifest.append([f"real/{number}.png", "real", "", f"r{number}", "", "train"])
    for path, rows in ((data / "manifest.csv", manifest), (round_folder / "selection.csv", chosen)):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    (round_folder / "selection.json").write_text(json.dumps(selection), encoding="utf-8")
    config = {"data": {"manifest": str(data / "manifest.csv")}, "output": str(root / "run")}
    Config.model_validate(config).write(root / "run" / "config.yaml")
    return root / "run"


def read_tree(root: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session", name="write_run")
def _write_run():
    return write_run


@pytest.fixture(scope="session", name="read_tree")
def _read_tree():
    return read_tree


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that no test changes."""
    return write_run(tmp_path_factory.mktemp("shared"))
