"""The documentation is true: the command reference is current, README's Python runs, every verb is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lae_tf.cli.main import VERBS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "page, module", [("cli.md", "lae_tf.cli.reference"), ("config.md", "lae_tf.cli.config_reference")]
)
def test_reference_is_current(page: str, module: str) -> None:
    """In a process of its own: a verb that another test called by itself keeps its help option."""
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    made = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=True).stdout
    assert written == made, f"docs/{page} is stale: run 'make docs'"


def test_readme_names_every_verb() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [verb for verb in VERBS if f"lae-tf {verb}" not in readme]
    assert not missing


def test_readme_shows_the_published_comparisons() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    published = sorted((ROOT / "benchmarks" / "results").glob("*/comparison.md"))
    assert len(published) == 3
    for file in published:
        assert file.read_text(encoding="utf-8").split("\n\n")[0] in readme, f"README's table is not that of {file}"


def test_readme_links_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(((?!https?://)[^)#]+)", readme)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_readme_python_runs(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert blocks
    code = "\n".join(blocks)
    code = code.replace("runs/first/model.keras", str(trained_run.model_path))
    code = code.replace("data/manifest.csv", str(tiny_manifest))
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
