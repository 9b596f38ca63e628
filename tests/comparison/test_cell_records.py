"""Finished cells say the same from their folders and from one archive."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lae_tf.comparison.compare import ALWAYS_REAL, KNOWN_THRESHOLD, gather, over_seeds
from lae_tf.comparison.protocol import Protocol
from lae_tf.comparison.records import RESULT, ROBUSTNESS, SCORES, SETTINGS, VALIDATION, Records, write_archive

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "benchmarks" / "results"


def write_cell(folder, name, logits):
    place = folder / "cells" / name
    place.mkdir(parents=True)
    rows = {"path": ["01.png", "2.png", "3.png"], "group": ["01", "", "3"], "method": ["", "a", "b"]}
    frame = pd.DataFrame({**rows, "split": "test", "label": [0, 1, 1], "logit": logits, "iou": [np.nan, 0.1, 1 / 3]})
    frame.to_csv(place / SCORES, index=False)
    frame[["path", "label", "method", "logit"]].to_csv(place / VALIDATION, index=False)
    degraded = frame.drop(columns="iou").assign(degradation="jpeg-50", logit_shift=[-0.5, np.nan, np.nan])
    degraded.to_csv(place / ROBUSTNESS, index=False)
    (place / RESULT).write_text('{"threshold": 0.1}')
    (place / SETTINGS).write_text('{"seed": 0}')


def test_an_archive_holds_what_the_folders_hold(tmp_path):
    write_cell(tmp_path / "run", "lae-0", [0.1 + 0.2, -1e-17, 1e300])
    write_cell(tmp_path / "run", "peer-0", [1.0, 2.0, 3.0])
    folders = Records(tmp_path / "run")
    write_archive(folders, ["lae-0", "peer-0"], tmp_path / "archive")
    archive = Records(tmp_path / "archive")
    for cell in ("lae-0", "peer-0"):
        assert cell in archive and archive.settings(cell) == {"seed": 0}
        assert archive[cell].result == {"threshold": 0.1}
        assert archive[cell].tables.keys() == {"test", "val", "robustness"}
        for part, frame in archive[cell].tables.items():
            pd.testing.assert_frame_equal(frame, folders[cell].tables[part], check_exact=True, check_like=True)
    assert archive["lae-0"].tables["robustness"]["logit_shift"].sum() == -0.5
    assert archive["lae-0"].tables["test"]["group"].tolist() == ["01", "", "3"]
    assert "lae-1" not in archive and archive.settings("lae-1") is None


def test_a_cell_that_is_run_again_replaces_the_archived_one(tmp_path):
    write_cell(tmp_path, "lae-0", [1.0, 2.0, 3.0])
    write_archive(Records(tmp_path), ["lae-0"], tmp_path)
    (tmp_path / "cells" / "lae-0" / RESULT).write_text('{"threshold": 0.7}')
    assert Records(tmp_path)["lae-0"].result == {"threshold": 0.7}


def test_a_folder_without_cells_has_no_records(tmp_path):
    assert "lae-0" not in Records(tmp_path / "nothing")


@pytest.mark.parametrize("task", ["swap", "attribute", "inpainting"])
def test_published_tables_follow_from_the_published_cells(task, tmp_path):
    protocol = Protocol.read(ROOT / "configs" / f"{task}.yaml")
    manifest = tmp_path / protocol.manifest
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.touch()
    table = pd.read_csv(PUBLISHED / task / "comparison.csv").set_index(["model", "method"])
    outcomes = gather(list(protocol.cells(tmp_path, PUBLISHED / task)), PUBLISHED / task)
    assert {o.model for o in outcomes} == set(table.index.get_level_values("model")) - {ALWAYS_REAL, KNOWN_THRESHOLD}
    for outcome in outcomes:
        values = over_seeds(outcome, protocol.train_methods, seed=0)(outcome.frame, np.ones((1, len(outcome.frame))))
        for (method, metric), value in values.items():
            if metric in table:
                np.testing.assert_allclose(value[0], table.loc[(outcome.model, method), metric], rtol=1e-9)
