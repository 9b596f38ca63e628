"""The command itself: quick help, nearest verbs, exit codes."""

import importlib
import json
import os
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
assert "LAE" in dir(lae_tf)
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
    for verb, summary in VERBS.items():
        assert any(line.split()[:1] == [verb] and summary[:20] in line for line in out.splitlines()), verb


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
    ],
)
def test_errors_are_one_sentence_and_a_code(lae_tf_command, monkeypatch, error, code, shown):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("lae_tf.environment.describe", fail)
    found, out, err = lae_tf_command("info")
    assert (found, out, err.lstrip("\n")) == (code, "", shown)


def test_an_interrupt_that_became_another_error_is_an_interrupt(lae_tf_command, monkeypatch):
    def interrupted_in_native_code():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set") from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("lae_tf.environment.describe", interrupted_in_native_code)
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
    monkeypatch.setattr("lae_tf.environment.describe", busy)
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: None)
    code, out, err = lae_tf_command("info")
    assert (code, out, err.lstrip("\n")) == (130, "", "Interrupted.\n")


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("lae_tf.environment.describe", lambda: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["lae-tf", "info"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_missing_option_value_is_a_usage_error(lae_tf_command):
    code, _, err = lae_tf_command("train")
    assert code == 2 and "CONFIG" in err


def test_info_names_the_stack(lae_tf_command):
    code, out, _ = lae_tf_command("info", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["lae_tf"] == __version__ and facts["stack"] in ("classic", "current")


def test_a_file_where_a_folder_should_be_is_one_sentence(lae_tf_command, tiny_manifest, tmp_path):
    (tmp_path / "file").touch()
    code, _, error = lae_tf_command("forge", tiny_manifest.parent, tmp_path / "file" / "out", "--methods", "splice")
    assert code == 1 and error.splitlines()[-1] == f"Error: {tmp_path / 'file' / 'out'}: Not a directory."


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
