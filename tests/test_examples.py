"""Every example runs as its own usage line says, and says something."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from serve_process import Process
from tiny_dataset import photograph

from lae_tf.images.files import read_image, write_png

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_example_is_tested():
    tested = {"train_on_a_folder.py", "own_data.py", "explain_an_image.py", "ask_a_server.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_train_on_a_folder(tmp_path):
    for number in range(12):
        write_png(tmp_path / "photos" / f"{number}.png", photograph(np.random.default_rng(number)))
    small = (
        "data.image_size=32",
        "data.batch_size=4",
        "model.widths=[4,8]",
        "model.trunk=none",
        "pretrain.epochs=1",
        "align.epochs=1",
    )
    said = run("train_on_a_folder.py", tmp_path / "photos", tmp_path / "out", *small)
    assert "splice" in said and "inpaint-telea" in said
    assert (tmp_path / "out" / "run" / "report" / "report.html").is_file()


def test_own_data_learns(tmp_path):
    said = run("own_data.py")
    of_fakes, of_reals = (float(part.split()[-1]) for part in said.strip().splitlines()[-1].split(","))
    assert of_fakes > of_reals


def test_explain_an_image(trained_run, tiny_manifest, tmp_path):
    image = next(tiny_manifest.parent.glob("test-*.png"))
    said = run("explain_an_image.py", trained_run.path, image, tmp_path / "map.png")
    assert said.split()[1] in ("real", "fake")
    assert read_image(tmp_path / "map.png").shape == (32, 32, 3)


def test_ask_a_server(exported, tiny_manifest, tmp_path):
    server = Process(Path(exported["path"]).parents[1], "--rest-api-port", 0, log=tmp_path / "log.txt")
    try:
        image = next(tiny_manifest.parent.glob("test-*.png"))
        said = run("ask_a_server.py", f"http://127.0.0.1:{server.facts['port']}", image)
    finally:
        server.end()
    assert said.split()[1:] == [said.split()[1], str(image)] and said.split()[1] in ("real", "fake")
