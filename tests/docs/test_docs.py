"""The documentation is true: generated pages are current, its Python runs, its tables are the published ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lae_tf.cli.main import VERBS
from lae_tf.comparison.compare import ALWAYS_REAL
from lae_tf.comparison.peers import PEERS
from lae_tf.metrics.names import UNSEEN_MEAN

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RESULTS = ROOT / "benchmarks" / "results"
TASKS = {"swap": "face swap", "attribute": "attribute editing", "inpainting": "inpainting"}


@pytest.mark.parametrize(
    "page, module", [("cli.md", "lae_tf.cli.reference"), ("config.md", "lae_tf.cli.config_reference")]
)
def test_reference_is_current(page: str, module: str) -> None:
    """In a process of its own: a verb that another test called by itself keeps its help option."""
    written = (ROOT / "docs/reference" / page).read_text(encoding="utf-8")
    made = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=True).stdout
    assert written == made, f"docs/reference/{page} is stale: run 'make docs'"


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_every_verb_is_shown_in_use() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "cli.md")
    missing = [verb for verb in VERBS if f"lae-tf {verb}" not in text]
    assert not missing


def test_the_results_show_the_published_comparisons() -> None:
    page = (ROOT / "docs/results/generalisation.md").read_text(encoding="utf-8")
    published = sorted(RESULTS.glob("*/comparison.md"))
    assert len(published) == len(TASKS)
    for file in published:
        assert file.read_text(encoding="utf-8").split("\n\n")[0] in page, f"the page's table is not that of {file}"


@pytest.mark.parametrize("task", TASKS)
def test_readme_has_the_published_numbers(task: str) -> None:
    table, paired = (pd.read_csv(RESULTS / task / f"{name}.csv") for name in ("comparison", "differences"))
    accuracy = 100 * table[table["method"] == UNSEEN_MEAN].set_index("model")["accuracy"]
    peer = accuracy[accuracy.index.isin(list(PEERS))].idxmax()
    paired = paired[(paired["model"] == f"lae - {peer}") & (paired["method"] == UNSEEN_MEAN)]
    value, low, high = (100 * paired.iloc[0][f"accuracy{end}"] for end in ("", "_low", "_high"))
    difference = f"{value:+.1f}" + ("" if np.isnan(low) else f" [{low:+.1f}, {high:+.1f}]")
    assert f"| {TASKS[task]} | {accuracy['lae']:.1f} | {accuracy[peer]:.1f} {peer} | {difference} |" in README
    assert {ALWAYS_REAL, "lae at the peers' threshold"} <= set(accuracy.index)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page: Path) -> None:
    targets = re.findall(r"\]\(((?!https?://)[^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/guides/keras.md"])
def test_python_runs(page, trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    code = "\n".join(blocks)
    code = code.replace("runs/first/model.keras", str(trained_run.model_path))
    code = code.replace("data/manifest.csv", str(tiny_manifest))
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
