"""Packs the finished cells of comparisons into two files each, for benchmarks/results.

Usage: python benchmarks/publish.py benchmark/swap benchmarks/results/swap

The tables beside them, comparison.md, comparison.csv and differences.csv, are those that ``lae-tf benchmark`` wrote;
``lae-tf benchmark configs/swap.yaml --data DATA --output benchmarks/results/swap`` makes them anew from the two files.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lae_tf.comparison.records import Records, write_archive


def main(comparison: str, published: str) -> None:
    folder = Path(comparison)
    records = Records(folder)
    cells = sorted(place.name for place in (folder / "cells").iterdir() if place.name in records)
    write_archive(records, cells, Path(published))
    print(f"{len(cells)} cells in {published}")


if __name__ == "__main__":
    main(*sys.argv[1:])
