"""`lae-tf forge`: what it prints, and its exit codes."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from lae_tf.cli.forge import command
from lae_tf.errors import UsageError
from lae_tf.forge import METHODS
from lae_tf.images.files import write_png


@pytest.fixture
def real(tmp_path):
    for number in range(5):
        noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        write_png(tmp_path / "real" / f"{number}.png", cv2.resize(noise, (40, 40)))
    return tmp_path / "real"


def test_forges_and_prints_json(real, tmp_path):
    arguments = [
        str(real),
        str(tmp_path / "out"),
        "--methods",
        "copy-move, self-blend",
        "--seed",
        "4",
        "--json",
    ]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["manifest"] == str(tmp_path / "out" / "manifest.csv") and printed["problems"] == []
    assert sum(numbers["fake"] for numbers in printed["counts"].values()) == 10


def test_bad_files_are_named_and_the_exit_code_is_one(real, tmp_path, lae_tf_command):
    (real / "bad.jpg").write_text("no image")
    code, out, error = lae_tf_command("forge", real, tmp_path / "out", "--methods", "copy-move")
    assert code == 1
    assert "Manifest:" in out and "Skipped:" in error and "bad.jpg" in error


def test_where_too_few_images_could_be_read_no_training_is_advised(real, tmp_path, lae_tf_command):
    for file in sorted(real.iterdir())[1:]:
        file.write_text("no image")
    code, out, error = lae_tf_command("forge", real, tmp_path / "out", "--methods", "copy-move")
    assert code == 1 and "a split lacks them" in error and "lae-tf train" not in out


def test_wrong_method_is_a_usage_error_and_writes_nothing(real, tmp_path):
    result = CliRunner().invoke(command, [str(real), str(tmp_path / "out"), "--methods", "copymove"])
    assert isinstance(result.exception, UsageError) and result.exception.exit_code == 2
    assert "did you mean 'copy-move'" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_methods_without_a_value_lists_them_all():
    result = CliRunner().invoke(command, ["--methods"])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(METHODS)
    assert all(len(line.split()) > 3 for line in result.stdout.splitlines())


def test_all_methods_with_post_processing(real, tmp_path):
    arguments = [str(real), str(tmp_path / "out"), "--methods", "all", "--post-process", "--splits", "1", "0", "0"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    made = {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    assert made == {name for name, method in METHODS.items() if not method.needs_face}
    without = CliRunner().invoke(command, [value for value in arguments if value != "--post-process"])
    assert isinstance(without.exception, UsageError) and "different post_processing" in str(without.exception)
