"""Shell completion: click's own, offered for verbs, options and keys, and quick, for it runs at every Tab."""

import os
import subprocess
import sys

import pytest

from lae_tf.cli.main import VERBS

LAUNCH = """
import sys
sys.argv = ["lae-tf"]
from lae_tf.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code
heavy = [name for name in ("tensorflow", "keras", "pandas", "cv2", "numpy") if name in sys.modules]
sys.exit(f"imported {heavy}" if heavy else code)
"""


def completing(instruction, words=""):
    environment = {**os.environ, "_LAE_TF_COMPLETE": instruction, "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    done = subprocess.run([sys.executable, "-c", LAUNCH], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shell, says", [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --no-files")])
def test_each_shell_gets_a_script_that_completes_lae_tf(shell, says):
    script = completing(f"{shell}_source")
    assert says in script and "lae-tf" in script and f"_LAE_TF_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize(
    "words, offered",
    [
        ("lae-tf ", set(VERBS)),
        ("lae-tf ex", {"export", "export-tasks", "explain"}),
        ("lae-tf trian x", set()),
        ("lae-tf train --re", {"--resume"}),
        ("lae-tf train m.csv --set align.ep", {"align.epochs="}),
        ("lae-tf evaluate runs/first m.csv --split ", {"train", "val", "test"}),
        ("lae-tf masks ", {"diff"}),
    ],
)
def test_words_are_completed(words, offered):
    lines = completing("bash_complete", words).split()
    assert {line.removeprefix("plain,") for line in lines} == offered
