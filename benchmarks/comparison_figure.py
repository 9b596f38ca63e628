"""Draws docs/results/comparison.png from the published comparisons in benchmarks/results.

Usage: python benchmarks/comparison_figure.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lae_tf.comparison.compare import ALWAYS_REAL
from lae_tf.comparison.peers import PEERS
from lae_tf.comparison.protocol import OWN, Protocol
from lae_tf.metrics.names import UNSEEN_MEAN
from lae_tf.report.plots import COLOURS, GREY, INK, png

ROOT = Path(__file__).parents[1]
TASKS = ("swap", "attribute", "inpainting")


def main() -> None:
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(TASKS), sharey=True), TASKS, strict=True):
        table = pd.read_csv(ROOT / "benchmarks" / "results" / task / "comparison.csv")
        rows = table[table["method"] == UNSEEN_MEAN].set_index("model")
        models = [model for model in rows.index if model.partition(" (")[0] in (OWN, *PEERS)]  # with marked ones
        axes.axvline(100 * rows.loc[ALWAYS_REAL, "accuracy"], color=GREY, linewidth=1, linestyle=":")
        for place, model in enumerate(models):
            row = 100 * rows.loc[model, ["accuracy", "accuracy_low", "accuracy_high"]]
            colour = COLOURS[0] if model == OWN else INK
            axes.plot(row.iloc[1:], [place, place], color=colour, linewidth=1.5)
            axes.plot(row.iloc[0], place, "o", color=colour, markersize=7 if model == OWN else 5)
        axes.set_title(Protocol.read(ROOT / "configs" / f"{task}.yaml").title, loc="left", fontsize=10)
        axes.set_xlim(30, 95)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    first, middle = figure.axes[0], figure.axes[1]
    first.set_yticks(range(len(models)), models)
    first.invert_yaxis()
    middle.set_xlabel("unseen accuracy, % (dotted: every image called real)", fontsize=9)
    (ROOT / "docs" / "results" / "comparison.png").write_bytes(png(figure))


if __name__ == "__main__":
    main()
