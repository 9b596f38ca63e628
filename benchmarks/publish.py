"""Packs the finished cells of comparisons into two files each, for benchmarks/results.

Usage: python benchmarks/publish.py benchmark/swap benchmarks/results/swap [MODEL ...]

With names of models only their cells are packed; from what is published, too: so ``earlier`` cells reach a new folder.

The tables beside them, comparison.md, comparison.csv and differences.csv, are those that ``lae-tf benchmark`` wrote;
``lae-tf benchmark configs/swap.yaml --data DATA --output benchmarks/results/swap`` makes them anew from the two files.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lae_tf.comparison.records import Records, write_archive


def main(comparison: str, published: str, *models: str) -> None:
    records = Records(Path(comparison))
    cells = [cell for cell in records.names() if not models or cell.rpartition("-")[0] in models]
    write_archive(records, cells, Path(published))
    print(f"{len(cells)} cells in {published}")


if __name__ == "__main__":
    main(*sys.argv[1:])
