"""`lae-tf pre-annotate` as a process, asked as Label Studio asks, and what it says when it cannot start."""

import json
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from lae_tf.annotation.label_studio import LABELING_CONFIG
from lae_tf.masks.rle import decode_brush


def ask(url, body=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_answers_until_interrupted(trained_run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "lae_tf.cli.main", "pre-annotate", str(trained_run.path), "--files", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        assert facts["url"].startswith("http://127.0.0.1:")
        name, digest = facts["model_version"].split()
        assert name == trained_run.path.name and trained_run.model_digest().startswith(digest) and len(digest) == 16
        assert ask(facts["url"] + "health")["status"] == "UP"
        assert ask(facts["url"] + "setup", {"schema": LABELING_CONFIG}) == {"model_version": facts["model_version"]}
        urls = ["/data/local-files/?d=a.png", "/data/local-files/?d=none.png"]
        tasks = [{"id": number, "data": {"image": url}} for number, url in enumerate(urls, start=1)]
        found, missing = ask(facts["url"] + "predict", {"tasks": tasks, "label_config": LABELING_CONFIG})["results"]
        assert 0 <= found["score"] <= 1 and missing["result"] == []
        for region in found["result"]:
            assert decode_brush(region["value"]["rle"], 40, 50).any()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [line for line in errors.splitlines() if "Task" in line] == [
        f"Task 2 has no prediction: '/data/local-files/?d=none.png' is no file below {tmp_path.resolve()}."
    ]


def test_a_folder_of_images_is_no_run(tmp_path, lae_tf_command):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    code, _, err = lae_tf_command("pre-annotate", tmp_path, "--files", tmp_path)
    assert code == 2 and str(tmp_path) in err and "Traceback" not in err


def test_the_folder_of_the_files_is_named(trained_run, lae_tf_command):
    code, _, err = lae_tf_command("pre-annotate", trained_run.path)
    assert code == 2 and "--files" in err


@pytest.mark.parametrize("text", ["", "anna", "anna:", ":secret", "anna:secret\nbert:secret", b"\xff"])
def test_a_file_without_credentials_is_refused(trained_run, tmp_path, lae_tf_command, text):
    file = tmp_path / "credentials"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, err = lae_tf_command("pre-annotate", trained_run.path, "--files", tmp_path, "--basic-auth-file", file)
    assert code == 2 and str(file) in err and "USER:PASSWORD" in err and "secret" not in err


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_missing_extra_is_named(trained_run, tmp_path, package):
    program = f"import sys; sys.modules['{package}'] = None; from lae_tf.cli.pre_annotate import command; command()"
    arguments = [sys.executable, "-c", program, str(trained_run.path), "--files", str(tmp_path)]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("pip install '.[ui]'")
