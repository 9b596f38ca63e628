"""Configurations: strict, complete, and safe to read."""

import pytest
import yaml

from lae_tf.config.sections import Config, ConfigError
from lae_tf.errors import UsageError

MINIMAL = {"data": {"manifest": "m.csv"}}


def write(folder, text):
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(values):
    with pytest.raises(ConfigError) as caught:
        Config.parse(values)
    return caught.value.problems


@pytest.mark.parametrize(
    "values, key, nearest",
    [
        ({**MINIMAL, "aling": {"epochs": 3}}, "aling", "align"),
        ({**MINIMAL, "align": {"epoch": 3}}, "align.epoch", "epochs"),
        ({"data": {"manifest": "m.csv", "imagesize": 64}}, "data.imagesize", "image_size"),
        ({**MINIMAL, "losses": {"alignement": "l1"}}, "losses.alignement", "alignment"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_valid_one(values, key, nearest):
    (problem,) = problems(values)
    assert problem.startswith(f"{key}: unknown key") and f"'{nearest}'" in problem


def test_a_key_like_no_other_lists_the_known_ones():
    (problem,) = problems({**MINIMAL, "augment": {"zzzz": 1}})
    assert "flip" in problem and "colour_strength" in problem


def test_all_problems_are_listed():
    found = problems({"seed": -1, "pretrain": {"epochs": "many"}, "model": {"head": "max"}, "bogus": 0})
    assert len(found) == 5
    assert any(problem == "data: missing." for problem in found)
    assert any("'lse'" in problem and "'max'" in problem for problem in found)


@pytest.mark.parametrize(
    "section, key, value",
    [
        ("data", "image_size", 8),
        ("data", "batch_size", 1),
        ("data", "mask_share", 1.5),
        ("augment", "flip", -0.1),
        ("augment", "jpeg_quality", [0, 50]),
        ("augment", "jpeg_quality", [90, 60]),
        ("model", "lse_sharpness", 0),
        ("model", "widths", []),
        ("model", "widths", [8, 0]),
        ("losses", "label_smoothing", 1.0),
        ("pretrain", "learning_rate", 0.0),
        ("pretrain", "learning_rate", float("inf")),
        ("pretrain", "learning_rate", float("nan")),
        ("align", "annotated", 0.0),
        ("align", "real", 0.9),  # with the default 0.25 of annotated fakes more than a whole batch
        ("hardware", "precision", "float16"),
    ],
)
def test_values_out_of_range_are_refused(section, key, value):
    values = {**MINIMAL, section: {**MINIMAL.get(section, {}), key: value}}
    (problem,) = problems(values)
    assert problem.startswith(section)
    assert key in problem


def test_label_smoothing_does_not_go_with_the_focal_loss():
    (problem,) = problems({**MINIMAL, "losses": {"decision": "focal", "label_smoothing": 0.1}})
    assert "label_smoothing" in problem and "focal" in problem


def test_yaml_round_trip(tmp_path):
    config = Config.parse(
        {
            "data": {"manifest": str(tmp_path / "m.csv"), "train_methods": ["a", "b"], "mask_share": 0.03},
            "augment": {"jpeg_quality": [50, 70]},
            "model": {"widths": [8, 16]},
            "losses": {"alignment": "dice"},
        }
    )
    config.write(tmp_path / "config.yaml")
    assert Config.read(tmp_path / "config.yaml") == config
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["align"]["learning_rate"] == 1e-3  # defaults are written too


def test_overrides_have_yaml_types_and_the_last_word(tmp_path):
    path = write(tmp_path, "data: {manifest: m.csv}\nalign: {epochs: 7}\n")
    config = Config.read(path, ["align.epochs=2", "model.widths=[8, 16]", "data.train_methods=null", "output=x=y"])
    assert config.align.epochs == 2
    assert config.model.widths == (8, 16)
    assert config.data.train_methods is None
    assert config.output == "x=y"


@pytest.mark.parametrize("override", ["align.epochs", "=3", "align.epochs=[1", "data.manifest.x=1"])
def test_a_malformed_override_is_refused(tmp_path, override):
    path = write(tmp_path, "data: {manifest: m.csv}\n")
    with pytest.raises(UsageError, match="--set") as caught:
        Config.read(path, [override])
    assert override.split("=")[0] in str(caught.value)


def test_a_relative_manifest_is_relative_to_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = write(tmp_path, "data: {manifest: sets/m.csv}\n")
    assert Config.read(path).data.manifest == str(tmp_path / "sets" / "m.csv")


@pytest.mark.parametrize(
    "text, found",
    [
        ("data: !!python/object/apply:os.system ['touch pwned']\n", "YAML"),
        ("data: [unclosed\n", "YAML"),
        ("output: 2024-02-30\n", "YAML"),  # PyYAML takes it for a date
        ("seed: 0b_\n", "YAML"),
        ("data: " + 3000 * "[", "YAML"),
        ("- a\n- b\n", "list"),
        ("", "NoneType"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused(tmp_path, monkeypatch, text, found):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=found):
        Config.read(write(tmp_path, text))
    assert not (tmp_path / "pwned").exists()


def test_aliases_within_aliases_do_not_fill_the_error(tmp_path):
    """Each line says the one before eight times: the whole would take gigabytes."""
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError) as caught:
        Config.read(write(tmp_path, "\n".join([*lines, "data: {manifest: m.csv}", "seed: *a11", ""])))
    assert "seed: Input should be a valid integer" in str(caught.value) and len(str(caught.value)) < 5000


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such configuration"):
        Config.read(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        Config.read(tmp_path / "binary.yaml")


def test_a_section_that_is_a_value_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="data"):
        Config.read(write(tmp_path, "data: 3\n"))
    with pytest.raises(UsageError, match="is a value"):
        Config.read(write(tmp_path, "data: {manifest: m.csv}\nalign: 3\n"), ["align.epochs=2"])


def test_a_configuration_cannot_be_changed():
    config = Config.parse(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 4


def test_a_manifest_stands_for_its_configuration(tmp_path):
    assert Config.read(tmp_path / "DATA.CSV").data.manifest == str(tmp_path / "DATA.CSV")
    path = tmp_path / "data.csv"
    config = Config.read(path, ["align.epochs=5"])
    assert config.data.manifest == str(path) and config.align.epochs == 5
    assert config.model == Config.parse({"data": {"manifest": "x"}}).model
