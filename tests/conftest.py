"""One tiny trained run that the whole suite shares."""

import fcntl
import json
import os

# Before TensorFlow is imported: its C++ log says nothing that a test checks.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import signal
import sys
from pathlib import Path

import hypothesis
import pytest
from click.testing import CliRunner
from tiny_dataset import make_config, write_dataset

from lae_tf.config.sections import Config
from lae_tf.runtime.allocator import keep_freed_memory

keep_freed_memory()  # as the commands do, which many tests run in this process

# A suite started in the background inherits a Ctrl-C that is ignored, and some tests send one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests say what is right, not how fast: a busy machine must not fail them.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture
def lae_tf_command(monkeypatch, capsys):
    """Run ``lae-tf`` in this process: arguments to (exit code, standard output, standard error)."""
    from lae_tf.cli.main import main

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lae-tf", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A browser of a test module's own."""
    from chromium import start_chromium

    with start_chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """Folder of this test session, the same for all of its pytest-xdist workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def tiny_manifest(shared_folder) -> Path:
    """Manifest of 32 px photographs and two manipulations, in three splits; some fakes have no mask."""
    folder = shared_folder / "tiny"
    with (shared_folder / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "manifest.csv").exists():
            write_dataset(folder)
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_config(tiny_manifest, shared_folder) -> Config:
    """Configuration of the shared run."""
    return make_config(tiny_manifest, shared_folder / "tiny-run")


@pytest.fixture(scope="session")
def trained_run(tiny_config, shared_folder):
    """One run trained through both stages, shared by the session: read it, never write to it."""
    from lae_tf.training.stages import train

    with (shared_folder / "tiny-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return train(tiny_config, resume=True)


@pytest.fixture(scope="session")
def exported(trained_run, shared_folder) -> dict:
    """What `lae-tf export --deploy --json` printed for the shared run: read the folders, never write to them."""
    folder = shared_folder / "tiny-export"
    with (shared_folder / "tiny-export.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "facts.json").exists():
            from lae_tf.cli.export import command

            arguments = [trained_run.path, folder / "out", "--deploy", folder / "deploy", "--json"]
            result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
            assert result.exit_code == 0, result.output
            (folder / "facts.json").write_text(result.stdout)
    return json.loads((folder / "facts.json").read_text())
