"""A preset's folder: what was written is read again, and whatever was changed is refused in one sentence."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from lae_tf.errors import LAEError, UsageError
from lae_tf.presets.folder import FILES, Preset, is_preset, read_preset, write_preset

WEIGHTS = {"head/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "calibration/threshold": np.float32([0.25])[0]}
CARD = "# Title\n\nFinds splices.\nNot faces.\n"


@pytest.fixture
def folder(tmp_path):
    weights = {name: np.asarray(value) for name, value in WEIGHTS.items()}
    preset = Preset("x", {"image_size": 32}, {"calibration/threshold": 0.25}, {"lae_tf": "9.9"}, CARD, weights)
    write_preset(tmp_path / "mine", preset)
    return tmp_path / "mine"


def replace(folder, name, content):
    """Change a file as someone would who can count: its hash is right."""
    (folder / name).write_bytes(content)
    lines = [line for line in (folder / "SHA256SUMS").read_text().splitlines() if not line.endswith(name)]
    digest = hashlib.sha256(content).hexdigest()
    (folder / "SHA256SUMS").write_text("\n".join([*lines, f"{digest}  {name}"]) + "\n")


def change(folder, **values):
    config = {**json.loads((folder / "config.json").read_text()), **values}
    replace(folder, "config.json", json.dumps(config).encode())


def refusal(folder):
    with pytest.raises(LAEError) as caught:
        read_preset(folder)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message and len(message) < 1000
    return message


def test_what_was_written_is_read(folder):
    preset = read_preset(folder)
    assert preset.name == "mine" and preset.config == {"image_size": 32} and preset.card == CARD
    assert preset.calibration == {"calibration/threshold": 0.25} and preset.software == {"lae_tf": "9.9"}
    assert preset.weights.keys() == WEIGHTS.keys() and preset.summary == "Finds splices."
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(preset.weights[name], value)
        assert preset.weights[name].shape == np.shape(value)
    assert preset.digest == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert {path.name for path in folder.iterdir()} == set(FILES) and is_preset(folder)


def test_a_preset_is_never_overwritten(folder):
    before = (folder / "config.json").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write_preset(folder, read_preset(folder))
    assert (folder / "config.json").read_bytes() == before


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    assert f"lacks {name}" in refusal(folder)


def test_an_unknown_file_but_a_hidden_one(folder):
    (folder / ".gitattributes").touch()
    assert read_preset(folder).name == "mine"
    (folder / "model.pkl").touch()
    assert "also holds model.pkl" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
def test_a_changed_file(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    message = refusal(folder)
    assert message.startswith(f"{folder / name}: was changed or damaged")


@pytest.mark.parametrize("line", ["", "0" * 64 + "  ../secret", "no hash"])
def test_hashes_that_are_none(folder, line):
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    (folder / "SHA256SUMS").write_text("\n".join([*lines[:2], line]))
    assert "SHA256SUMS: expected one line, a hash and a name, for each of" in refusal(folder)


def test_a_newer_format(folder):
    change(folder, format=2, news="x")
    assert "has format 2, newer than 1, which this lae_tf reads; update lae_tf" in refusal(folder)


@pytest.mark.parametrize(
    "values, said",
    [
        ({"class": "os>system"}, "describes a os>system in format 1; expected lae_tf>LAE in format 1"),
        ({"format": 0}, "in format 0"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"calibration": {"threshold": "x"}}, "calibration.threshold"),
        ({"config": []}, "config: Input should be a valid dictionary"),
    ],
)
def test_a_configuration_of_another_kind(folder, values, said):
    change(folder, **values)
    assert said in refusal(folder)


@pytest.mark.parametrize("content", [b"[1]", b"{", b"[" * 100_000, b"\xff"])
def test_a_configuration_that_is_none(folder, content):
    replace(folder, "config.json", content)
    assert "config.json: " in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64])
def test_weights_that_are_none(folder, content):
    replace(folder, "model.safetensors", content)
    assert "cannot be read as safetensors" in refusal(folder)


def test_weights_of_another_type(folder):
    replace(folder, "model.safetensors", save({"head/kernel": np.zeros(3, np.float64)}))
    assert "head/kernel is float64, expected float32" in refusal(folder)


def test_a_file_that_is_too_large(folder, monkeypatch):
    monkeypatch.setitem(FILES, "README.md", 8)
    assert f"README.md: has {len(CARD)} bytes, more than the 8" in refusal(folder)
