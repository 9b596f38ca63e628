"""Scoring a pool with Apache Beam: the same shards, the same scorer, on as many workers as a runner has.

Every worker must be able to read the model, the pool and, unless it holds ``image_bytes``, the image files under the
same paths. Beam repeats what fails and keeps one result of it, so each row is written once; that is counted at the end.
"""

from __future__ import annotations

import _thread
import contextlib
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lae_tf.errors import LAEError, MissingExtraError
from lae_tf.predict.pools.local import Outcome, refuse_existing, split_results, table_paths
from lae_tf.predict.pools.pool import Pool, read_shards
from lae_tf.predict.pools.scorer import ERRORS, SCORES, Scorer
from lae_tf.predict.pools.shards import Shard
from lae_tf.predict.pools.top import Top

try:
    import apache_beam as beam
    from apache_beam.io.parquetio import WriteToParquetBatched
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.utils.shared import Shared
except ImportError as error:
    raise MissingExtraError("--engine beam", "beam") from error


class ScoreShard(beam.DoFn):
    """Scores a shard: a table of schema ``SCORES``, and under the tag ``errors`` one of schema ``ERRORS``.

    The handler is our own, around ``tf.saved_model.load``; one model serves all threads of a worker process.

    Args:
        model: folder of a SavedModel, as workers see it.
        columns: of the pool.
        threshold: in place of the model's.
    """

    def __init__(self, model: str, columns: Sequence[str], threshold: float | None = None):
        self._model = model
        self._threshold = threshold
        self._columns = tuple(columns)
        self._shared = Shared()

    def setup(self) -> None:
        self._scorer = self._shared.acquire(
            lambda: Scorer(self._model, threshold=self._threshold), tag=(self._model, self._threshold)
        )

    def process(self, shard: Shard) -> Iterator[Any]:
        for _, table in read_shards([shard], self._columns):
            good, bad = split_results(self._scorer.score(shard, table))
            if good.num_rows:
                yield good
            if bad.num_rows:
                yield beam.pvalue.TaggedOutput("errors", bad)


class BestRows(beam.CombineFn):
    """Finds the best rows of tables of scores; workers send at most k rows on.

    Args:
        top: what to look for.
    """

    def __init__(self, top: Top):
        self._top = top

    def create_accumulator(self) -> pa.Table:
        return SCORES.empty_table()

    def add_input(self, accumulator: pa.Table, table: pa.Table) -> pa.Table:
        return self._top.of([accumulator, table])

    def merge_accumulators(self, accumulators: Iterable[pa.Table]) -> pa.Table:
        return self._top.of(accumulators)

    def extract_output(self, accumulator: pa.Table) -> pa.Table:
        return accumulator


def score_with_beam(
    model: str, pool: Pool, out: Path, top: Top | None, options: Sequence[str], threshold: float | None = None
) -> Outcome:
    """Score a pool in a Beam pipeline.

    Args:
        model: folder of a SavedModel, as workers see it.
        pool: what to score.
        out: folder of Parquet files with the scores; the other tables stand beside it, see ``local.table_paths``.
            All readers of Parquet take such a folder for one table. Rows are in no order.
        top: best rows to look for.
        options: pipeline options, for example ``["--runner=FlinkRunner"]``; Beam's DirectRunner by default.
        threshold: in place of the model's.

    Raises:
        UsageError: a table exists already.
        LAEError: the pipeline failed, or rows are missing; nothing is left behind.
    """
    refuse_existing(out)
    finals = table_paths(out)
    scores, errors, best = works = [path.with_name(f".{path.name}.tmp") for path in finals]
    for work in works:
        shutil.rmtree(work, ignore_errors=True)
    try:
        with _end_without_workers(), beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            results = (
                pipeline
                | "plan" >> beam.Create(pool.shards)
                # Without it a runner may score all shards where they were made.
                | "spread" >> beam.Reshuffle()
                | "score"
                >> beam.ParDo(ScoreShard(model, pool.columns, threshold)).with_outputs("errors", main="scores")
            )
            results.scores | "write scores" >> _write_tables(scores, SCORES)
            results.errors | "write errors" >> _write_tables(errors, ERRORS)
            if top:
                found = results.scores | "top" >> beam.CombineGlobally(BestRows(top))
                found | "write top" >> _write_tables(best, SCORES)
        scored, failed = _rows(scores), _rows(errors)
        if scored + failed != pool.rows:
            raise LAEError(f"the pipeline gave {scored + failed} rows for {pool.rows} images; nothing was written.")
        for work, final, wanted in zip(works, finals, (True, failed > 0, top is not None), strict=True):
            if wanted:
                work.rename(final)
    except LAEError:
        raise
    except Exception as error:  # a runner wraps what happened on a worker in many ways
        raise LAEError(f"the Beam pipeline failed: {str(error).strip().splitlines()[-1]}") from error
    finally:
        for work in works:
            shutil.rmtree(work, ignore_errors=True)
    return Outcome(out, finals[1] if failed else None, finals[2] if top else None, scored, failed)


class _WorkerGoneError(BaseException):
    """Ends the wait of the main thread; no library between takes it for an error of its own."""


@contextlib.contextmanager
def _end_without_workers() -> Iterator[None]:
    """End a pipeline whose worker process is gone; Beam's FnApiRunner would wait for its answer for ever.

    What Beam notices mostly ends only the thread that watches over the process, so the main thread, which waits, is
    told. Sometimes the main thread finds the worker's channel closed first.

    Raises:
        LAEError: a worker process of this machine was killed, or ended itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    report = threading.excepthook
    lost: list[BaseException] = []

    def hook(failure: threading.ExceptHookArgs) -> None:
        report(failure)
        if failure.exc_value and str(failure.exc_value).startswith("Worker subprocess exited"):
            lost.append(failure.exc_value)
            _thread.interrupt_main(signal.SIGUSR1)  # SIGINT is a person's

    def end(signum: int, frame: FrameType | None) -> None:
        raise _WorkerGoneError

    threading.excepthook = hook
    before = signal.signal(signal.SIGUSR1, end)
    try:
        yield
    except _WorkerGoneError:
        raise LAEError(f"a worker process is gone ({lost[0]}); nothing was written, start again.") from lost[0]
    except RuntimeError as error:
        if "Channel closed prematurely" in str(error):
            raise LAEError("a worker process is gone; nothing was written, start again.") from error
        raise
    finally:
        signal.signal(signal.SIGUSR1, before)
        threading.excepthook = report


def _write_tables(folder: Path, schema: pa.Schema) -> Any:
    return WriteToParquetBatched(str(folder / "part"), schema, file_name_suffix=".parquet")


def _rows(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("part*.parquet"))
