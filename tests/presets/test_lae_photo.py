"""The ready model that comes with the package: whole, found by its name, and of use on a photograph."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from lae_tf.model.lae import LAE
from lae_tf.predict.images import predict_files
from lae_tf.presets.finding import BUILT_IN, DEFAULT, built_in, open_preset

REGION = np.s_[30:130, 400:540]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A photograph, of validation and not of training, and the same with a region filled from its outline, as JPEG."""
    folder = tmp_path_factory.mktemp("photographs")
    image = data.coffee()
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[REGION] = 255
    for name, pixels in (("real", image), ("filled", cv2.inpaint(image, mask, 5, cv2.INPAINT_TELEA))):
        Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=85)
    return folder


def test_it_comes_with_the_package_and_its_card():
    assert DEFAULT in built_in()
    preset = open_preset(DEFAULT)  # checks all hashes
    assert preset.summary.startswith("Finds regions of photographs")
    assert "whose photographs it learned from" in preset.card.lower() and "cc-by-4.0" in preset.card
    assert sum(file.stat().st_size for file in (BUILT_IN / DEFAULT).iterdir()) < 5e6


def test_a_filled_region_is_found_and_shown(photographs):
    model = LAE.from_preset(DEFAULT)
    assert model.view == "windows"
    real, filled = predict_files(model, [str(photographs / f"{name}.jpg") for name in ("real", "filled")])
    assert filled.verdict == "fake" and real.verdict != "fake"
    shown = cv2.resize(filled.attention, data.coffee().shape[1::-1])
    outside = np.ones(shown.shape, bool)
    outside[REGION] = False
    assert shown[REGION].mean() > 0.5 > 4 * shown[outside].mean()


def test_it_answers_where_nothing_was_trained(photographs, tmp_path):
    """In an empty folder, as the first command that somebody types."""
    shutil.copy(photographs / "filled.jpg", tmp_path / "photo.jpg")
    command = [sys.executable, "-m", "lae_tf.cli.main", "predict", "photo.jpg", "--json", "--heatmaps", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert (record["model"], record["view"], record["verdict"]) == (DEFAULT, "windows", "fake")
    assert record["regions"] and Image.open(tmp_path / record["heatmap"]).size == (600, 400)
