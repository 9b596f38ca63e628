"""Scoring a pool on one machine: a stream with constant memory that a kill costs no more than one shard.

Every finished shard is a file in ``OUT.parts``; when all are there, they become the tables, and the folder goes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from lae_tf.errors import UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.files.json_files import read_object
from lae_tf.predict.pools.pool import Pool
from lae_tf.predict.pools.scorer import ERRORS, RESULTS, SCORES, Scorer
from lae_tf.predict.pools.top import Top


@dataclass(frozen=True)
class Outcome:
    """What scoring a pool gave.

    Attributes:
        scores: the table of scores.
        errors: the dead-letter table; written only if there are any.
        top: the best rows; None if they were not asked for.
        scored: rows in ``scores``.
        failed: rows in ``errors``.
    """

    scores: Path
    errors: Path | None
    top: Path | None
    scored: int
    failed: int


def table_paths(out: Path) -> tuple[Path, Path, Path]:
    """Return the places of scores, errors and best rows: ``x.parquet``, ``x.errors.parquet``, ``x.top.parquet``."""
    return out, out.with_suffix(f".errors{out.suffix}"), out.with_suffix(f".top{out.suffix}")


def refuse_existing(out: Path) -> None:
    """Check that no table would be overwritten.

    Raises:
        UsageError: one exists.
    """
    for path in table_paths(out):
        if path.exists():
            raise UsageError(f"{path} exists already; remove it, or choose another output.")


def score_pool(
    model: str, digest: str, pool: Pool, out: Path, top: Top | None = None, threshold: float | None = None
) -> Outcome:
    """Score a pool, or go on where an earlier call was stopped.

    Args:
        model: folder of a SavedModel.
        digest: of its weights; results of another model are never mixed in.
        pool: what to score.
        out: of the scores; the other tables stand beside it, see :func:`table_paths`.
        top: best rows to look for.
        threshold: in place of the model's.

    Raises:
        UsageError: a table exists already, or an unfinished one is of another pool, model or threshold, or of a
            version that wrote other columns.
    """
    parts = _parts(out)
    # A kill between the tables leaves the first of them beside the shards: they are made again.
    if out.exists() or not parts.exists():
        refuse_existing(out)
    plan = {"model": digest, "pool": _pool_digest(pool), "threshold": threshold, "set of columns": RESULTS.names}
    _resume(parts, plan)
    places = {shard: parts / f"{shard.first:012d}.parquet" for shard in pool.shards}
    pending = [shard for shard, place in places.items() if not place.exists()]
    done = pool.rows - sum(shard.rows for shard in pending)
    with tqdm(total=pool.rows, initial=done, desc="score", unit=" images", file=sys.stderr) as bar:
        if pending:
            scorer = Scorer(model, threshold=threshold)
            for shard, table in pool.read(pending):
                _write(places[shard], scorer.score(shard, table))
                bar.update(shard.rows)
    outcome = _merge(places.values(), out, top)
    shutil.rmtree(parts)
    return outcome


def _parts(out: Path) -> Path:
    """Return the folder of finished shards."""
    return out.with_name(f"{out.name}.parts")


def _resume(parts: Path, plan: dict[str, Any]) -> None:
    """Begin a folder of finished shards, or check that it was begun for the same."""
    record = parts / "plan.json"
    if not record.is_file():
        shutil.rmtree(parts, ignore_errors=True)  # of a finished run, killed while it tidied up
        write_bytes(record, json.dumps(plan).encode())
        return
    started = read_object(record)
    for what, value in plan.items():
        if started.get(what) != value:
            raise UsageError(
                f"{parts} holds an unfinished run with another {what}; remove it to start again, or choose another "
                "output."
            )


def _pool_digest(pool: Pool) -> str:
    """Return a digest of the shards, and of size and time of change of the files."""
    states = [os.stat(file) for file in pool.files]
    facts = [[dataclasses.astuple(shard) for shard in pool.shards], [(s.st_size, s.st_mtime_ns) for s in states]]
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _merge(parts: Iterable[Path], out: Path, top: Top | None) -> Outcome:
    """Make the tables from the shards' files, one at a time; the table of scores appears last."""
    scores, errors, best = table_paths(out)
    temporary = {path: path.with_name(f".{path.name}.tmp") for path in (scores, errors)}
    found = SCORES.empty_table()
    scored = failed = 0
    with (
        pq.ParquetWriter(temporary[scores], SCORES) as score_writer,
        pq.ParquetWriter(temporary[errors], ERRORS) as error_writer,
    ):
        for part in parts:
            good, bad = split_results(pq.read_table(part, schema=RESULTS))
            # A row group without rows helps nobody.
            if good.num_rows:
                score_writer.write_table(good)
            if bad.num_rows:
                error_writer.write_table(bad)
            if top:
                found = top.of([found, good])
            scored, failed = scored + good.num_rows, failed + bad.num_rows
    if failed:
        os.replace(temporary[errors], errors)
    else:
        temporary[errors].unlink()
    if top:
        _write(best, found)
    os.replace(temporary[scores], scores)
    return Outcome(scores, errors if failed else None, best if top else None, scored, failed)


def split_results(results: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Part results into a table of scores and one of errors."""
    failed = pc.is_valid(results["error"])
    return results.filter(pc.invert(failed)).select(SCORES.names), results.filter(failed).select(ERRORS.names)


def _write(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_bytes(path, sink.getvalue().to_pybytes())
