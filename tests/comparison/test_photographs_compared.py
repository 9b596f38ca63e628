"""`lae-tf benchmark` on photographs of several sizes, which LAE and peers see in windows alike."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from lae_tf.comparison.peers import build_peer
from lae_tf.data.views import look
from lae_tf.datasets.forging import ForgeOptions, forge_folder
from lae_tf.images.files import write_png
from lae_tf.model.window_pooling import NO_WEIGHTS


def photograph(seed, height, width):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)


def test_models_with_a_map_and_without_are_compared_in_windows(tmp_path):
    for number in range(12):
        write_png(tmp_path / "photographs" / f"{number:02}.png", photograph(number, 64 + 8 * (number % 3), 96))
    methods = ["inpaint-telea", "copy-move"]
    options = ForgeOptions(splits=(0.5, 0.25, 0.25), jpeg=(75, 95))
    forge_folder(tmp_path / "photographs", tmp_path / "data", methods, 0, options, progress=False)
    protocol = {
        "title": "Photographs",
        "manifest": "manifest.csv",
        "train_methods": ["inpaint-telea"],
        "models": ["lae", "mesoinception4", "ffd"],
        "seeds": [0],
        "training": {
            "data": {"view": "windows", "image_size": 32, "batch_size": 8, "mask_share": 0.5},
            "model": {"widths": [4, 8, 8], "trunk": "none"},
            "pretrain": {"epochs": 1},
            "align": {"epochs": 1},
        },
        "robustness_images": 0,
    }
    (tmp_path / "photos.yaml").write_text(yaml.safe_dump(protocol))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "lae_tf.cli.main", "benchmark", tmp_path / "photos.yaml"]
    options = ["--data", tmp_path / "data", "--output", out, "--json"]
    done = subprocess.run([*map(str, command), *map(str, options)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for model, localises in (("lae", True), ("mesoinception4", False), ("ffd", True)):
        folder = out / "cells" / f"{model}-0"
        scores = pd.read_csv(folder / "scores.csv")
        assert len(scores) == 9 and np.isfinite(scores["logit"]).all() and scores["score"].between(0, 1).all()
        # Two sizes of each of three photographs count once: real, forged on the fly and known fake, as stored and not.
        assert len(pd.read_csv(folder / "validation.csv")) == 3 * 3 * 2
        result = json.loads((folder / "result.json").read_text())
        assert (result["localisation"]["pixel_auroc"] is not None) == localises
        assert ("attention" in np.load(folder / "panels.npz")) == localises
    assert "mesoinception4" in (out / "comparison.html").read_text()


@pytest.mark.parametrize(("name", "stride"), [("mesoinception4", 16), ("ffd", 16), ("lae-encoder", 16)])
def test_a_peer_looks_at_an_image_of_any_size(name, stride):
    """Where all weight is on the whole, the logit is that of the whole."""
    peer = build_peer(name, 32, "windows")
    assert peer.stride == stride
    image = photograph(1, 50, 90)
    peer.window_pooling.assign(NO_WEIGHTS._replace(weights=np.array([0, 1, 0], np.float32)))
    whole = np.asarray(peer.preprocessor.resize(image))[None]
    seen = look(peer, image)
    assert seen.logit == pytest.approx(float(np.asarray(peer(whole)["logit"])[0, 0]), abs=1e-4)
    logits, maps = peer.decide_on_batch(whole)
    assert logits.shape == (1,) and maps.shape == (1, 2, 2)


def test_a_view_that_peers_do_not_have_is_refused():
    with pytest.raises(ValueError, match="view must be one of"):
        build_peer("mesoinception4", 32, "faces")
