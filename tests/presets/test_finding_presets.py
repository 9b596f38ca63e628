"""Names, folders and the Hub: where a preset is looked for. The Hub is a function of the test's own."""

import sys
import types

import numpy as np
import pytest

from lae_tf.errors import LAEError, MissingExtraError, UsageError
from lae_tf.presets import finding
from lae_tf.presets.finding import built_in, open_preset
from lae_tf.presets.folder import FILES, Preset, write_preset


def write(folder, card="# x\n\nOf a test.\n"):
    write_preset(folder, Preset(folder.name, {}, {}, {}, card, {"a": np.zeros(1, np.float32)}))
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two presets in place of those of this installation, among files that are none."""
    place = tmp_path / "installed"
    for name in ("b", "a"):
        write(place / name, card=f"installed {name}")
    (place / "folder.py").touch()
    (place / "__pycache__").mkdir()
    monkeypatch.setattr(finding, "BUILT_IN", place)


@pytest.fixture
def hub(monkeypatch):
    """A Hub that keeps what it was asked and gives, or raises, ``answer``."""
    module = types.ModuleType("huggingface_hub")
    module.asked, module.answer = [], None

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None):
        module.asked.append((repo_id, revision, allow_patterns))
        if isinstance(module.answer, Exception):
            raise module.answer
        return str(module.answer)

    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def test_installed_presets_go_before_folders(installed, tmp_path, monkeypatch):
    assert built_in() == ["a", "b"]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a", card="here")
    assert open_preset("a").card == "installed a" and open_preset("./a").card == "here"
    assert open_preset(tmp_path / "a").name == "a"


def test_no_such_preset(installed):
    with pytest.raises(UsageError, match=r"nowhere: no such preset; .* \(a, b\), a folder, or hf://user/name\."):
        open_preset("nowhere")


@pytest.mark.parametrize(
    "source, asked",
    [("hf://me/lae-photo", ("me/lae-photo", None)), ("hf://me/lae.photo@v1/x", ("me/lae.photo", "v1/x"))],
)
def test_only_a_presets_own_files_are_fetched(hub, tmp_path, source, asked):
    hub.answer = write(tmp_path / "0f3c")
    preset = open_preset(source)
    assert preset.name == source and hub.asked == [(*asked, list(FILES))]


def test_what_is_fetched_is_checked(hub, tmp_path):
    hub.answer = write(tmp_path / "0f3c")
    (hub.answer / "README.md").write_text("other")
    with pytest.raises(LAEError, match=r"README\.md: was changed or damaged"):
        open_preset("hf://me/x")


@pytest.mark.parametrize("source", ["hf://me", "hf://me/x/y", "hf://me/x@", "hf://me/x y", "hf://"])
def test_an_address_that_is_none(hub, source):
    with pytest.raises(UsageError, match="expected hf://user/name"):
        open_preset(source)
    assert hub.asked == []


def test_a_hub_that_does_not_answer(hub):
    hub.answer = ConnectionError("no route\nmore")
    with pytest.raises(LAEError, match=r"^hf://me/x: cannot be fetched \(no route\)\.$"):
        open_preset("hf://me/x")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"hf://me/x: the Hugging Face Hub needs the extra 'hub'"):
        open_preset("hf://me/x")
