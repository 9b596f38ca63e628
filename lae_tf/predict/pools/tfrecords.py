"""TFRecord files as a pool: planned by their record headers alone, each shard read from its offset on.

A record is ``length`` (uint64), masked CRC-32C of these 8 bytes (uint32), ``length`` bytes of data, masked CRC-32C of
the data (uint32); all little-endian (``tensorflow/core/lib/io/record_writer.h``). The data is a ``tf.train.Example``:

==============================  =====================  ==================================================
feature                         type                   meaning
==============================  =====================  ==================================================
``image_bytes``, or             one bytes              the image file itself
``image/encoded``
``path``, or ``image/filename`` one bytes (optional)   only a name; ``FILE#NUMBER`` if there is none
``group``                       one bytes (optional)   as in ``lae_tf.predict.pools.pool``
==============================  =====================  ==================================================

A record without an image becomes a row with an empty one, which the scorer reports; it never stops the rest.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import google_crc32c
import pyarrow as pa

from lae_tf.errors import LAEError, UsageError
from lae_tf.predict.pools.shards import COLUMNS, Shard

NAME = re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$")
"""How the files are called: ``x.tfrecord``, ``x-00000-of-00010.tfrecord``, ``x.tfrecord-00000-of-00010``."""
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_FEATURES = {"path": ("path", "image/filename"), "image_bytes": ("image_bytes", "image/encoded"), "group": ("group",)}


class _DamagedError(Exception):
    """What is wrong with a record."""


def plan(file: str, shard_rows: int) -> tuple[list[Shard], tuple[str, ...]]:
    """Return the shards of a TFRecord file, and all known columns; reads 12 bytes of each record.

    Raises:
        UsageError: the file is compressed, damaged, cut off, or no TFRecord.
    """
    shards: list[Shard] = []
    count = place = offset = 0
    try:
        with open(file, "rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            while offset < size:
                stream.seek(offset)
                length = _length(stream, size)
                if count % shard_rows == 0:
                    place = offset
                count += 1
                offset += _HEADER.size + length + _FOOTER.size
                if count % shard_rows == 0 or offset == size:
                    start = (count - 1) // shard_rows * shard_rows
                    shards.append(Shard(file, place, start, count - start, start))
    except _DamagedError as error:
        raise UsageError(f"{file}: is no TFRecord file, or damaged: at byte {offset} stands {error}.") from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}).") from error
    return shards, tuple(COLUMNS)


def read(shards: Iterable[Shard], columns: Sequence[str]) -> Iterator[tuple[Shard, pa.Table]]:
    """Yield the rows of shards; all checksums are checked.

    Raises:
        LAEError: a file is damaged or has changed since it was planned.
    """
    schema = pa.schema([(name, COLUMNS[name]) for name in columns])
    for shard in shards:
        offset = shard.place
        rows = []
        try:
            with open(shard.file, "rb") as stream:
                stream.seek(offset)
                for number in range(shard.start, shard.start + shard.rows):
                    offset = stream.tell()
                    rows.append(_row(_data(stream), f"{os.path.basename(shard.file)}#{number}"))
        except _DamagedError as error:
            raise LAEError(f"{shard.file}: is damaged or has changed: at byte {offset} stands {error}.") from error
        except OSError as error:
            raise LAEError(f"{shard.file}: cannot be read at byte {offset} ({error.strerror}).") from error
        yield shard, pa.Table.from_pylist(rows, schema=schema)


def _length(stream: BinaryIO, size: int) -> int:
    """Read a record's header; the record lies within the file's size, so no damage asks for more memory than that."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise _DamagedError(f"a record's header of {len(header)} bytes, expected {_HEADER.size}")
    length, checksum = _HEADER.unpack(header)
    if checksum != _masked_crc(header[:8]):
        if header.startswith(b"\x1f\x8b"):
            raise _DamagedError("gzip, which cannot be read from the middle (unpack it with gunzip)")
        raise _DamagedError("a record's length that does not fit its checksum")
    if (missing := stream.tell() + length + _FOOTER.size - size) > 0:
        raise _DamagedError(f"a record of {length} bytes, which is cut off ({missing} bytes are missing)")
    return length


def _data(stream: BinaryIO) -> bytes:
    data = stream.read(_length(stream, os.fstat(stream.fileno()).st_size))
    if _FOOTER.unpack(stream.read(_FOOTER.size))[0] != _masked_crc(data):
        raise _DamagedError("a record's data that does not fit its checksum")
    return data


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _row(record: bytes, name: str) -> dict[str, Any]:
    # Planning does without TensorFlow.
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    example = tf.train.Example()
    try:
        example.ParseFromString(record)
    except DecodeError:
        example.Clear()
    found = {column: _value(example.features.feature, names) for column, names in _FEATURES.items()}
    group = found["group"]
    return {
        # Text that is not UTF-8 is no reason to lose a row.
        "path": (found["path"] or name.encode("utf-8", "surrogateescape")).decode("utf-8", "backslashreplace"),
        "image_bytes": found["image_bytes"] or b"",
        "group": group.decode("utf-8", "backslashreplace") if group else None,
    }


def _value(features: Any, names: Sequence[str]) -> bytes | None:
    """Return the first feature of these names that holds bytes."""
    for name in names:
        if name in features and (values := features[name].bytes_list.value):
            return values[0]
    return None
