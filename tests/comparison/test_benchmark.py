"""`lae-tf benchmark` end to end, through real processes: cells, resuming, the page."""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from lae_tf.comparison.cell import lock_of
from lae_tf.comparison.records import RESULT
from lae_tf.forge.degradations import DEGRADATIONS
from lae_tf.training.calibrate import fit_platt


@pytest.fixture(scope="module")
def protocol(tiny_manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    values = {
        "title": "Tiny",
        "manifest": tiny_manifest.name,
        "train_methods": ["noise"],
        "models": ["lae", "mesoinception4"],
        "seeds": [0],
        "training": {
            "data": {"image_size": 32, "batch_size": 8, "mask_share": 0.1},
            "model": {"widths": [4, 8, 8], "trunk": "none"},
            "pretrain": {"epochs": 1},
            "align": {"epochs": 1},
        },
        "rate_epochs": 1,
        "robustness_images": 4,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path, tiny_manifest.parent, folder / "out"


def arguments(protocol, *options):
    path, data, out = protocol
    return [str(part) for part in ("benchmark", path, "--data", data, "--output", out, *options)]


@pytest.fixture
def run(lae_tf_command):
    """Compare in this process; what the cells take are processes of their own all the same."""

    def compare(protocol, *options):
        code, out, err = lae_tf_command(*arguments(protocol, *options))
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return compare


@pytest.fixture(scope="module")
def first(protocol):
    """The first run of the comparison, in whose folder the tests below go on; whatever worker they run on."""
    command = [sys.executable, "-m", "lae_tf.cli.main", *arguments(protocol)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def compared(protocol, first):
    assert first.returncode == 0, first.stderr
    return protocol


def test_compare_resume_and_report(compared, first, run):
    _, _, out = compared
    assert "LAE minus the best peer (mesoinception4)" in first.stdout and "| **lae** |" in first.stdout
    page = (out / "comparison.html").read_text()
    assert "false_alarms" in pd.read_csv(out / "robustness.csv") and "AUROC, under each degradation." in page
    assert (
        "Drop of all models" in page
        and "Where they look" in page
        and "Robustness" in page
        and "The same images for all" in page
    )
    record = json.loads((out / "comparison.json").read_text())
    (software,) = record["software"]
    assert f"tensorflow {metadata.version('tensorflow')}" in software and software in page
    assert {row["model"] for row in record["table"]} == {"lae", "mesoinception4", "always real"}
    assert {row["method"] for row in record["table"]} >= {"noise", "colour", "unseen mean"}

    # Every image is kept under every degradation, the real ones with what it did to their logits.
    degraded = pd.read_csv(out / "cells" / "lae-0" / "robustness.csv")
    assert degraded["degradation"].unique().tolist() == list(DEGRADATIONS) and len(degraded) == 4 * len(DEGRADATIONS)
    shift = degraded[degraded["label"] == 0].groupby("degradation")["logit_shift"].mean()
    assert shift["none"] == 0 and shift["jpeg-50"] != 0
    assert degraded.loc[degraded["label"] == 1, "matched_pixel_auroc"].between(0, 1).all()
    rows = {(row["model"], row["degradation"], row["method"]): row for row in record["robustness"]}
    assert len(rows) == len(record["robustness"]) and ("mesoinception4", "messenger", "unseen mean") in rows
    located = {row["method"]: row for row in record["table"] if row["model"] == "lae"}
    assert 0 <= located["unseen mean"]["matched_pixel_auroc"] <= 1
    assert 0 <= located["unseen mean"]["prior_pixel_auroc"] <= 1 and "position prior" in page

    # The thresholds can be chosen again from what the cells keep of validation.
    for cell in ("lae-0", "mesoinception4-0"):
        result = json.loads((out / "cells" / cell / "result.json").read_text())
        validation = pd.read_csv(out / "cells" / cell / "validation.csv")
        # On equal terms: the known manipulation and forgeries made on the fly.
        assert set(validation.loc[validation["label"] == 1, "method"]) == {"noise", "(made on the fly)"}
        logits, labels = validation["logit"].to_numpy(), validation["label"].to_numpy()
        chosen = fit_platt(logits, labels)
        assert chosen == pytest.approx((result["boundary"], result["temperature"]), rel=1e-4)
        assert result["threshold"] == 0.5
        scores = pd.read_csv(out / "cells" / cell / "scores.csv")
        np.testing.assert_array_equal(scores["score"] >= 0.5, scores["logit"].astype(np.float32) >= result["boundary"])

    # The peer's learning rate is the best of three on validation; LAE's is the protocol's.
    results = [json.loads((out / "cells" / f"{name}-0" / RESULT).read_text()) for name in ("lae", "mesoinception4")]
    assert results[0]["learning_rate"] == 1e-3 and not results[0]["rates_tried"]
    tried = results[1]["rates_tried"]
    assert sorted(map(float, tried)) == [3.33e-4, 1e-3, 3e-3]
    assert tried[f"{results[1]['learning_rate']:.2e}"] == max(tried.values())
    choice = out / "rates" / "mesoinception4.json"
    chosen_at = choice.stat().st_mtime_ns

    # A cell without its result was killed: it alone is run again, and gives the same scores, at the rate once chosen.
    scores = out / "cells" / "mesoinception4-0" / "scores.csv"
    finished = out / "cells" / "lae-0" / "result.json"
    before, stamp = scores.read_text(), finished.stat().st_mtime_ns
    (scores.parent / "result.json").unlink()
    again = run(compared, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["best_peer"] == "mesoinception4"
    assert scores.read_text() == before
    assert finished.stat().st_mtime_ns == stamp and choice.stat().st_mtime_ns == chosen_at


def test_a_failed_cell_does_not_stop_the_others(compared, tmp_path, run):
    path, data, out = compared
    broken = tmp_path / "broken.yaml"
    values = yaml.safe_load(path.read_text())
    # "split" without its loss is refused by the model's builder, in the cell's own process.
    values["ablations"] = {"lae-broken": {"model.head": "split"}}
    values["models"] = ["mesoinception4"]
    broken.write_text(yaml.safe_dump(values))
    done = run((broken, data, out))
    assert done.returncode == 1
    assert "lae-broken-0 failed: losses.decision 'activation'" in done.stderr and "Traceback" not in done.stderr
    assert "| mesoinception4 |" in done.stdout


def test_a_finished_peer_stays_finished_when_lae_changes_and_lae_does_not(compared, tmp_path, run):
    """The folder is refused while it holds the cell that is no longer true, whatever is asked for."""
    path, data, out = compared
    changed = tmp_path / "changed.yaml"
    values = yaml.safe_load(path.read_text())
    values["training"]["model"]["blocks"] = 0
    changed.write_text(yaml.safe_dump(values))
    finished = out / "cells" / "mesoinception4-0" / "result.json"
    stamp = finished.stat().st_mtime_ns
    for model in ("lae", "mesoinception4"):
        refused = run((changed, data, out), "--model", model)
        assert refused.returncode == 2 and "lae-0 was run with other settings" in refused.stderr
    (out / "cells" / "lae-0").rename(tmp_path / "lae-0")
    done = run((changed, data, out), "--model", "mesoinception4")
    (tmp_path / "lae-0").rename(out / "cells" / "lae-0")
    assert done.returncode == 0 and finished.stat().st_mtime_ns == stamp


def test_finished_cells_are_found_where_the_folders_moved_to_and_refused_on_other_data(compared, tmp_path, run):
    path, data, out = compared
    moved, data_moved = tmp_path / "out", tmp_path / "data"
    shutil.copytree(out, moved)
    shutil.copytree(data, data_moved)
    done = run((path, data_moved, moved), "--json")
    assert done.returncode == 0, done.stderr
    for cell in ("lae-0", "mesoinception4-0"):
        place = moved / "cells" / cell / RESULT
        assert place.stat().st_mtime_ns == (out / "cells" / cell / RESULT).stat().st_mtime_ns
    # What names an image in the scores has not moved with it.
    names = pd.read_csv(moved / "cells" / "lae-0" / "scores.csv")["path"]
    assert names.map(lambda name: (data_moved / name).is_file() and not Path(name).is_absolute()).all()
    manifest = data_moved / yaml.safe_load(path.read_text())["manifest"]
    lines = manifest.read_text().splitlines(keepends=True)
    dropped = next(i for i, line in enumerate(lines) if ",real," in line and ",train" in line)
    manifest.write_text("".join(lines[:dropped] + lines[dropped + 1 :]))
    refused = run((path, data_moved, moved))
    assert refused.returncode == 2 and "other settings or data" in refused.stderr


def test_a_folder_of_an_older_version_is_refused(compared, tmp_path, run):
    path, data, out = compared
    old = tmp_path / "out"
    shutil.copytree(out, old)
    (old / "cells" / "lae-0" / "settings.json").unlink()
    refused = run((path, data, old))
    assert refused.returncode == 2 and "lae-0 was run with other settings" in refused.stderr


def test_settings_result_and_scores_are_all_that_a_comparison_needs(compared, tmp_path, run):
    path, data, out = compared
    for cell in ("lae-0", "mesoinception4-0"):
        (tmp_path / "cells" / cell).mkdir(parents=True)
        for name in ("settings.json", RESULT, "scores.csv"):
            shutil.copy(out / "cells" / cell / name, tmp_path / "cells" / cell)
            assert str(data) not in (tmp_path / "cells" / cell / name).read_text()
    for place in (tmp_path, out):
        done = run((path, data, place), "--json")
        assert done.returncode == 0, done.stderr
    ours, theirs = (json.loads((place / "comparison.json").read_text()) for place in (tmp_path, out))
    assert ours["table"] == theirs["table"] and ours["differences"] == theirs["differences"]


def test_a_cell_that_another_process_runs_is_left_alone(compared, run):
    path, data, out = compared
    place = out / "cells" / "mesoinception4-0"
    result = (place / RESULT).read_text()
    (place / RESULT).unlink()
    kept = {file.name for file in place.iterdir()}
    with lock_of(place):
        refused = run((path, data, out), "--model", "mesoinception4")
    assert refused.returncode == 1 and "another process" in refused.stderr
    assert {file.name for file in place.iterdir()} == kept
    (place / RESULT).write_text(result)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_methods": ["noise", "colour"]}, "needs an unseen one"),
        ({"train_methods": ["nose"]}, "nose"),
        ({"unseen_methods": ["color"]}, "the unseen methods of split 'test' are colour; unseen_methods"),
        ({"training": {"data": {"image_size": 40}}}, "multiples of 16 from 32 to 256"),
    ],
)
def test_what_would_fail_after_hours_is_said_before_the_first_training(protocol, tmp_path, changes, said, run):
    path, data, _ = protocol
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    refused = run((wrong, data, tmp_path / "out"))
    assert refused.returncode in (1, 2) and said in refused.stderr and "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_quick_try_checks_the_whole_protocol(protocol, tmp_path, run):
    """What --fast leaves out would else be found to be wrong by the long run alone."""
    path, data, _ = protocol
    wrong = tmp_path / "wrong.yaml"
    changes = {"ablations": {"x": {"model.haed": "gap"}}, "fast": {"ablations": {}}}
    wrong.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    refused = run((wrong, data, tmp_path / "out"), "--fast")
    assert refused.returncode == 2 and "did you mean 'head'" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_unknown_names_are_usage_errors(protocol, lae_tf_command):
    path, data, out = protocol
    for option in (["--model", "nobody"], ["--seed", "9"]):
        code, _, error = lae_tf_command("benchmark", path, "--data", data, "--output", out, *option)
        assert code == 2 and option[1] in error
