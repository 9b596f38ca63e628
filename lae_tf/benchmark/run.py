"""Runs the cells of a comparison one after another, each in its own process, and resumes after a kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lae_tf.benchmark.cell import RESULT
from lae_tf.benchmark.protocol import Cell, Protocol
from lae_tf.errors import LAEError, UsageError
from lae_tf.evaluation.report import write_text


def run_cells(protocol: Protocol, cells: Sequence[Cell], folder: Path) -> list[str]:
    """Run every cell that is not finished; a cell killed half-way is repeated from its start.

    Args:
        protocol: of the comparison.
        cells: to run.
        folder: of the comparison.

    Returns:
        One sentence for each cell that failed; its log says more. The others go on.

    Raises:
        UsageError: the folder holds the results of another comparison.
    """
    failures = []
    with tqdm(cells, desc="cells", unit="cell", file=sys.stderr) as bar:
        for cell in bar:
            bar.set_postfix_str(cell.name)
            place = folder / "cells" / cell.name
            request = _request(cell, protocol)
            if (place / RESULT).is_file():
                if json.loads((place / "cell.json").read_text(encoding="utf-8")) != request:
                    raise UsageError(f"{place}: was run with other settings; choose another output folder.")
                continue
            if place.exists():
                shutil.rmtree(place)
            write_text(place / "cell.json", json.dumps(request, indent=2))
            with (place / "log.txt").open("w", encoding="utf-8") as log:
                done = subprocess.run(  # noqa: S603 - our own module, in our own interpreter
                    [sys.executable, "-m", "lae_tf.benchmark.cell", str(place)], stdout=log, stderr=subprocess.STDOUT
                )
            if done.returncode:
                failures.append(f"{cell.name} failed (exit code {done.returncode}); see {place / 'log.txt'}.")
                tqdm.write(failures[-1], file=sys.stderr)
            else:
                shutil.rmtree(place / "run" / "image_cache", ignore_errors=True)
    if len(failures) == len(cells):
        raise LAEError(failures[0])
    return failures


def _request(cell: Cell, protocol: Protocol) -> dict[str, Any]:
    """Return what ``cell.json`` holds; of a peer without the sections that are LAE's alone.

    So a finished peer stays finished when LAE changes.
    """
    request = {
        "model": cell.model,
        "peer": cell.peer,
        "config": cell.config.model_dump(mode="json", exclude={"model", "losses"} if cell.peer else None),
        "robustness_images": protocol.robustness_images,
    }
    # As it comes back from a file: tuples are lists there.
    plain: dict[str, Any] = json.loads(json.dumps(request))
    return plain
