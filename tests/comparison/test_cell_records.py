"""Finished cells say the same from their folders and from one archive."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lae_tf.comparison.compare import ALWAYS_REAL, gather, over_seeds
from lae_tf.comparison.protocol import Protocol
from lae_tf.comparison.records import (
    ARCHIVED_RESULTS,
    RESULT,
    ROBUSTNESS,
    SCORES,
    SETTINGS,
    VALIDATION,
    Records,
    write_archive,
)
from lae_tf.comparison.run import require_same_settings, run_cells
from lae_tf.errors import UsageError

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
    assert "lae-0" not in Records(tmp_path / "nothing") and Records(tmp_path / "nothing").names() == []


def earlier_study(tmp_path, **changes):
    """Return what `require_same_settings` takes, but for the data: a protocol with one peer of earlier terms."""
    values = {"title": "T", "manifest": "m.csv", "train_methods": ["a"], "models": ["xception"], "seeds": [0]}
    protocol = Protocol.model_validate({**values, **changes})
    (tmp_path / "m.csv").touch()
    return protocol, list(protocol.cells(tmp_path, tmp_path))


def test_published_cells_are_refused_among_new_ones_unless_they_are_said_to_be_earlier(tmp_path):
    archived = Records(PUBLISHED / "swap")
    data = archived.settings("xception-0")["data_sha256"]
    write_archive(archived, [cell for cell in archived.names() if cell == "xception-0"], tmp_path)
    protocol, cells = earlier_study(tmp_path)
    with pytest.raises(UsageError, match="xception-0 was run with other settings"):
        require_same_settings(protocol, cells, data, tmp_path)
    protocol, cells = earlier_study(tmp_path, earlier=["xception"])
    require_same_settings(protocol, cells, data, tmp_path)
    assert run_cells(protocol, cells, data, tmp_path) == [] and not (tmp_path / "cells").exists()
    assert [outcome.model for outcome in gather(cells, tmp_path)] == ["xception (earlier terms)"]
    with pytest.raises(UsageError, match="was run on other data in the cell xception-0"):
        require_same_settings(protocol, cells, "other", tmp_path)
    (tmp_path / ARCHIVED_RESULTS).unlink()
    with pytest.raises(UsageError, match="has no finished cell xception-0"):
        require_same_settings(protocol, cells, data, tmp_path)


@pytest.mark.parametrize("task", ["swap", "attribute", "inpainting"])
def test_published_tables_follow_from_the_published_cells(task, tmp_path):
    protocol = Protocol.read(ROOT / "configs" / f"{task}.yaml")
    manifest = tmp_path / protocol.manifest
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.touch()
    table = pd.read_csv(PUBLISHED / task / "comparison.csv").set_index(["model", "method"])
    outcomes = gather(list(protocol.cells(tmp_path, PUBLISHED / task)), PUBLISHED / task)
    rows = set(table.index.get_level_values("model")) - {ALWAYS_REAL, "lae at the peers' threshold"}
    assert {o.model for o in outcomes} == rows
    for outcome in outcomes:
        values = over_seeds(outcome, protocol.train_methods, seed=0)(outcome.frame, np.ones((1, len(outcome.frame))))
        for (method, metric), value in values.items():
            if metric in table:
                np.testing.assert_allclose(value[0], table.loc[(outcome.model, method), metric], rtol=1e-9)
