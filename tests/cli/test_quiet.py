"""What a command waits for before its first score."""

import subprocess
import sys

_PROGRAM = """
import sys
from lae_tf.cli.quiet import import_tensorflow
import_tensorflow()
import lae_tf.predict.images, lae_tf.predict.evidence
print(sorted({"keras", "tensorflow", "matplotlib", "sklearn"} & set(sys.modules)))
import matplotlib, pandas, sklearn
print(pandas.DataFrame({"a": [1, 2]})["a"].sum())
"""


def test_scores_do_not_wait_for_packages_that_keras_imports_for_others():
    found = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)
    assert found.stdout.splitlines() == ["['keras', 'tensorflow']", "3"]
