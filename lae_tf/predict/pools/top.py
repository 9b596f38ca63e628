"""The highest scores with at most so many of one group, found piece by piece.

What does not belong to the answer of a part never belongs to the answer of the whole: the rows that keep to the cap
form a (truncated partition) matroid, and a row that a greedy choice drops among few is dropped among more. So parts
can be answered anywhere, in any order, and merged; no more than k rows are ever kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lae_tf.predict.pools.scorer import SCORES


@dataclass(frozen=True)
class Top:
    """What to look for.

    Attributes:
        k: how many rows.
        per_group: at most so many of one group; None is no cap. Rows without a group are not capped.
    """

    k: int
    per_group: int | None = None

    def of(self, tables: Iterable[pa.Table]) -> pa.Table:
        """Return the best rows of tables of schema ``SCORES``, best first; equal scores by their row."""
        table = pa.concat_tables([SCORES.empty_table(), *tables])
        ordered = table.take(pc.sort_indices(table, [("score", "descending"), ("row", "ascending")]))
        if self.per_group is not None:
            ordered = ordered.filter(pa.array(self._within_cap(ordered["group"].to_pylist()), pa.bool_()))
        return ordered.slice(0, self.k)

    def _within_cap(self, groups: list[str | None]) -> np.ndarray:
        seen: dict[str, int] = {}
        kept = np.ones(len(groups), dtype=bool)
        for position, group in enumerate(groups):
            if group:
                seen[group] = seen.get(group, 0) + 1
                kept[position] = seen[group] <= (self.per_group or 0)
        return kept
