"""Without a run: the default preset, one that is named, and how every record names the model that it is from."""

import csv
import hashlib
import json

import pytest

import lae_tf
from lae_tf.data.manifest import Manifest
from lae_tf.presets import finding


@pytest.fixture(scope="module")
def photo(tiny_manifest):
    return Manifest.read(tiny_manifest).select(split="test").frame["path"].iloc[0]


@pytest.fixture(scope="module")
def preset(trained_run, tmp_path_factory):
    """The shared run as `lae-tf export --format preset` writes it."""
    from lae_tf.export.preset import export_preset

    folder = tmp_path_factory.mktemp("presets") / finding.DEFAULT
    parity = export_preset(trained_run, folder)
    assert parity.images == 24 and parity.largest_difference <= 1e-6
    return folder


@pytest.fixture
def installed(preset, monkeypatch):
    monkeypatch.setattr(finding, "BUILT_IN", preset.parent)


def scored(lae_tf_command, *arguments):
    code, out, err = lae_tf_command("predict", *arguments, "--json")
    assert code == 0, err
    (record,) = map(json.loads, out.splitlines())
    return record


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_a_preset_and_the_default_score_alike(trained_run, preset, installed, photo, lae_tf_command):
    by_run = scored(lae_tf_command, trained_run.path, photo)
    by_folder = scored(lae_tf_command, "--model", preset, photo)
    assert scored(lae_tf_command, photo) == scored(lae_tf_command, "--model", "lae-photo", photo) == by_folder
    assert by_run["model"] == trained_run.path.name and by_folder["model"] == "lae-photo"
    assert by_run["digest"] == sha256(trained_run.model_path)[:16]
    assert by_folder["digest"] == sha256(preset / "model.safetensors")[:16]
    assert by_run["version"] == by_folder["version"] == lae_tf.__version__
    assert by_run["view"] == by_folder["view"] == "whole"
    shared = ("path", "score", "label", "verdict", "logit", "threshold")
    assert [by_run[name] for name in shared] == [by_folder[name] for name in shared]


def test_the_table_names_the_model_too(preset, photo, tmp_path, lae_tf_command):
    assert lae_tf_command("predict", "--model", preset, photo, "--csv", tmp_path / "a.csv")[0] == 0
    (row,) = csv.DictReader((tmp_path / "a.csv").open())
    assert row["model"] == "lae-photo" and len(row["digest"]) == 16 and row["view"] == "whole"


def test_a_threshold_of_ones_own_and_none_of_validation(preset, photo, lae_tf_command):
    record = scored(lae_tf_command, "--model", preset, photo, "--threshold", "0")
    assert (record["label"], record["threshold"], record["threshold_from"]) == ("fake", 0, "--threshold")
    code, _, err = lae_tf_command("predict", "--model", preset, photo, "--max-false-alarms", "1%")
    assert code == 2 and "needs a RUN" in err and "presets" in err


def test_explanations_by_a_preset(preset, photo, tmp_path, lae_tf_command):
    arguments = ["explain", "--model", preset, photo, "--methods", "attention", "-o", tmp_path / "out", "--json"]
    code, out, err = lae_tf_command(*arguments)
    assert code == 0, err
    assert json.loads(out)["images"][0]["model"] == "lae-photo"
    assert "Explanations of lae-photo" in (tmp_path / "out" / "report.html").read_text()


def test_nothing_to_score(preset, installed, lae_tf_command):
    code, _, err = lae_tf_command("predict", "--model", preset)
    assert code == 2 and "Missing argument" in err


def test_a_damaged_preset(preset, photo, tmp_path, lae_tf_command):
    for file in preset.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"")
    code, out, err = lae_tf_command("predict", "--model", tmp_path, photo)
    assert code == 1 and out == "" and "model.safetensors: was changed or damaged" in err and err.count("\n") == 1


# --- the list, and the card -------------------------------------------------------------------------------


def test_the_list(preset, installed, lae_tf_command):
    code, out, _ = lae_tf_command("models")
    assert code == 0 and out.startswith("lae-photo (default)  ") and out.count("\n") == 1
    _, out, _ = lae_tf_command("models", "--json")
    (facts,) = json.loads(out)
    assert facts["name"] == "lae-photo" and facts["default"] is True and facts["config"]["image_size"] == 32
    assert facts["digest"] == sha256(preset / "model.safetensors")


def test_the_card_says_what_the_run_knows(trained_run, preset, lae_tf_command):
    code, out, _ = lae_tf_command("models", preset)
    assert code == 0 and out.startswith("# Model card: lae-photo, version 1 (preset)\n")
    assert "## Limits" in out and "called fake where its score is at least **0.5" in out
    assert "scored by the checkpoint and by this export:" in out and "model_card.json" not in out
    assert sha256(trained_run.model_path) in out
    _, printed, _ = lae_tf_command("models", preset, "--json")
    assert json.loads(printed)["card"].startswith("# Model card: lae-photo")


def test_an_installation_without_presets(tmp_path, monkeypatch, lae_tf_command):
    monkeypatch.setattr(finding, "BUILT_IN", tmp_path)
    code, out, _ = lae_tf_command("models")
    assert code == 0 and "has no ready model" in out and "lae-tf train" in out
    assert lae_tf_command("models", "--json")[1] == "[]\n"
    code, _, err = lae_tf_command("models", "lae-photo")
    assert code == 2 and "lae-photo: no such preset" in err and "(none)" in err


def test_export(trained_run, tmp_path, lae_tf_command):
    code, out, err = lae_tf_command("export", trained_run.path, tmp_path / "mine", "--format", "preset", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["path"] == str(tmp_path / "mine") and facts["golden_images"] == 24
    assert lae_tf.LAE.from_preset(tmp_path / "mine").image_size == 32
    code, _, err = lae_tf_command("export", trained_run.path, tmp_path / "mine", "--format", "preset")
    assert code == 2 and "exists already" in err
