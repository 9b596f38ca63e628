"""The same table from Apache Beam, and its best rows found on the workers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("apache_beam")

from lae_tf.errors import LAEError
from lae_tf.predict.pools.beam import score_with_beam
from lae_tf.predict.pools.local import table_paths
from lae_tf.predict.pools.pool import Pool
from lae_tf.predict.pools.top import Top


@pytest.fixture(scope="module")
def local(export, pool, tmp_path_factory):
    """Scores and best rows of the local engine."""
    from lae_tf.predict.pools.local import score_pool

    out = tmp_path_factory.mktemp("local") / "s.parquet"
    return score_pool(str(export / "2"), "", Pool.open(pool), out, Top(6, 2))


def test_the_tables_are_those_of_the_local_engine(export, pool, local, tmp_path, lae_tf_command):
    out = tmp_path / "s.parquet"
    arguments = ("--engine", "beam", "--shard-rows", 20, "--top-k", 6, "--per-group", 2, "--json")
    code, printed, _ = lae_tf_command("score", export, pool, out, *arguments)
    assert code == 0
    answer = json.loads(printed)
    assert (answer["scored"], answer["failed"]) == (local.scored, local.failed) == (117, 3)
    tables = [pd.read_parquet(answer[place]) for place in ("scores", "errors")]
    scored, failed = (table.sort_values("row", ignore_index=True) for table in tables)
    wanted = pd.read_parquet(local.scores)
    columns = ["score", "logit"]
    np.testing.assert_allclose(scored[columns], wanted[columns], atol=1e-6)
    pd.testing.assert_frame_equal(scored.drop(columns=columns), wanted.drop(columns=columns))
    pd.testing.assert_frame_equal(failed, pd.read_parquet(local.errors))
    # The pool repeats its images, and batches of other sizes part equal scores by their last bit: the best rows are
    # those of this table, not of the local engine's.
    best = scored.sort_values(["score", "row"], ascending=[False, True]).groupby("group", sort=False).head(2).head(6)
    pd.testing.assert_frame_equal(pd.read_parquet(answer["top"]), best.reset_index(drop=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.errors.parquet", "s.parquet", "s.top.parquet"]


def test_a_failing_worker_leaves_nothing(pool, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(LAEError, match="model: cannot be loaded as a SavedModel"):
        score_with_beam(str(tmp_path / "model"), Pool.open(pool), tmp_path / "s.parquet", None, [])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_kill_leaves_no_table_and_the_next_run_gives_every_row_once(export, pool, tmp_path, lae_tf_command):
    out = tmp_path / "s.parquet"
    arguments = [str(export), str(pool), str(out), "--engine", "beam", "--shard-rows", "1"]
    command = [sys.executable, "-m", "lae_tf.cli.main", "score", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".s.parquet.tmp/*/*.parquet")):  # the first rows are being written
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not out.exists()
    code, *_ = lae_tf_command("score", *arguments)
    rows = [row for place in table_paths(out)[:2] for row in pd.read_parquet(place)["row"]]
    assert code == 0 and sorted(rows) == list(range(120))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.errors.parquet", "s.parquet"]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_killed_worker_ends_the_pipeline(export, pool, tmp_path):
    out = tmp_path / "s.parquet"
    options = "--runner=FnApiRunner --direct_running_mode=multi_processing --direct_num_workers=2"
    arguments = [str(export), str(pool), str(out), "--engine", "beam", "--shard-rows", "1", "--beam-options", options]
    command = [sys.executable, "-m", "lae_tf.cli.main", "score", *arguments]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    while not list(tmp_path.glob(".s.parquet.tmp/*/*.parquet")):
        assert process.poll() is None
        time.sleep(0.005)
    worker = process.pid
    while children := [
        pid for task in Path(f"/proc/{worker}/task").glob("*/children") for pid in task.read_text().split()
    ]:
        worker = int(children[0])  # down to the Python below Beam's shell
    os.kill(worker, signal.SIGKILL)
    assert process.wait(90) == 1
    assert "Error: a worker process is gone" in (tmp_path / "log").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_rows_that_a_runner_loses_are_noticed(export, pool, tmp_path):
    class Forgetful(Pool):
        rows = 121

    opened = Pool.open(pool)
    with pytest.raises(LAEError, match="120 rows for 121 images"):
        score_with_beam(
            str(export / "2"), Forgetful(opened.files, opened.shards, opened.columns), tmp_path / "s.parquet", None, []
        )
    assert list(tmp_path.iterdir()) == []
