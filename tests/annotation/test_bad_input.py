"""What `lae-tf select` and `lae-tf import-masks` say to input that cannot be used: one sentence, nothing changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lae_tf.data.manifest import Manifest


def check(answer: tuple[int, str, str], code: int, said: str) -> None:
    """The last line alone is the error, with the command's exit code."""
    found, output, errors = answer
    assert (found, output) == (code, "")
    (message,) = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert said in message
    assert "Traceback" not in errors


@pytest.fixture
def run(write_run, tmp_path):
    return write_run(tmp_path / "own")


@pytest.fixture
def unchanged(run, read_tree):
    before = read_tree(run.parent)
    yield
    assert read_tree(run.parent) == before


@pytest.mark.usefixtures("unchanged")
def test_selection_of_a_run_without_a_model(run, lae_tf_command):
    check(lae_tf_command("select", run), 2, "not trained yet (no model.keras)")


@pytest.mark.usefixtures("unchanged")
def test_masks_of_another_size(run, lae_tf_command, tmp_path):
    (tmp_path / "drawn").mkdir()
    Image.fromarray(np.full((31, 20), 255, np.uint8)).save(tmp_path / "drawn" / "fake1.png")
    code, output, errors = lae_tf_command("import-masks", run, tmp_path / "drawn")
    assert (code, output) == (1, "")
    first, second = errors.splitlines()
    assert first.endswith("(nothing is imported): 1 problem")
    assert second.endswith("fake1.png: the mask has 20 x 31 pixels, the image has 30 x 20")


@pytest.mark.usefixtures("unchanged")
def test_a_task_file_of_another_run(run, write_run, lae_tf_command, tmp_path):
    other = write_run(tmp_path / "other", reals=1)
    assert lae_tf_command("export-tasks", other, tmp_path / "out")[0] == 0
    check(lae_tf_command("import-masks", run, tmp_path / "out" / "tasks.json"), 2, "another run or round")


@pytest.fixture
def trained(trained_run, tmp_path):
    """A copy of the shared run, to write rounds into."""
    return Path(shutil.copytree(trained_run.path, tmp_path / "trained"))


def test_a_budget_of_nothing(trained, read_tree, lae_tf_command):
    before = read_tree(trained)
    for budget in ("0", "0%", "0.0001%"):
        check(lae_tf_command("select", trained, "--budget", budget), 2, "is 0 masks; expected at least 1")
    assert read_tree(trained) == before


def test_an_empty_pool(trained, tiny_manifest, read_tree, lae_tf_command):
    part = Manifest.read(tiny_manifest).select(split="train")
    pool = part.frame["path"][part.mask_state == "unlabelled"].tolist()
    asked = pd.DataFrame({"rank": range(1, len(pool) + 1), "path": pool, "utility": 0, "strategy": "", "reason": ""})
    (trained / "rounds" / "1").mkdir(parents=True)
    asked.to_csv(trained / "rounds" / "1" / "selection.csv", index=False)
    # Everybody judged all of them not to be fakes, so that the budget is not what is used up.
    (trained / "rounds" / "1" / "import.json").write_text(json.dumps({"not_fake": pool}))
    before = read_tree(trained)
    arguments = ("select", trained, "--budget", "90%", "--allow-over-budget")
    check(lae_tf_command(*arguments), 1, "nothing to choose from")
    after = read_tree(trained)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("image_cache") for name in set(after) - set(before))
