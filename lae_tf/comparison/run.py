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

from lae_tf.comparison.cell import REQUEST, lock_of
from lae_tf.comparison.protocol import Cell, Protocol
from lae_tf.comparison.records import RESULT, SETTINGS, Records
from lae_tf.config.sections import PLACES
from lae_tf.errors import LAEError, UsageError
from lae_tf.files.atomic import write_text
from lae_tf.training.training_data import begun_with


def require_same_settings(protocol: Protocol, cells: Sequence[Cell], data: str, folder: Path) -> None:
    """Refuse a folder whose finished cells would not belong to one comparison with what is to be run.

    Args:
        protocol: of the comparison.
        cells: all of it.
        data: digest of the manifest.
        folder: of the comparison.

    Raises:
        UsageError: names the cell.
    """
    records = Records(folder)
    for cell in cells:
        if cell.earlier:
            _require_earlier(cell, data, records, folder)
        # A cell of an older version has no settings, and is refused too.
        elif cell.name in records and records.settings(cell.name) != _settings(cell, protocol, data):
            raise UsageError(
                f"{folder}: its cell {cell.name} was run with other settings or data; choose another output folder, or "
                "delete that cell to run it again."
            )


def _require_earlier(cell: Cell, data: str, records: Records, folder: Path) -> None:
    found = records.settings(cell.name)
    if found is None or found["data_sha256"] != data:
        what = "has no finished cell" if found is None else "was run on other data in the cell"
        raise UsageError(
            f"{folder}: 'earlier' names {cell.model}, which {what} {cell.name} there; copy it there "
            "(benchmarks/publish.py), or run it anew by leaving its name out."
        )


def run_cells(protocol: Protocol, cells: Sequence[Cell], data: str, folder: Path) -> list[str]:
    """Run every cell that is not finished; a cell killed half-way is repeated from its start.

    Args:
        protocol: of the comparison.
        cells: to run.
        data: digest of the manifest.
        folder: of the comparison.

    Returns:
        One sentence for each cell that failed; its log says more. The others go on.

    Raises:
        LAEError: all cells failed.
    """
    failures = []
    finished = Records(folder)
    with tqdm(cells, desc="cells", unit="cell", file=sys.stderr) as bar:
        for cell in bar:
            bar.set_postfix_str(cell.name)
            if cell.earlier or cell.name in finished:
                continue
            place = folder / "cells" / cell.name
            failure = _run(cell, _settings(cell, protocol, data), _request(cell, protocol), place)
            if failure:
                failures.append(failure)
                tqdm.write(failure, file=sys.stderr)
    if len(failures) == len(cells):
        raise LAEError(failures[0])
    return failures


def _run(cell: Cell, settings: dict[str, Any], request: dict[str, Any], place: Path) -> str | None:
    """Run one cell in a process of its own; return what went wrong, in one sentence."""
    try:
        with lock_of(place):
            if (place / RESULT).is_file():  # another process has finished it meanwhile
                return None
            if place.exists():
                shutil.rmtree(place)
            write_text(place / SETTINGS, json.dumps(settings, indent=2))
            write_text(place / REQUEST, json.dumps(request, indent=2))
    except LAEError as error:
        return str(error)
    log = place / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(  # noqa: S603 - our own module, in our own interpreter
            [sys.executable, "-m", "lae_tf.comparison.cell", str(place)], stdout=file, stderr=subprocess.STDOUT
        )
    if done.returncode:
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
        said = last.removeprefix("Error: ") if last.startswith("Error: ") else f"exit code {done.returncode}."
        return f"{cell.name} failed: {said} See {log}."
    shutil.rmtree(place / "run" / "image_cache", ignore_errors=True)
    return None


def _request(cell: Cell, protocol: Protocol) -> dict[str, Any]:
    """Return what the cell's process reads."""
    return {
        "peer": cell.peer,
        "config": cell.config.model_dump(mode="json"),
        "rate_trial": _rate_trial(protocol),
        "robustness_images": protocol.robustness_images,
    }


def _rate_trial(protocol: Protocol) -> dict[str, int] | None:
    """Return how a peer's learning rate is chosen: for all seeds by trainings with the first one."""
    return {"epochs": protocol.rate_epochs, "seed": protocol.seeds[0]} if protocol.rate_epochs else None


def _settings(cell: Cell, protocol: Protocol, data: str) -> dict[str, Any]:
    """Return all that a cell's result depends on: of the configuration without paths, and of a peer what peers read.

    So a finished peer stays finished when LAE changes, and all stay so when folders move.
    """
    config = cell.config.model_dump(mode="json", exclude=PLACES)
    config["start"]["begun_with"] = begun_with(cell.config.start)
    if cell.peer:
        stages = [config[name] for name in ("pretrain", "align")]
        config = {name: config[name] for name in ("seed", "data", "augment")}
        config["epochs"] = sum(stage["epochs"] for stage in stages)
        config |= {name: stages[0][name] for name in ("learning_rate", "weight_decay")}
        config |= {name: stages[1][name] for name in ("annotated", "real")}
        config["rate_trial"] = _rate_trial(protocol)
    settings = {"peer": cell.peer, **config, "data_sha256": data, "robustness_images": protocol.robustness_images}
    # As it comes back from a file: tuples are lists there.
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain
