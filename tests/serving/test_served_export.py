"""An export behind a real ``lae-tf serve``: the check, the command line, and the examples of the documentation."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lae_tf.images.files import read_image
from lae_tf.metrics.verdict import verdict_of
from lae_tf.predict.evidence import overlay_on_file
from lae_tf.predict.images import predict_files

DOCUMENT = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"


@pytest.fixture(scope="session")
def url(export_server):
    return export_server.facts["url"]


@pytest.fixture(scope="session")
def golden(exported):
    return Path(exported["path"]) / "assets.extra" / "golden"


# --- lae-tf serve --check -----------------------------------------------------------------------------------


def test_a_server_of_the_export_passes_the_check(lae_tf_command, url, exported):
    out = Path(exported["path"]).parents[1]
    code, printed, _ = lae_tf_command("serve", out, "--check", url, "--json")
    facts = json.loads(printed)
    assert (code, facts["passed"], len(facts["images"])) == (0, True, exported["golden_images"])
    for image in facts["images"]:
        assert image["problems"] == []
        assert image["alone"] == pytest.approx(image["expected"], abs=exported["tolerance"])
        assert image["together"] == pytest.approx(image["expected"], abs=exported["tolerance"])
    code, printed, _ = lae_tf_command("serve", out, "--check", url)
    lines = printed.splitlines()
    assert code == 0 and len(lines) == 2 + exported["golden_images"]
    assert lines[-1] == "{0} of {0} golden images score as in the checkpoint.".format(exported["golden_images"])


def test_a_server_that_scores_differently_fails_the_check(lae_tf_command, url, golden, tmp_path):
    """The other way round, which is the same: the expectation is moved."""
    folder = tmp_path / "1" / "assets.extra" / "golden"
    shutil.copytree(golden, folder)
    record = json.loads((folder / "golden.json").read_text())
    record["images"][3]["score"] += 2e-5
    (folder / "golden.json").write_text(json.dumps(record))
    code, printed, said = lae_tf_command("serve", tmp_path, "--check", f"{url}/v1/models/lae")
    name = record["images"][3]["file"]
    assert code == 1 and [line.split()[0] for line in printed.splitlines() if line.endswith("differs")] == [name]
    assert said.count(f"{name} alone: scores") == 1 and "23 of 24" in printed
    code, printed, _ = lae_tf_command("serve", tmp_path, "--check", url, "--json")
    assert code == 1 and json.loads(printed)["passed"] is False


def test_a_check_that_cannot_be_made_is_one_sentence(lae_tf_command, exported, tmp_path):
    for arguments, expected, said in (
        ([exported["path"], "--check", "http://127.0.0.1:1"], 1, "is the server running?"),
        (["--check", "http://127.0.0.1:1"], 2, "--check needs EXPORT_DIR"),
        ([tmp_path, "--check", "http://127.0.0.1:1"], 2, "no golden images here"),
    ):
        code, printed, err = lae_tf_command("serve", *arguments)
        assert (code, printed) == (expected, "") and said in err and len(err.splitlines()) == 1


# --- lae-tf predict --server --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local(trained_run, golden):
    """What the checkpoint says, by file name."""
    files = sorted(str(path) for path in golden.iterdir() if path.suffix in (".jpg", ".png", ".bmp"))
    return {Path(one.path).name: one for one in predict_files(trained_run.load_model(), files)}


def test_predict_by_a_server_is_predict(lae_tf_command, url, golden, local, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    arguments = ["--server", url, golden, tmp_path, "--json", "--heatmaps", tmp_path / "heat"]
    code, printed, err = lae_tf_command("predict", *arguments, "--csv", tmp_path / "out.csv")
    records = {Path(record["path"]).name: record for record in map(json.loads, printed.splitlines())}
    assert code == 1 and set(records) == {*local, "broken.jpg"}
    assert list(records.pop("broken.jpg")) == ["path", "error"] and "Skipped: " in err
    for name, record in records.items():
        decided = ["path", "score", "label", "verdict", "logit", "threshold", "threshold_from"]
        record.pop("credentials", None)  # only where the extra c2pa is installed
        assert list(record) == [*decided, "model", "version", "digest", "view", "heatmap"]
        assert record["verdict"] == local[name].verdict
        assert record["score"] == pytest.approx(local[name].score, abs=1e-5)
        assert record["label"] == local[name].label
    one = local["png-rgb.png"]
    drawn = read_image(records["png-rgb.png"]["heatmap"]).astype(int)
    assert drawn.shape[:2] == one.size
    assert np.abs(drawn - overlay_on_file(str(golden / "png-rgb.png"), one.attention)).mean() < 2
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2 + len(local)


def test_predict_by_a_server_with_another_threshold(lae_tf_command, url, golden, local):
    scores = sorted(one.score for one in local.values())
    threshold = (scores[0] + scores[-1]) / 2
    arguments = ("predict", "--server", url, golden, "--json")
    code, printed, _ = lae_tf_command(*arguments, "--threshold", threshold)
    records = [json.loads(line) for line in printed.splitlines()]
    assert code == 0 and {record["label"] for record in records} == {"real", "fake"}
    for record in records:
        assert record["label"] == ("fake" if record["score"] >= threshold else "real")
        bounds = local[Path(record["path"]).name].bounds
        assert record["verdict"] == verdict_of(record["score"], threshold, bounds)
        assert record["threshold"] == pytest.approx(threshold) and record["threshold_from"] == "--threshold"
    code, printed, err = lae_tf_command(*arguments, "--max-false-alarms", "5%")
    assert (code, printed) == (2, "") and "servers, exports and presets know their threshold alone" in err


def test_predict_by_a_server_needs_no_tensorflow(url, golden):
    """In a process where an import of TensorFlow fails."""
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from lae_tf.cli.main import main\n"
        f"sys.argv = ['lae-tf', 'predict', '--server', {url!r}, {str(golden / 'png-rgb.png')!r}, '--json']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("real", "fake")


def test_predict_by_a_server_that_refuses_is_one_sentence(lae_tf_command, url, golden):
    image = golden / "png-rgb.png"
    for arguments, said in (
        (["--server", url, "--model-name", "other"], "404: Servable not found"),
        (["--server", "http://127.0.0.1:1"], "is the server running?"),
    ):
        code, printed, err = lae_tf_command("predict", *arguments, image)
        assert (code, printed) == (1, "") and said in err


# --- the examples in docs/guides/serving.md ------------------------------------------------------------------------


def example(language: str, containing: str) -> str:
    """Return the one block of code in the document that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return found


@pytest.fixture
def place(tmp_path, golden):
    """A folder with photo.jpg in it."""
    shutil.copy(golden / "jpeg-quality-95.jpg", tmp_path / "photo.jpg")
    return tmp_path


def run_shell(script, url, place):
    if not shutil.which("curl"):
        pytest.skip("no curl on the PATH")
    script = script.replace("http://localhost:8501", url)
    return subprocess.run(["bash", "-euc", script], cwd=place, capture_output=True, text=True, check=True).stdout


def test_the_curl_example_scores(url, place, local):
    answer = json.loads(run_shell(example("sh", '{"instances"'), url, place))
    assert answer["predictions"][0]["score"] == pytest.approx(local["jpeg-quality-95.jpg"].score, abs=1e-5)


def test_the_curl_example_draws(url, place, local):
    if not shutil.which("jq"):
        pytest.skip("no jq on the PATH")
    run_shell(example("sh", "heatmap.png"), url, place)
    one = local["jpeg-quality-95.jpg"]
    assert read_image(str(place / "heatmap.png")).shape[:2] == one.size


def test_the_curl_examples_ask_for_status_and_metadata(url, place):
    printed = run_shell(example("sh", "/metadata"), url, place)
    assert '"state": "AVAILABLE"' in printed and '"heatmap_png_bytes"' in printed


def assert_printed(printed, one):
    """Four decimals: two scores that agree to 1e-5 may round to neighbours."""
    label, score = printed
    assert label == one.label and re.fullmatch(r"[01]\.\d{4}", score)
    assert float(score) == pytest.approx(one.score, abs=0.5e-4 + 1e-5)


def test_the_javascript_example_in_node(url, place, local):
    node = shutil.which("node")
    version = node and subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    if not version or int(version.strip("v\n").split(".")[0]) < 18:
        pytest.skip("no Node.js of version 18 or later on the PATH: fetch is missing")
    (place / "score.mjs").write_text(example("js", "readFile").replace("http://localhost:8501", url))
    done = subprocess.run([node, "score.mjs", "photo.jpg"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_printed(done.stdout.split(), local["jpeg-quality-95.jpg"])


def test_the_python_example(url, place, local):
    program = example("python", "Client(").replace("http://localhost:8501", url)
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, *printed = done.stdout.splitlines()[0].split()
    assert name == "photo.jpg"
    assert_printed(printed, local["jpeg-quality-95.jpg"])
    assert (place / "heatmap.png").is_file()
