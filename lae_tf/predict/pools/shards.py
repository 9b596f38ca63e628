"""What all kinds of pools have in common: their columns, and the shards they are read in."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

COLUMNS = {"path": pa.string(), "image_bytes": pa.large_binary(), "group": pa.string()}
"""Known columns and their types when read; ``lae_tf.predict.pools.pool`` says what they mean."""


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of a file.

    Attributes:
        file: Parquet or TFRecord file.
        place: where reading begins: the number of a row group; in a TFRecord file the offset of the first record.
        start: number of the first row, counted within the row group, in a TFRecord file within the file.
        rows: how many.
        first: position of the first row in the whole pool; until that is known, in the file.
    """

    file: str
    place: int
    start: int
    rows: int
    first: int
