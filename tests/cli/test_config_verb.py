"""`lae-tf config`: the keys, what a file resolves to, and the schema."""

import json

import pytest
import yaml

from lae_tf.config.sections import Config


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "first.yaml"
    path.write_text("data: {manifest: m.csv}\nalign: {epochs: 7}\nhardware: {xla: false}\n", encoding="utf-8")
    return path


def test_every_key_is_shown_with_default_values_and_meaning(lae_tf_command):
    code, out, _ = lae_tf_command("config")
    text = " ".join(out.split())
    assert code == 0
    assert "data.manifest (required) text. CSV or Parquet file;" in text
    assert "data.image_size = 128 integer, 16 <= x <= 4096. Side of the model's input in pixels" in text
    assert "model.head = lse lse, gap or split." in text
    assert "align.epochs = 20 integer >= 0. Epochs at most; 0 skips the stage." in text
    assert max(map(len, out.splitlines())) <= 100


def test_a_bad_value_beside_a_manifest_is_the_options_fault(lae_tf_command, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.touch()
    code, _, err = lae_tf_command("train", manifest, "--output", tmp_path / "run", "--set", "align.epochs=x")
    assert code == 2 and "--set: 1 problem" in err and "align.epochs" in err and "m.csv" not in err


def test_json_has_the_same_keys_and_with_a_file_their_values(lae_tf_command, file):
    listed = json.loads(lae_tf_command("config", "--json")[1])["keys"]
    resolved = json.loads(lae_tf_command("config", file, "--set", "model.widths=[8, 16]", "--json")[1])["keys"]
    assert [key["name"] for key in listed] == [key["name"] for key in resolved]
    by_name = {key["name"]: key for key in resolved}
    changed = [name for name, key in by_name.items() if key["changed"]]
    assert changed == ["data.manifest", "model.widths", "align.epochs"]
    assert by_name["model.widths"]["value"] == [8, 16] and by_name["model.widths"]["default"] == [16, 24, 32, 48]
    assert by_name["align.epochs"] == {
        "name": "align.epochs",
        "default": 20,
        "required": False,
        "values": "integer >= 0",
        "meaning": "Epochs at most; 0 skips the stage.",
        "value": 7,
        "changed": True,
    }


def test_what_a_file_resolves_to_can_be_trained_from(lae_tf_command, file):
    code, out, _ = lae_tf_command("config", file, "--set", "seed=3")
    assert code == 0
    assert Config.parse(yaml.safe_load(out)) == Config.read(file, ["seed=3"])
    assert [line for line in out.splitlines() if line.startswith("#")] == [
        f"# {file}: 3 of its values differ from the defaults.",
        "#   seed: 3 (default 0)",
        f"#   data.manifest: {file.parent / 'm.csv'} (required)",
        "#   align.epochs: 7 (default 20)",
    ]


def test_the_schema_is_printed(lae_tf_command):
    code, out, _ = lae_tf_command("config", "--json-schema")
    assert code == 0 and json.loads(out)["$defs"]["AlignConfig"]["properties"]["epochs"]["default"] == 20


@pytest.mark.parametrize(
    "words, said",
    [(["--set", "seed=3"], "give its file"), (["--json-schema", "--json"], "give it alone")],
)
def test_options_that_do_not_go_together_are_refused(lae_tf_command, words, said):
    code, out, err = lae_tf_command("config", *words)
    assert code == 2 and out == "" and said in err
