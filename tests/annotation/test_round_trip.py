"""The second half of the mission, through the command line: train, select, draw, import, align."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
from tiny_dataset import make_config, write_dataset

from lae_tf.data.manifest import Manifest
from lae_tf.images.files import read_mask, write_png
from lae_tf.training.run import Run


def test_from_image_labels_to_an_aligned_model(tmp_path: Path, lae_tf_command) -> None:
    def lae_tf(*arguments: str) -> dict:
        code, output, errors = lae_tf_command(*arguments, "--json")
        assert code == 0, errors[-2000:]
        return json.loads(output)

    manifest = write_dataset(tmp_path / "data", {"train": (16, 6, 0), "val": (8, 4, 0), "test": (8, 4, 0)})
    frame = pd.read_csv(manifest, keep_default_na=False)
    truth = {path: mask for path, mask in zip(frame["path"], frame["mask"], strict=True) if mask}
    frame.loc[frame["split"] == "train", "mask"] = ""
    frame.to_csv(manifest, index=False)
    config = make_config(manifest, tmp_path / "run", pretrain={"epochs": 1}, align={"epochs": 1})
    config.write(tmp_path / "config.yaml")

    trained = lae_tf("train", str(tmp_path / "config.yaml"))
    run = Run.open(trained["run"])
    assert [row["stage"] for row in run.read_metrics()] == ["pretrain"]
    assert trained["data"]["mask_budget"] == 0

    selected = lae_tf("select", str(run.path), "--budget", "4", "--allow-over-budget")
    with (Path(selected["folder"]) / "selection.csv").open(newline="") as file:
        chosen = [Path(row["path"]) for row in csv.DictReader(file)]
    assert len(chosen) == 4

    # The annotator draws what is true, in whatever program writes PNG files.
    for path in chosen:
        write_png(tmp_path / "drawn" / f"{path.stem}.png", 255 * read_mask(manifest.parent / truth[path.name]))
    lae_tf("import-masks", str(run.path), str(tmp_path / "drawn"))
    updated = Manifest.read(manifest)
    part = updated.select(split="train")
    annotated = part.frame[part.mask_state == "annotated"]
    assert set(annotated["path"]) == {str(path) for path in chosen}
    for row in annotated.itertuples():
        np.testing.assert_array_equal(read_mask(row.mask), read_mask(manifest.parent / truth[Path(row.path).name]))

    again = lae_tf("train", str(tmp_path / "config.yaml"), "--resume")
    assert [row["stage"] for row in run.read_metrics()] == ["pretrain", "align"]
    assert again["data"]["mask_budget"] == 4 / len(part)
    # With nothing new, nothing runs.
    before = run.model_path.stat().st_mtime_ns
    lae_tf("train", str(tmp_path / "config.yaml"), "--resume")
    assert run.model_path.stat().st_mtime_ns == before
