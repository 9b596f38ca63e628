"""`lae-tf annotate` as a process, and what it says when it cannot start."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from lae_tf.cli.annotate import command
from lae_tf.errors import LAEError, UsageError


def test_serves_until_interrupted(run):
    arguments = [sys.executable, "-m", "lae_tf.cli.main", "annotate", str(run), "--no-browser", "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        assert facts["images"] == 3
        assert facts["folder"] == str(run / "rounds" / "1" / "annotations")
        assert facts["url"].startswith("http://127.0.0.1:")
        with urllib.request.urlopen(facts["url"] + "api/items", timeout=10) as answer:
            names = [item["name"] for item in json.load(answer)["items"]]
        assert names == ["data/fake1.png", "data/fake2.png", "data/fake3.png"]
        # A second process would not see the first one's verdicts, and would write over them.
        second = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1 and "is open in another lae-tf annotate" in second.stderr
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=15)
        assert (process.returncode, errors) == (0, "")


def invoke(*arguments: str):
    result = CliRunner().invoke(command, [*arguments, "--no-browser"])
    assert result.exception is not None
    return result.exception


def test_port_in_use(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = invoke(str(run), "--port", str(taken.getsockname()[1]))
    assert isinstance(error, LAEError)
    assert "cannot listen on 127.0.0.1" in str(error)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_missing_extra_is_named(run, package):
    program = f"import sys; sys.modules['{package}'] = None; from lae_tf.cli.annotate import command; command()"
    arguments = [sys.executable, "-c", program, str(run), "--no-browser"]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("pip install '.[ui]'")


def test_round_that_is_not_there(run):
    error = invoke(str(run), "--round", "7")
    assert isinstance(error, UsageError)
    assert "no round 7" in str(error)


def test_folder_that_is_no_run(tmp_path):
    error = invoke(str(tmp_path))
    assert isinstance(error, UsageError)
    assert "no run here" in str(error)
