"""The pool: Parquet files of images to score, read in shards, never as a whole.

==============  ==================  ======================================================================
column          type                meaning
==============  ==================  ======================================================================
``path``        string              image file, relative to the Parquet file's folder or absolute; with
                                    ``image_bytes`` only a name
``image_bytes`` binary (optional)   the image file itself: for workers that cannot read the path
``group``       string (optional)   video, identity or source image, for the cap per group
==============  ==================  ======================================================================

Other columns are not read: a manifest (``lae_tf.data.manifest``) in Parquet is a pool.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lae_tf.errors import LAEError, UsageError

SHARD_ROWS = 2048
_TYPES = {
    "path": (pa.types.is_string, pa.types.is_large_string),
    "image_bytes": (pa.types.is_binary, pa.types.is_large_binary),
    "group": (pa.types.is_string, pa.types.is_large_string),
}
_READ_TYPES = {"path": pa.string(), "image_bytes": pa.binary(), "group": pa.string()}


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of one row group.

    Attributes:
        file: Parquet file.
        row_group: number of the row group in the file.
        start: first row within the row group.
        rows: how many.
        first: position of the first row in the whole pool.
    """

    file: str
    row_group: int
    start: int
    rows: int
    first: int


@dataclass(frozen=True)
class Pool:
    """A pool's files and shards; holds no rows.

    Attributes:
        files: Parquet files in order.
        shards: all rows of all files, each in exactly one shard, in order.
        columns: which of the known columns all files have.
    """

    files: tuple[str, ...]
    shards: tuple[Shard, ...]
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: str | os.PathLike[str], shard_rows: int = SHARD_ROWS) -> Pool:
        """Plan the reading of a Parquet file, or of all ``*.parquet`` files of a folder in the order of their names.

        Raises:
            UsageError: no such file, no Parquet, columns that are missing or of another type, or no rows.
        """
        folder = Path(path)
        files = sorted(map(str, folder.glob("*.parquet"))) if folder.is_dir() else [str(folder)]
        if not files or not Path(files[0]).is_file():
            raise UsageError(f"{path}: no such Parquet file, and no folder with any.")
        shards: list[Shard] = []
        found: list[tuple[str, ...]] = []
        first = 0
        for file in files:
            try:
                metadata = pq.read_metadata(file)
            except (pa.ArrowException, OSError) as error:
                raise UsageError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from error
            found.append(_known_columns(file, metadata.schema.to_arrow_schema()))
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                for start in range(0, rows, shard_rows):
                    count = min(shard_rows, rows - start)
                    shards.append(Shard(file, group, start, count, first + start))
                first += rows
        if len(set(found)) > 1:
            raise UsageError(
                f"{path}: its files differ in their columns: {' and '.join(map(str, sorted(set(found))))}."
            )
        if not first:
            raise UsageError(f"{path}: has no rows; expected one row per image.")
        return cls(tuple(files), tuple(shards), found[0])

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.shards[-1].first + self.shards[-1].rows

    def read(self, shards: Iterable[Shard]) -> Iterator[tuple[Shard, pa.Table]]:
        """Yield the rows of shards, which must stand in the pool's order; no more than one shard is held.

        Raises:
            LAEError: a file is damaged or has changed since the pool was opened.
        """
        return read_shards(shards, self.columns)


def read_shards(shards: Iterable[Shard], columns: Sequence[str]) -> Iterator[tuple[Shard, pa.Table]]:
    """Yield the rows of shards, as :meth:`Pool.read` does, on any worker."""
    place: tuple[str, int] | None = None
    stream = _RowStream(iter(()))
    for shard in shards:
        try:
            if place != (shard.file, shard.row_group):
                place = (shard.file, shard.row_group)
                # Without buffering ahead, a row group of any size is read a page at a time.
                file = pq.ParquetFile(shard.file, memory_map=True, pre_buffer=False)
                batches = file.iter_batches(shard.rows, row_groups=[shard.row_group], columns=list(columns))
                stream = _RowStream(batches)
            table = stream.take(shard.start, shard.rows)
            # Text that is not UTF-8 would otherwise be noticed much later.
            table.validate(full=True)
        except (pa.ArrowException, OSError, StopIteration) as error:
            reason = str(error).splitlines()[0] if str(error) else "it has fewer rows than its header says"
            raise LAEError(f"{shard.file}: cannot be read at row group {shard.row_group} ({reason}).") from error
        schema = pa.schema([(name, _READ_TYPES[name]) for name in columns])
        yield shard, table.select(list(columns)).cast(schema)


class _RowStream:
    """Cuts a stream of record batches of any sizes into tables of the sizes asked for."""

    def __init__(self, batches: Iterator[pa.RecordBatch]):
        self._batches = batches
        self._position = 0
        self._rest: list[pa.RecordBatch] = []

    def take(self, start: int, rows: int) -> pa.Table:
        """Return ``rows`` rows from ``start`` on, which must not lie before what was taken already."""
        while self._position < start:
            self._pull(start - self._position)
        taken: list[pa.RecordBatch] = []
        while (missing := rows - sum(batch.num_rows for batch in taken)) > 0:
            taken.append(self._pull(missing))
        return pa.Table.from_batches(taken)

    def _pull(self, at_most: int) -> pa.RecordBatch:
        batch = self._rest.pop() if self._rest else next(self._batches)
        if batch.num_rows > at_most:
            self._rest.append(batch.slice(at_most))
            batch = batch.slice(0, at_most)
        self._position += batch.num_rows
        return batch


def _known_columns(file: str, schema: pa.Schema) -> tuple[str, ...]:
    if "path" not in schema.names:
        raise UsageError(f"{file}: has no column 'path'; it has {', '.join(schema.names[:8])}.")
    known = tuple(name for name in _TYPES if name in schema.names)
    for name in known:
        kind = schema.field(name).type
        # pandas writes text as dictionary where it is categorical.
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(is_right(plain) for is_right in _TYPES[name]):
            raise UsageError(f"{file}: column '{name}' holds {kind}, expected {_READ_TYPES[name]}.")
    return known
