"""The command itself: quick help, nearest verbs, exit codes."""

import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import click
import pytest

from lae_tf import __version__
from lae_tf.cli.main import VERBS, main
from lae_tf.errors import LAEError, UsageError

HEAVY = ("tensorflow", "keras", "pandas", "cv2", "matplotlib", "scipy", "sklearn")


def modules_after(code):
    """Run a script in a fresh interpreter; return its exit code and which heavy modules it imported."""
    script = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


def test_help_and_import_load_nothing_heavy():
    code = """
import lae_tf
from lae_tf.cli.main import cli
assert dir(lae_tf) == sorted(lae_tf.__all__) and "LAE" in dir(lae_tf)
for arguments in (["--help"], ["--version"]):
    try:
        cli(arguments)
    except SystemExit as end:
        assert not end.code
"""
    assert modules_after(code) == []


def test_a_verbs_help_loads_nothing_heavy():
    verbs = repr([[verb, "--help"] for verb in VERBS])
    code = f"""
from lae_tf.cli.main import cli
for arguments in {verbs}:
    try:
        cli(arguments)
    except SystemExit as end:
        assert not end.code, arguments
"""
    assert modules_after(code) == []


def test_help_lists_every_verb_with_its_summary(lae_tf_command):
    code, out, _ = lae_tf_command("--help")
    assert code == 0
    listed = " ".join(out.partition("Commands:")[2].split())
    for verb in VERBS:
        command = importlib.import_module(f"lae_tf.cli.{verb.replace('-', '_')}").command
        summary = " ".join(command.help.partition("\n\n")[0].split())
        assert f"{verb} {summary}" in listed
        assert summary.endswith(".") and len(summary) <= 64, "a summary fits into one line"


WITHOUT_ARGUMENTS = {"config", "serve", "info", "models", "masks"}


@pytest.mark.parametrize("words", [*([verb] for verb in VERBS if verb not in WITHOUT_ARGUMENTS), ["masks", "diff"]])
def test_what_is_missing_is_said_with_an_example(lae_tf_command, words):
    code, _, err = lae_tf_command(*words)
    assert code == 2
    assert re.search(rf"Missing (?:argument|option) '.+'\. For example: lae-tf {' '.join(words)} \S+", err)


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["serve", "--port", "80"],
            "--port is TensorFlow Serving's option for gRPC, which is not served here; "
            "for the REST API say --rest-api-port 80.",
        ),
        (["serve", "--rest_api_port", "80"], "No such option '--rest_api_port'. Did you mean '--rest-api-port'?"),
        (["info", "--zzz"], "No such option '--zzz'. See lae-tf info --help."),
    ],
)
def test_an_unknown_option_names_what_was_perhaps_meant(lae_tf_command, words, said):
    code, _, err = lae_tf_command(*words)
    assert code == 2 and err.splitlines()[-1] == f"Error: {said}"


def test_what_is_wrong_in_the_arguments_is_said_without_tensorflow(tmp_path):
    (tmp_path / "bad.yaml").write_text("data: {manifest: m.csv}\nalgin: {}\n")
    code = f"""
import sys
from lae_tf.cli.main import main
for words in (["train", {str(tmp_path / "bad.yaml")!r}], ["evaluate", {str(tmp_path)!r}], ["info", "--zzz"]):
    sys.argv = ["lae-tf", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == 2, words
sys.exit("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_version(lae_tf_command):
    code, out, _ = lae_tf_command("--version")
    assert code == 0 and __version__ in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(lae_tf_command, verb):
    command = importlib.import_module(f"lae_tf.cli.{verb.replace('-', '_')}").command
    assert isinstance(command, click.Command) and command.name == verb
    # A group only holds verbs: what a verb owes its user, each of them owes.
    members = (
        {f"{verb} {name}": member for name, member in command.commands.items()} if hasattr(command, "commands") else {}
    )
    for name, one in (members or {verb: command}).items():
        code, help_text, _ = lae_tf_command(*name.split(), "--help")
        assert code == 0
        assert "Example:" in help_text and f"lae-tf {name}" in help_text.split("Example:")[1]
        assert "--json" in help_text
        assert one.help[0].isupper() and one.help.split("\n")[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("typed, meant", [("trian", "train"), ("predcit", "predict"), ("evalute", "evaluate")])
def test_an_unknown_verb_names_the_nearest(lae_tf_command, typed, meant):
    code, _, err = lae_tf_command(typed)
    assert code == 2 and f"Did you mean '{meant}'?" in err


def test_a_verb_like_no_other_points_to_help(lae_tf_command):
    code, _, err = lae_tf_command("zzz")
    assert code == 2 and "lae-tf --help" in err


@pytest.mark.parametrize(
    "error, code, shown",
    [
        (LAEError("the file is damaged"), 1, "Error: the file is damaged\n"),
        (UsageError("no such run"), 2, "Error: no such run\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "file/out"), 1, "Error: file/out: Not a directory.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "Error: No space left on device.\n"),
    ],
)
def test_errors_are_one_sentence_and_a_code(lae_tf_command, monkeypatch, error, code, shown):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("lae_tf.runtime.environment.describe", fail)
    found, out, err = lae_tf_command("info")
    assert (found, out, err.lstrip("\n")) == (code, "", shown)


def test_an_interrupt_that_became_another_error_is_an_interrupt(lae_tf_command, monkeypatch):
    def interrupted_in_native_code():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set") from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("lae_tf.runtime.environment.describe", interrupted_in_native_code)
    assert lae_tf_command("info") == (130, "", "Interrupted.\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_lost_interrupt_comes_again(lae_tf_command, monkeypatch):
    class Closing:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def busy():
        Closing()  # Python ignores what a destructor raises
        time.sleep(60)

    monkeypatch.setattr("lae_tf.cli.main.INSIST", 0.2)
    monkeypatch.setattr("lae_tf.runtime.environment.describe", busy)
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: None)
    code, out, err = lae_tf_command("info")
    assert (code, out, err.lstrip("\n")) == (130, "", "Interrupted.\n")


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("lae_tf.runtime.environment.describe", lambda: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["lae-tf", "info"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_missing_option_value_is_a_usage_error(lae_tf_command):
    code, _, err = lae_tf_command("train")
    assert code == 2 and "SOURCE" in err


def test_info_names_the_stack(lae_tf_command):
    code, out, _ = lae_tf_command("info", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["lae_tf"] == __version__ and facts["stack"] in ("classic", "current")


def test_verbs_import_tensorflow_quietly_and_late(tmp_path):
    """Through quiet.import_tensorflow alone: imported in another way, it writes to standard error."""
    (tmp_path / "run").mkdir()
    (tmp_path / "photos").mkdir()
    for name in ("run/config.yaml", "m.yaml"):
        (tmp_path / name).write_text("data: {manifest: m.csv}\n")
    for name in ("m.csv", "photos/a.png", "photos/b.mp4", "p.yaml"):
        (tmp_path / name).touch()
    code = """
import importlib, sys
from lae_tf.cli.main import VERBS, main

def reached(**options):
    sys.exit(77)

for name in (*VERBS, "model_choice"):
    module = importlib.import_module(f"lae_tf.cli.{name.replace('-', '_')}")
    if hasattr(module, "import_tensorflow"):
        module.import_tensorflow = reached
for line in (
    "quickstart out", "frames photos out", "train m.csv", "train m.yaml", "select run", "loop m.csv --oracle",
    "evaluate run m.csv", "benchmark p.yaml", "predict run photos/a.png", "explain run photos -o out",
    "export run out", "export run out --deploy deploy", "serve photos", "info",
):
    sys.argv = ["lae-tf", *line.split()]
    try:
        main()
    except SystemExit as end:
        assert end.code == 77, (line, end.code)
    assert "tensorflow" not in sys.modules, line
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WRITING = [
    ("benchmark", "p.yaml", "--output"),
    ("check-data", "m.csv", "--html"),
    ("evaluate", "run", "m.csv", "--output"),
    ("explain", "run", "m.csv", "--output"),
    ("export", "run"),
    ("export-tasks", "run"),
    ("forge", "photos"),
    ("frames", "photos"),
    ("loop", "p.yaml", "--output"),
    ("manifest", "folders", "photos", "--output"),
    ("masks", "diff", "m.csv", "--masks"),
    ("predict", "run", "m.csv", "--csv"),
    ("predict", "run", "m.csv", "--heatmaps"),
    ("predict", "run", "m.csv", "--maps"),
    ("predict", "run", "m.csv", "--masks"),
    ("predict", "run", "m.csv", "--regions"),
    ("predict", "run", "m.csv", "--report"),
    ("quickstart",),
    ("score", "run", "photos"),
    ("train", "p.yaml", "--output"),
]


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_places_that_cannot_be_written_are_refused_first(lae_tf_command, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "photos"):
        (tmp_path / name).mkdir()
    for name in ("m.csv", "p.yaml", "run/config.yaml"):
        (tmp_path / name).touch()
    code, _, error = lae_tf_command(*words, "m.csv/new/out.parquet")
    assert code == 2 and f"cannot be made, for {tmp_path / 'm.csv'} is no folder" in error.splitlines()[-1]
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != str(tmp_path))  # root may write anywhere
    code, _, error = lae_tf_command(*words, "new/out.parquet")
    assert code == 2 and f"new/out.parquet: {tmp_path} cannot be written to" in error.splitlines()[-1]
    assert sorted(os.listdir(tmp_path)) == ["m.csv", "p.yaml", "photos", "run"]


def test_whoever_reads_may_stop_reading(tmp_path):
    """As `lae-tf ... | head` does: no traceback, nothing on standard error."""
    script = (
        "import click, lae_tf.cli.main as m; m.cli = lambda **_: [click.echo('x' * 999) for _ in range(999)]; m.main()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait() == 1
        assert process.stderr.read() == ""
