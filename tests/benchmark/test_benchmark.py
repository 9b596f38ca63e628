"""`lae-tf benchmark` end to end, through real processes: cells, resuming, the page."""

import json
import subprocess
import sys

import pytest
import yaml


@pytest.fixture(scope="module")
def protocol(tiny_manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    values = {
        "title": "Tiny",
        "manifest": tiny_manifest.name,
        "train_methods": ["noise"],
        "models": ["lae", "lae-encoder"],
        "seeds": [0],
        "training": {
            "data": {"image_size": 32, "batch_size": 8, "mask_share": 0.1},
            "model": {"widths": [4, 8, 8]},
            "pretrain": {"epochs": 1},
            "align": {"epochs": 1},
        },
        "robustness_images": 4,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path, tiny_manifest.parent, folder / "out"


def run(protocol, *options):
    path, data, out = protocol
    command = [sys.executable, "-m", "lae_tf.cli.main", "benchmark", path, "--data", data, "--output", out, *options]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def test_compare_resume_and_report(protocol):
    first = run(protocol)
    assert first.returncode == 0, first.stderr
    _, _, out = protocol
    assert "LAE minus the best peer (lae-encoder)" in first.stdout and "| **lae** |" in first.stdout
    page = (out / "comparison.html").read_text()
    assert page.count("AUROC under ") == page.count("Accuracy under ") > 0
    assert "Where they look" in page and "Robustness" in page and "The same images for all" in page
    record = json.loads((out / "comparison.json").read_text())
    assert {row["model"] for row in record["table"]} == {"lae", "lae-encoder"}
    assert {row["method"] for row in record["table"]} >= {"noise", "colour", "unseen mean"}

    # A cell without its result was killed: it alone is run again, and gives the same scores.
    scores = out / "cells" / "lae-encoder-0" / "scores.csv"
    finished = out / "cells" / "lae-0" / "result.json"
    before, stamp = scores.read_text(), finished.stat().st_mtime_ns
    (scores.parent / "result.json").unlink()
    again = run(protocol, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["best_peer"] == "lae-encoder"
    assert scores.read_text() == before
    assert finished.stat().st_mtime_ns == stamp


def test_a_failed_cell_does_not_stop_the_others(protocol, tmp_path):
    """In the folder of the test above, whose cell of the encoder is finished."""
    path, data, out = protocol
    broken = tmp_path / "broken.yaml"
    values = yaml.safe_load(path.read_text())
    # "split" without its loss is refused by the model's builder, in the cell's own process.
    values["ablations"] = {"lae-broken": {"model.head": "split"}}
    values["models"] = ["lae-encoder"]
    broken.write_text(yaml.safe_dump(values))
    done = run((broken, data, out))
    assert done.returncode == 1
    assert "lae-broken-0 failed" in done.stderr and "Traceback" not in done.stderr
    assert "| lae-encoder |" in done.stdout


def test_a_finished_peer_stays_finished_when_lae_changes_and_lae_does_not(protocol, tmp_path):
    path, data, out = protocol
    changed = tmp_path / "changed.yaml"
    values = yaml.safe_load(path.read_text())
    values["training"]["model"]["blocks"] = 0
    changed.write_text(yaml.safe_dump(values))
    finished = out / "cells" / "lae-encoder-0" / "result.json"
    stamp = finished.stat().st_mtime_ns
    done = run((changed, data, out), "--model", "lae-encoder")
    assert done.returncode == 0 and finished.stat().st_mtime_ns == stamp
    refused = run((changed, data, out), "--model", "lae")
    assert refused.returncode == 2 and "other settings" in refused.stderr


def test_unknown_names_are_usage_errors(protocol, lae_tf_command):
    path, data, out = protocol
    for option in (["--model", "nobody"], ["--seed", "9"]):
        code, _, error = lae_tf_command("benchmark", path, "--data", data, "--output", out, *option)
        assert code == 2 and option[1] in error
