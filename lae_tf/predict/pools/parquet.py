"""Parquet files as a pool: any row groups, cut into shards, of which one is held at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from lae_tf.errors import LAEError, UsageError
from lae_tf.predict.pools.shards import COLUMNS, Shard

_EXPECTED = {"path": "string", "image_bytes": "binary", "group": "string"}
_TYPES = {
    "path": (pa.types.is_string, pa.types.is_large_string),
    "image_bytes": (pa.types.is_binary, pa.types.is_large_binary),
    "group": (pa.types.is_string, pa.types.is_large_string),
}


def plan(file: str, shard_rows: int) -> tuple[list[Shard], tuple[str, ...]]:
    """Return the shards of a Parquet file, and which of the known columns it has; reads only the file's footer.

    Raises:
        UsageError: no Parquet, or columns that are missing or of another type.
    """
    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from error
    columns = _known_columns(file, metadata.schema.to_arrow_schema())
    shards: list[Shard] = []
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        for start in range(0, rows, shard_rows):
            shards.append(Shard(file, group, start, min(shard_rows, rows - start), first + start))
        first += rows
    return shards, columns


def read(shards: Iterable[Shard], columns: Sequence[str]) -> Iterator[tuple[Shard, pa.Table]]:
    """Yield the rows of shards, which must stand in the order of their files.

    Raises:
        LAEError: a file is damaged or has changed since it was planned.
    """
    opened: tuple[str, int] | None = None
    stream = _RowStream(iter(()))
    for shard in shards:
        try:
            if opened != (shard.file, shard.place):
                opened = (shard.file, shard.place)
                # Without buffering ahead, a row group of any size is read a page at a time.
                file = pq.ParquetFile(shard.file, memory_map=True, pre_buffer=False)
                batches = file.iter_batches(shard.rows, row_groups=[shard.place], columns=list(columns))
                stream = _RowStream(batches)
            table = stream.take(shard.start, shard.rows)
            # Text that is not UTF-8 would otherwise be noticed much later.
            table.validate(full=True)
        except (pa.ArrowException, OSError, StopIteration) as error:
            reason = str(error).splitlines()[0] if str(error) else "it has fewer rows than its header says"
            raise LAEError(f"{shard.file}: cannot be read at row group {shard.place} ({reason}).") from error
        schema = pa.schema([(name, COLUMNS[name]) for name in columns])
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
    known = tuple(name for name in COLUMNS if name in schema.names)
    for name in known:
        kind = schema.field(name).type
        # pandas writes text as dictionary where it is categorical.
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(is_right(plain) for is_right in _TYPES[name]):
            raise UsageError(f"{file}: column '{name}' holds {kind}, expected {_EXPECTED[name]}.")
    return known
