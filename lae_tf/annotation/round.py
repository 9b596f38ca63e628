"""A round of selection, as annotation sees it: what ``lae-tf select`` wrote into RUN/rounds/N."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lae_tf.annotation.items import Item
from lae_tf.annotation.surroundings import read_surroundings
from lae_tf.config.sections import DataConfig
from lae_tf.errors import UsageError
from lae_tf.files.json_files import read_object
from lae_tf.training.run import Run

COLUMNS = ("rank", "path", "utility", "strategy", "reason")


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        run: the run.
        folder: RUN/rounds/N.
        items: the selected images by rank.
        data: what the run trains on; its manifest is absolute.
        allow_over_budget: whether the selection was allowed to exceed the limit of the budget.
    """

    run: Run
    folder: Path
    items: Sequence[Item]
    data: DataConfig
    allow_over_budget: bool = False

    @classmethod
    def open(cls, run: str | Path, number: int | None = None) -> Round:
        """Read a round.

        Args:
            run: folder of the run.
            number: of the round; None takes the last one.

        Raises:
            UsageError: no run, no such round, or a damaged selection.
        """
        opened = Run.open(run)
        numbers = opened.round_numbers()
        if not numbers:
            raise UsageError(f"{run}: no images are selected yet; run 'lae-tf select {run}' first.")
        if number is not None and number not in numbers:
            raise UsageError(f"{run}: there is no round {number}, only {', '.join(map(str, numbers))}.")
        folder = opened.rounds.absolute() / str(numbers[-1] if number is None else number)
        settings = folder / "selection.json"
        cuts = read_surroundings(Path(opened.config.data.manifest).parent)
        return cls(
            run=opened,
            folder=folder,
            items=[replace(item, cut=cuts.get(item.image)) for item in read_selection(folder)],
            data=opened.config.data,
            allow_over_budget=settings.is_file() and read_object(settings).get("allow_over_budget") is True,
        )

    @property
    def number(self) -> int:
        """Number of the round, from 1."""
        return int(self.folder.name)

    @property
    def annotations(self) -> Path:
        """Folder that ``lae-tf annotate`` draws into."""
        return self.folder / "annotations"

    @property
    def masks(self) -> Path:
        """Folder that drawn masks are imported into: beside the manifest, which outlives the run."""
        return Path(self.data.manifest).parent / "masks-drawn"


def read_selection(folder: Path) -> list[Item]:
    """Read ``selection.csv`` of a round's folder, with ``attention/RANK.png`` (4 digits) where it exists.

    Raises:
        UsageError: the file is missing, empty or damaged.
    """
    path = folder / "selection.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a selection: {error}") from None
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise UsageError(f"{path}: expected rows with the columns {', '.join(COLUMNS)}.")
    items = []
    for number, row in enumerate(rows, start=1):
        try:
            rank, utility = int(row["rank"]), float(row["utility"])
        except (TypeError, ValueError):
            raise UsageError(f"{path}, row {number}: rank and utility must be numbers.") from None
        if not row["path"] or rank != number:
            raise UsageError(f"{path}, row {number}: expected rank {number} and the path of an image.")
        attention = folder / "attention" / f"{rank:04d}.png"
        items.append(
            Item(rank, Path(row["path"]), row["reason"] or "", utility, attention if attention.is_file() else None)
        )
    return items
