"""The Dockerfile without Docker: its steps, what they are given, and whether its commands do what they say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from serve_process import Process

from lae_tf.cli.serve import command

ROOT = Path(__file__).parents[1]
PORT = "8501"


@pytest.fixture(scope="module")
def dockerfile() -> dict[str, list[str]]:
    """The arguments of each kind of instruction, in order."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for line in lines:
        kind, _, arguments = line.partition(" ")
        found.setdefault(kind, []).append(arguments)
    return found


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """What .dockerignore leaves of the repository."""
    folder = tmp_path_factory.mktemp("docker") / "context"
    folder.mkdir()
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert [line for line in lines if not line.startswith("!")] == ["*", "**/__pycache__"]
    for name in kept:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def test_the_steps_are_those_of_the_installation(dockerfile):
    """In the folder of the sources: pip install with the extra that `lae-tf serve` needs, and nothing more."""
    (step,) = dockerfile["RUN"]
    words = shlex.split(step)
    words.remove("--no-cache-dir")
    documented = (ROOT / "docs/tutorials/serve.md").read_text(encoding="utf-8")
    assert words == ["pip", "install", ".[serve]"] and "pip install '.[serve]'" in documented
    assert dockerfile["COPY"] == [". ."]
    (image,) = dockerfile["FROM"]
    minor = re.fullmatch(r"python:3\.(\d+)-slim", image)
    assert minor and 10 <= int(minor[1]) < 14  # as python_requires in setup.py


def test_the_context_is_enough_to_install_everything(context, tmp_path):
    """The wheel of the context has every file of the package that the repository has."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(context)]
    result = subprocess.run(build, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-1500:] + result.stderr[-1500:]
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {"lae_tf": "lae_tf", **{name: f"lae_tf/{name}" for name in ("cli", "serving", "configs")}}
    for top, place in tops.items():
        files = [path.relative_to(ROOT / top) for path in (ROOT / top).rglob("*") if path.is_file()]
        kept = [path for path in files if "__pycache__" not in path.parts]
        assert len(kept) > 1
        assert [path for path in kept if f"{place}/{path.as_posix()}" not in names] == []


def test_nobody_is_root(dockerfile):
    (user,) = dockerfile["USER"]
    assert user.split(":")[0] not in ("0", "root")


@pytest.fixture(scope="module")
def served(exported, dockerfile, tmp_path_factory):
    """The entry point as it stands, on the shared export, but on a free port of this machine alone."""
    start = json.loads(dockerfile["ENTRYPOINT"][0]) + json.loads(dockerfile["CMD"][0])
    assert start[:2] == ["lae-tf", "serve"] and start[-1] == "/exports"
    arguments = start[2:]
    parsed = command.make_context("serve", [*arguments[:-1], str(Path(exported["path"]).parents[1])]).params
    assert (parsed["host"], str(parsed["rest_api_port"])) == ("0.0.0.0", PORT) and dockerfile["EXPOSE"] == [PORT]
    places = {"0.0.0.0": "127.0.0.1", PORT: "0", "/exports": str(Path(exported["path"]).parents[1])}
    process = Process(*(places.get(word, word) for word in arguments), log=tmp_path_factory.mktemp("served") / "log")
    yield process
    process.end()


def healthy(dockerfile, port: int, name: str = "lae") -> bool:
    options, _, program = dockerfile["HEALTHCHECK"][0].partition(" CMD ")
    assert all(option.startswith("--") for option in options.split())
    interpreter, *words = json.loads(program)
    assert interpreter == "python" and PORT in words[-1] and "/v1/models/lae'" in words[-1]
    words[-1] = words[-1].replace(PORT, str(port)).replace("/v1/models/lae'", f"/v1/models/{name}'")
    return subprocess.run([sys.executable, *words], capture_output=True).returncode == 0


def test_the_health_check_is_true_while_the_model_is_served(dockerfile, served):
    assert healthy(dockerfile, served.facts["port"])
    assert not healthy(dockerfile, served.facts["port"], "other")
    assert not healthy(dockerfile, 1)
