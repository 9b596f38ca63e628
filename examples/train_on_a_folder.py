"""Forges the photographs of a folder, trains a detector on them, and tells how well it finds each manipulation.

Usage: python examples/train_on_a_folder.py PHOTOS OUTPUT [KEY=VALUE ...]

KEY=VALUE changes the configuration, for example pretrain.epochs=2.
"""

import sys
from pathlib import Path

from lae_tf import Config
from lae_tf.datasets.forging import forge_folder
from lae_tf.evaluation.evaluate import evaluate_run
from lae_tf.evaluation.formats import format_table
from lae_tf.evaluation.page import write_evaluation
from lae_tf.training.stages import train


def main(photos: str, output: str, *overrides: str) -> None:
    data = Path(output, "data")
    forge_folder(photos, data, methods=["splice", "inpaint-telea"], seed=0)
    manifest = data / "manifest.csv"
    run = train(Config.read(manifest, [f"output={Path(output, 'run')}", *overrides]), resume=True)
    evaluation = evaluate_run(run, [manifest])
    page = write_evaluation(run, evaluation, run.report)
    print(format_table(evaluation.table))
    print(f"Look at: {page}")


if __name__ == "__main__":
    main(*sys.argv[1:])
