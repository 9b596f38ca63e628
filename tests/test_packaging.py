"""The wheel and the sdist hold what they must, and nothing lands at a top-level name but lae_tf."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import lae_tf

ROOT = Path(__file__).parents[1]
NEEDED = (
    "lae_tf/__init__.py",
    "lae_tf/py.typed",
    "lae_tf/cli/main.py",
    "lae_tf/serving/rest/server.py",
    "lae_tf/configs/quickstart.yaml",
    "lae_tf/report/templates/report.html.j2",
    "lae_tf/export/templates/MODEL_CARD.md.j2",
    "lae_tf/serving/deploy/templates/docker-compose.yml.j2",
)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("build")
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "quickstart-out", "runs")
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(folder / "source"),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-1500:] + result.stderr[-1500:]
    return folder / "dist"


def test_wheel(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    assert lae_tf.__version__ in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in NEEDED if name not in names] == []
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lae_tf"}


def test_sdist(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = ["/".join(name.split("/")[1:]) for name in archive.getnames()]
    for name in ("setup.py", "configs/quickstart.yaml", "cli/main.py", "README.md", "LICENSE"):
        assert name in names
