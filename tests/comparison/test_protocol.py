"""Protocols: what is refused, what --fast changes, and which cells come out."""

from pathlib import Path

import pytest
import yaml

from lae_tf.comparison.protocol import Protocol
from lae_tf.config.sections import ConfigError
from lae_tf.errors import UsageError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(tmp_path, **changes):
    values = {
        "title": "Task",
        "manifest": "data/manifest.csv",
        "train_methods": ["noise"],
        "models": ["lae", "mesoinception4"],
        "seeds": [3, 4],
        "training": {"data": {"image_size": 32}, "pretrain": {"epochs": 5}},
        **changes,
    }
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(values))
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "manifest.csv").write_text("path,label\n")
    return path


def test_cells_go_seed_by_seed_and_share_their_training(tmp_path):
    path = write(tmp_path, ablations={"lae-gap": {"model.head": "gap"}})
    cells = list(Protocol.read(path).cells(tmp_path, tmp_path / "out"))
    assert [cell.name for cell in cells] == [
        *("lae-3", "mesoinception4-3", "lae-gap-3"),
        *("lae-4", "mesoinception4-4", "lae-gap-4"),
    ]
    assert {cell.config.data.train_methods for cell in cells} == {("noise",)}
    assert {cell.config.pretrain.epochs for cell in cells} == {5}
    assert [cell.config.model.head for cell in cells[:3]] == ["lse", "lse", "gap"]
    assert [cell.config.seed for cell in cells[::3]] == [3, 4]
    assert [cell.peer for cell in cells[:3]] == [None, "mesoinception4", None]
    assert len({cell.config.output for cell in cells}) == len(cells)


def test_fast_replaces_values_and_merges_training(tmp_path):
    path = write(tmp_path, fast={"seeds": [0], "training": {"pretrain": {"epochs": 1}}})
    slow, fast = Protocol.read(path), Protocol.read(path, fast=True)
    assert slow.seeds == (3, 4) and fast.seeds == (0,)
    assert fast.training == {"data": {"image_size": 32}, "pretrain": {"epochs": 1}}
    assert slow.training["pretrain"]["epochs"] == 5


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"models": ["lae", "resnet"]}, ConfigError, r"problem\n  model 'resnet'.*mesoinception4"),
        ({"seeds": []}, ConfigError, "seeds"),
        ({"sedes": [1]}, ConfigError, "sedes"),
        ({"ablations": {"../x": {}}}, ConfigError, "cannot name"),
        ({"ablations": {"lae": {}}}, ConfigError, "cannot name"),
        ({"manifest": "nowhere.csv"}, UsageError, "nowhere.csv.*--data"),
        ({"training": {"data": {"imagesize": 3}}}, ConfigError, "image_size"),
        ({"ablations": {"x": {"model.haed": "gap"}}}, ConfigError, "head"),
        ({"ablations": {"x": {"data.image_size": 64}}}, ConfigError, "data.image_size.*all models share"),
        ({"training": {"data": None}}, ConfigError, "'data' must be a section"),
        ({"training": {"seed": 3}}, ConfigError, "'seed' belongs to the comparison"),
        ({"training": {"data": {"manifest": "other.csv"}}}, ConfigError, "'data.manifest' belongs to the comparison"),
        ({"training": {"pretrain": {"epochs": 0}, "align": {"epochs": 0}}}, UsageError, "both 0"),
        ({"ablations": {"x": {"model": {"high_pass": False}}}}, ConfigError, "'x' sets 'model'"),
        ({"ablations": {"x": {"data": None}}}, ConfigError, "'x' sets 'data'"),
        ({"fast": {"sedes": [1]}}, ConfigError, "'sedes' is not a key"),
        ({"fast": {"training": 5}}, ConfigError, "must hold sections, found 5"),
        ({"fast": {"training": {"data": 5}}}, ConfigError, "'data' must be a section"),
        ({"seeds": [1, 1]}, ConfigError, "1 is named twice"),
        ({"models": ["lae", "lae"]}, ConfigError, "'lae' is named twice"),
        ({"robustness_images": 1}, ConfigError, "robustness_images"),
        ({"rate_epochs": -1}, ConfigError, "rate_epochs"),
        ({"earlier": ["lae"]}, ConfigError, "'lae', which is no peer among the models"),
        ({"earlier": ["xception"]}, ConfigError, "'xception', which is no peer among the models"),
        ({"training": {"data": {"image_size": 320}}}, UsageError, "320.*mesoinception4.*32 to 256"),
        ({"training": {"data": {"view": "faces"}}}, UsageError, "'faces'; models are compared in whole or windows"),
        ({"ablations": {"x": {"data.view": "windows"}}}, ConfigError, "data.view.*all models share"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, error, match):
    path = write(tmp_path, **changes)
    with pytest.raises(error, match=match):
        list(Protocol.read(path).cells(tmp_path, tmp_path / "out"))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", ["swap", "attribute", "inpainting", "photos"])
def test_the_released_protocols_are_valid(tmp_path, name, fast):
    protocol = Protocol.read(CONFIGS / f"{name}.yaml", fast)
    manifest = tmp_path / protocol.manifest
    manifest.parent.mkdir()
    manifest.touch()
    cells = list(protocol.cells(tmp_path, tmp_path / "out"))
    assert len(cells) == len(protocol.seeds) * (len(protocol.models) + len(protocol.ablations))
    for cell in cells:
        assert cell.config.data.mask_share < 0.03
    assert len(protocol.seeds) == (1 if fast else 3)
    assert name == "photos" or len(protocol.models) == 11
    # Equal terms: forgeries and degradations for all, and a learning rate chosen for each peer unless it must be fast.
    assert all(cell.config.data.self_forged == 0.35 and cell.config.augment.degrade == 0.6 for cell in cells)
    assert (protocol.rate_epochs == 0) == fast and protocol.earlier == ()


@pytest.mark.parametrize("fast", [False, True])
def test_the_released_ablations_each_change_something_and_keep_the_epochs(tmp_path, fast):
    protocol = Protocol.read(CONFIGS / "ablations.yaml", fast)
    manifest = tmp_path / protocol.manifest
    manifest.parent.mkdir()
    manifest.touch()
    cells = [c for c in protocol.cells(tmp_path, tmp_path / "out") if c.seed == 0]
    own = cells[0]
    assert own.model == "lae" and len(cells) == 1 + len(protocol.ablations)
    settings = [c.config.model_dump_json(exclude={"output"}) for c in cells]
    assert len(set(settings)) == len(settings)
    for cell in cells:
        # The second stage needs annotated fakes.
        epochs = cell.config.pretrain.epochs + (cell.config.align.epochs if cell.config.data.mask_share else 0)
        assert epochs == own.config.pretrain.epochs + own.config.align.epochs
    attribute = Protocol.read(CONFIGS / "attribute.yaml")
    if not fast:
        assert (protocol.manifest, protocol.train_methods, protocol.training) == (
            attribute.manifest,
            attribute.train_methods,
            attribute.training,
        )


def test_a_protocol_without_training_has_a_fast_version(tmp_path):
    protocol = Protocol.read(write(tmp_path, training={}, fast={"seeds": [5]}), fast=True)
    assert protocol.seeds == (5,) and protocol.training == {}


def test_a_misspelt_key_gets_the_nearest_one(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'robustness_images'"):
        Protocol.read(write(tmp_path, robustness_image=3))
