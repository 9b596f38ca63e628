"""A run directory may come from a stranger: what is damaged in it gives one sentence."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lae_tf.annotation.round import Round
from lae_tf.errors import LAEError, ProblemsError, UsageError
from lae_tf.evaluation.page import report_folder
from lae_tf.selection.select import asked_paths
from lae_tf.training.run import Run

FILES = {
    "checkpoints/stages.json": [
        {"stage": "pretrain", "annotated": 8, "masks": "ab"},
        {"stage": "align", "annotated": 9},
    ],
    "checkpoints/state.json": {
        "stage": "align-2",
        "epochs": 4,
        "checkpoint": "align-2-0004.keras",
        "best": [0.98, -0.4],
        "annotated": 8,
        "masks": "ab",
        "waited": 0,
        "stopped": False,
    },
    "data.json": {
        "manifest": "/m.csv",
        "sha256": "ab",
        "counts": {"train": {"real": 16}},
        "methods": ["noise"],
        "mask_budget": 0.02,
    },
    "calibration.json": {"threshold": 0.5, "rule": "equal odds", "validation_images": 20, "temperature": 1.0},
    "environment.json": {"stack": "current", "tensorflow": "2", "keras": "3", "devices": []},
}


def write(run, name, content):
    path = run.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def refusal(action):
    with pytest.raises(LAEError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 2000
    return message


@pytest.mark.parametrize("name", FILES)
def test_what_training_writes_is_read(trained_run, tmp_path, name):
    run = Run(tmp_path)
    write(run, name, FILES[name])
    assert run.read_json(name) == FILES[name]
    assert trained_run.require_json(name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]" * 9, b"null", b"3", b'"x"', b"[3]", b"{}", b"9" * 5000]
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    path = write(Run(tmp_path), name, content)
    assert refusal(lambda: Run(tmp_path).read_json(name)).startswith(f"{path}: ")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(FILES)),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.integers())
    | st.just("x" * 10**6),
    st.data(),
)
def test_a_changed_value_is_read_or_named(tmp_path, name, value, data):
    changed = copy.deepcopy(FILES[name])
    record = changed[0] if isinstance(changed, list) else changed
    key = data.draw(st.sampled_from(sorted(record)))
    record[key] = value
    run = Run(tmp_path)
    path = write(run, name, changed)
    try:
        run.read_json(name)
    except UsageError as error:
        message = str(error)
        assert message.startswith(f"{path}: is damaged: ") and key in message and len(message) < 2000


@pytest.mark.parametrize("checkpoint", ["../../x.keras", "/etc/x.keras", "x.h5", "a\n.keras", "", "gs://x.keras"])
def test_a_checkpoint_lies_in_its_folder(tmp_path, checkpoint):
    name = "checkpoints/state.json"
    write(Run(tmp_path), name, {**FILES[name], "checkpoint": checkpoint})
    assert "checkpoint" in refusal(lambda: Run(tmp_path).read_json(name))


def test_a_missing_file_of_a_trained_run_is_named(tmp_path):
    assert refusal(lambda: Run(tmp_path).require_json("data.json")).startswith(f"{tmp_path}: has no data.json")


@pytest.mark.parametrize("line", ["{}", "[", "3", '{"stage": "../x", "epoch": 1}', '{"stage": "align", "epoch": "x"}'])
def test_damaged_metrics_are_named(tmp_path, line):
    run = Run(tmp_path)
    run.metrics_path.write_text(f'{{"stage": "pretrain", "epoch": 1}}\n{line}\n')
    assert "is damaged" in refusal(run.read_metrics)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "data: [", "data: {manifest: 3}", "a: &a [*a]", "!!python/object/apply:os.system [ls]", "x" * 2**21],
)
def test_a_damaged_configuration_is_named(tmp_path, text):
    run = Run(tmp_path)
    run.config_path.write_text(text)
    with pytest.raises(LAEError) as caught:
        _ = run.config
    assert str(caught.value).startswith(f"{run.config_path}: ") and len(str(caught.value)) < 5000


def test_damaged_reports_are_named(tmp_path):
    class Evaluation:
        split, files = "test", ()

    path = write(Run(tmp_path), "report/evaluation.json", [1])
    assert refusal(lambda: report_folder(Run(tmp_path), Evaluation())).startswith(f"{path}: is damaged")


ROUNDS = {
    "selection.csv": [b"\xff", b"rank\n1\n", b"path,rank\n,\n", b'path\n"' + b"x" * 200_000],
    "import.json": [b"[]", b"{}", b'{"not_fake": 3}', b'{"not_fake": [3]}', b"{"],
}


def make_round(run, trained_run, name, content):
    trained_run.config.write(run.config_path)
    write(run, "rounds/1/selection.csv", b"rank,path,utility,strategy,reason\n1,/a.png,0.5,random,why\n")
    return write(run, f"rounds/1/{name}", content)


@pytest.mark.parametrize("name, content", [(name, one) for name, every in ROUNDS.items() for one in every])
def test_damaged_rounds_are_named(trained_run, tmp_path, name, content):
    run = Run(tmp_path)
    path = make_round(run, trained_run, name, content)
    assert refusal(lambda: asked_paths(run)).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"[]", b"{", b"3"])
def test_damaged_settings_of_a_round_are_named(trained_run, tmp_path, content):
    path = make_round(Run(tmp_path), trained_run, "selection.json", content)
    assert refusal(lambda: Round.open(tmp_path)).startswith(f"{path}: ")


def test_long_values_and_control_characters_are_not_echoed():
    cell = "x" * 10**6
    for error in (
        LAEError(f"found '{cell}', expected real"),
        ProblemsError("m.csv", [f"found '{cell}', expected real"]),
    ):
        assert len(str(error)) < 1100 and str(error).endswith("expected real")
    assert len(str(LAEError("\n" * 10**6))) < 1000
    assert len(str(ProblemsError("m.csv", ["a\n" * 10**6] * 100))) < 30_000
    assert str(LAEError("a\x1b[2Jb\tc\nd")) == "a\\x1b[2Jb\tc\nd"


def test_a_cell_of_a_manifest_is_not_echoed_whole(tmp_path):
    from lae_tf.data.manifest import Manifest

    for cells in ("{0},real,,g,,train", "a.png,{0},,g,,train", "a.png,real,{0},g,,train", "a.png,real,,g,{0},{0}"):
        path = tmp_path / "m.csv"
        path.write_text("path,label,mask,group,method,split\n" + cells.format("y" * 10**6) + "\n")
        with pytest.raises(LAEError) as caught:
            Manifest.read(path)
        assert len(str(caught.value)) < 5000
