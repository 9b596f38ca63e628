"""The pool: Parquet or TFRecord files of images to score, read in shards, never as a whole.

==============  ==================  ======================================================================
column          type                meaning
==============  ==================  ======================================================================
``path``        string              image file, relative to the Parquet file's folder or absolute; with
                                    ``image_bytes`` only a name
``image_bytes`` binary (optional)   the image file itself: for workers that cannot read the path
``group``       string (optional)   video, identity or source image, for the cap per group
==============  ==================  ======================================================================

Other columns are not read: a manifest (``lae_tf.data.manifest``) in Parquet is a pool. Records of TFRecord files are
described in ``lae_tf.predict.pools.tfrecords``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from lae_tf.errors import UsageError
from lae_tf.files.walking import visible
from lae_tf.predict.pools import parquet, tfrecords
from lae_tf.predict.pools.shards import Shard

SHARD_ROWS = 512


@dataclass(frozen=True)
class Pool:
    """A pool's files and shards; holds no rows.

    Attributes:
        files: files of one kind, in order.
        shards: all rows of all files, each in exactly one shard, in order.
        columns: which of the known columns all files have.
    """

    files: tuple[str, ...]
    shards: tuple[Shard, ...]
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: str | os.PathLike[str], shard_rows: int = SHARD_ROWS) -> Pool:
        """Plan the reading of a Parquet or TFRecord file, or of all of a folder's in the order of their names.

        Raises:
            UsageError: no such file; damaged, or of both kinds; columns that are missing or of another type; no rows.
        """
        files = _files(Path(path))
        shards: list[Shard] = []
        found: set[tuple[str, ...]] = set()
        rows = 0
        for file in files:
            planned, columns = _source(file).plan(file, shard_rows)
            found.add(columns)
            shards += [replace(shard, first=rows + shard.first) for shard in planned]
            rows += sum(shard.rows for shard in planned)
        if len(found) > 1:
            raise UsageError(f"{path}: its files differ in their columns: {' and '.join(map(str, sorted(found)))}.")
        if not rows:
            raise UsageError(f"{path}: has no rows; expected one row per image.")
        return cls(tuple(files), tuple(shards), found.pop())

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
    for source, group in itertools.groupby(shards, lambda shard: _source(shard.file)):
        yield from source.read(group, columns)


def _source(file: str) -> ModuleType:
    """Return the module that plans and reads a file; anything not called TFRecord is taken for Parquet."""
    return tfrecords if tfrecords.NAME.search(file) else parquet


def _files(path: Path) -> list[str]:
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(f"{path}: no such Parquet or TFRecord file, and no folder with any.")
        return [str(path)]
    names = [entry.path for entry in visible(path)]
    tables = [name for name in names if name.lower().endswith(".parquet")]
    records = [name for name in names if tfrecords.NAME.search(os.path.basename(name))]
    if tables and records:
        raise UsageError(f"{path}: holds Parquet ({tables[0]}) and TFRecord ({records[0]}); give a folder for each.")
    if not tables and not records:
        raise UsageError(f"{path}: no such Parquet or TFRecord file, and no folder with any.")
    return tables or records
