"""What finished cells leave behind: a folder for each while they run, and one archive of all of them to publish.

The archive is ``cells.parquet``, every cell's scores of the test and validation images, and ``cells.json``, its
settings and result. A comparison reads both alike; where a cell has a folder, that counts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lae_tf.evaluation.localisation import LOCALISATION_METRICS
from lae_tf.evaluation.tables import DEGRADATION_METRICS
from lae_tf.files.atomic import write_bytes, write_text

SETTINGS, RESULT = "settings.json", "result.json"
SCORES, VALIDATION, ROBUSTNESS = "scores.csv", "validation.csv", "robustness.csv"
ARCHIVED_SCORES, ARCHIVED_RESULTS = "cells.parquet", "cells.json"
_TEXT = ("path", "group", "method")  # group "01" is not group "1"
_CATEGORIES = (*_TEXT, "split", "degradation")
_TABLES = {"test": SCORES, "val": VALIDATION, "robustness": ROBUSTNESS}


@dataclass(frozen=True)
class Record:
    """One finished cell.

    Attributes:
        settings: all that its result depends on; None for cells of an older version.
        result: threshold, cost and localisation, as ``lae_tf.comparison.cell`` writes them.
        tables: per-image scores by what was scored: ``test``, ``val`` and, where it was measured, ``robustness``.
    """

    settings: dict[str, Any] | None
    result: dict[str, Any]
    tables: dict[str, pd.DataFrame]


class Records:
    """The finished cells of a comparison's folder.

    Args:
        folder: of the comparison; it need not exist.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of all finished cells, in order."""
        places = (self._folder / "cells").iterdir() if (self._folder / "cells").is_dir() else ()
        return sorted({place.name for place in places if (place / RESULT).is_file()} | set(self._archived))

    def settings(self, cell: str) -> dict[str, Any] | None:
        """Return the settings of a finished cell, or None where they are not known."""
        if (self._place(cell) / RESULT).is_file():
            return _read_json(self._place(cell) / SETTINGS)
        return self._archived.get(cell, {}).get("settings")

    def __contains__(self, cell: str) -> bool:
        return (self._place(cell) / RESULT).is_file() or cell in self._archived

    def __getitem__(self, cell: str) -> Record:
        place = self._place(cell)
        if not (place / RESULT).is_file():
            kept = self._archived[cell]
            return Record(kept["settings"], kept["result"], self._archived_tables(cell))
        tables = {part: place / name for part, name in _TABLES.items()}
        frames = {part: _read_scores(file) for part, file in tables.items() if file.is_file()}
        return Record(_read_json(place / SETTINGS), _read_json(place / RESULT) or {}, frames)

    def _place(self, cell: str) -> Path:
        return self._folder / "cells" / cell

    @cached_property
    def _archived(self) -> dict[str, dict[str, Any]]:
        return _read_json(self._folder / ARCHIVED_RESULTS) or {}

    @cached_property
    def _archived_scores(self) -> pd.DataFrame:
        return pd.read_parquet(self._folder / ARCHIVED_SCORES)

    def _archived_tables(self, cell: str) -> dict[str, pd.DataFrame]:
        rows = self._archived_scores[self._archived_scores["cell"] == cell].drop(columns="cell")
        tables = {}
        for part, frame in rows.groupby("part", observed=True, sort=False):
            known = frame.drop(columns="part").dropna(axis=1, how="all").reset_index(drop=True)
            tables[str(part)] = known.astype({name: str for name in _CATEGORIES if name in known})
        return tables


def write_archive(records: Records, cells: Sequence[str], folder: Path) -> None:
    """Write the named cells, all finished, as one archive; scores are kept to the bit."""
    taken = {cell: records[cell] for cell in cells}
    frames = [
        frame.assign(cell=cell, part=part) for cell, record in taken.items() for part, frame in record.tables.items()
    ]
    scores = pd.concat(frames, ignore_index=True)
    scores = scores.astype({name: "category" for name in ("cell", "part", *_CATEGORIES) if name in scores})
    buffer = io.BytesIO()
    scores.to_parquet(buffer, index=False, compression="zstd")
    write_bytes(folder / ARCHIVED_SCORES, buffer.getvalue())
    kept = {cell: {"settings": record.settings, "result": record.result} for cell, record in taken.items()}
    write_text(folder / ARCHIVED_RESULTS, json.dumps(kept, indent=1))


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _read_scores(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(_TEXT, str)
    frame = pd.read_csv(
        path, dtype=text, keep_default_na=False, na_values={"score": [""]}, float_precision="round_trip"
    )
    for name in (*LOCALISATION_METRICS, *DEGRADATION_METRICS):
        if name in frame:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame
