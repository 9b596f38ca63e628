"""`lae-tf score` on one machine: every row once, bad images aside, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

from lae_tf.export.decoding import decode_images
from lae_tf.export.signatures import decide, trace, write_archive
from lae_tf.metrics.verdict import verdicts_of
from lae_tf.predict.images import predict_files
from lae_tf.predict.pools.local import table_paths
from lae_tf.predict.pools.scorer import Scorer
from lae_tf.predict.pools.shards import Shard

BAD_ROWS = [5, 50, 51]


@pytest.fixture(scope="module")
def predictions(trained_run, images):
    """What `predict` says, by path."""
    return {one.path: one for one in predict_files(trained_run.load_model(), list(images["path"]))}


def check(out, pool_frame, predictions):
    """Scores and errors hold each row of the pool once; scores are those of `predict`."""
    scores, errors, _ = table_paths(Path(out))
    scored, failed = pd.read_parquet(scores), pd.read_parquet(errors)
    assert list(failed["row"]) == BAD_ROWS
    assert sorted([*scored["row"], *failed["row"]]) == list(range(len(pool_frame)))
    for table in (scored, failed):
        expected = pool_frame.loc[table["row"]].reset_index(drop=True)
        assert list(table["path"].fillna("")) == list(expected["path"].fillna(""))
        assert list(table["group"]) == list(expected["group"])
    expected = [predictions[path] for path in scored["path"]]
    np.testing.assert_allclose(scored["score"], [one.score for one in expected], atol=1e-5)
    np.testing.assert_allclose(scored["logit"], [one.logit for one in expected], atol=1e-4)
    assert list(scored["label"]) == [one.label for one in expected]
    # By the table's own scores, which may differ from those of `predict` in the last digit.
    threshold, bounds = expected[0].threshold, expected[0].bounds
    assert list(scored["verdict"]) == list(verdicts_of(scored["score"], threshold, bounds))
    return scored, failed


def test_scores_errors_and_the_best(export, pool, pool_frame, predictions, tmp_path, lae_tf_command):
    out = tmp_path / "out" / "scores.parquet"
    code, printed, _ = lae_tf_command(
        "score", export, pool, out, "--shard-rows", 20, "--top-k", 6, "--per-group", 2, "--json"
    )
    assert code == 0
    answer = json.loads(printed)
    assert (answer["scored"], answer["failed"]) == (117, 3) and answer["scores"] == str(out)
    scored, failed = check(out, pool_frame, predictions)
    assert "cut.png" in failed["error"][0] and "nowhere.png" in failed["error"][1] and failed["error"][2]
    assert list(scored["row"]) == sorted(scored["row"])  # the pool's order
    capped = scored.sort_values(["score", "row"], ascending=[False, True]).groupby("group", sort=False).head(2).head(6)
    best = pd.read_parquet(answer["top"])
    assert list(best["row"]) == list(capped["row"]) and list(best.columns) == list(scored.columns)
    names = {"scores.parquet", "scores.errors.parquet", "scores.top.parquet"}
    assert {path.name for path in out.parent.iterdir()} == names


def test_a_run_is_scored_as_its_export_is(trained_run, pool, pool_frame, predictions, tmp_path, lae_tf_command):
    code, out, _ = lae_tf_command("score", trained_run.path, pool, tmp_path / "s.parquet")
    assert code == 0 and "117 scored, 3 could not be read." in out
    check(tmp_path / "s.parquet", pool_frame, predictions)


def test_another_threshold(trained_run, export, pool, predictions, tmp_path, lae_tf_command):
    """Half of the scores lie at or above their median; a run knows rates of false alarms, an export does not."""
    threshold = float(np.float32(np.median([one.score for one in predictions.values() if not one.error])))
    for model, options, source in (
        (export, ["--threshold", threshold], "--threshold"),
        (trained_run.path, ["--max-false-alarms", "20%"], "--max-false-alarms 20% on 10 real validation images"),
    ):
        out = tmp_path / f"{Path(model).name}.parquet"
        code, printed, _ = lae_tf_command("score", model, pool, out, "--json", *options)
        said = json.loads(printed.splitlines()[-1])
        scored = pd.read_parquet(out)
        assert code == 0 and said["threshold_from"] == source
        assert scored["label"].tolist() == ["fake" if s >= said["threshold"] else "real" for s in scored["score"]]
        assert scored["label"].nunique() == 2
        bounds = next(one.bounds for one in predictions.values() if not one.error)
        assert scored["verdict"].tolist() == list(verdicts_of(scored["score"], said["threshold"], bounds))
        assert scored["verdict"].nunique() > 1
    code, _, err = lae_tf_command("score", export, pool, tmp_path / "x.parquet", "--max-false-alarms", "20%")
    assert code == 2 and "needs a RUN" in err and "give --threshold" in err


def test_an_export_of_an_older_version_has_the_label_for_a_verdict(trained_run, images, pool, tmp_path):
    """Its signature gave four outputs."""
    model, known = trained_run.load_model(), ("score", "label", "logit", "threshold")

    def answer(data):
        outputs = decide(model, decode_images(model.preprocessor, data))
        return {name: outputs[name] for name in known}

    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    write_archive(model, tmp_path / "old", {"serving_default": trace(answer, spec)})
    paths = list(images["path"])
    shard = Shard(str(pool), 0, 0, len(paths), 0)
    for threshold in (None, 0.4, 0.6):
        table = Scorer(tmp_path / "old", threshold=threshold).score(shard, pa.table({"path": paths})).to_pandas()
        called = np.where(table["score"] >= (threshold or 0.5), "fake", "real")
        assert list(table["label"]) == list(table["verdict"]) == list(called)


def test_images_within_the_table(export, pool_frame, predictions, tmp_path, lae_tf_command):
    """Bytes are scored as the files are; the path is then only a name."""
    good = pool_frame.drop(index=BAD_ROWS).head(20).reset_index(drop=True)
    images = [Path(path).read_bytes() for path in good["path"]]
    names = [f"frame {row}" for row in range(20)]
    pd.DataFrame({"path": names, "image_bytes": [*images[:-1], b"no image"]}).to_parquet(tmp_path / "p.parquet")
    code, *_ = lae_tf_command("score", export / "2", tmp_path / "p.parquet", tmp_path / "s.parquet")
    scored = pd.read_parquet(tmp_path / "s.parquet")
    assert code == 0 and list(scored["path"]) == names[:-1] and scored["group"].isna().all()
    np.testing.assert_allclose(scored["score"], [predictions[path].score for path in good["path"][:-1]], atol=1e-5)
    (error,) = pd.read_parquet(tmp_path / "s.errors.parquet").to_dict("records")
    assert error["row"] == 19 and error["path"] == "frame 19" and "frame 19" in error["error"]


def test_relative_paths_refer_to_the_folder_of_the_table(export, images, tmp_path, lae_tf_command, monkeypatch):
    root = Path(images["path"].iloc[0]).parent
    pd.DataFrame({"path": [Path(path).name for path in images["path"][:4]]}).to_parquet(root / "relative.parquet")
    monkeypatch.chdir(tmp_path)
    try:
        code, out, _ = lae_tf_command("score", export, root / "relative.parquet", "s.parquet")
    finally:
        (root / "relative.parquet").unlink()
    assert code == 0 and out.startswith("4 scored, 0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet"]  # no dead letters, no table of them


# --- interrupted ------------------------------------------------------------------------------------------


def start(*arguments):
    command = [sys.executable, "-m", "lae_tf.cli.main", "score", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_for_parts(process, parts, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(parts.glob("*.parquet"))) >= count:
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate())


def test_a_kill_costs_no_more_than_a_shard(export, pool_frame, predictions, tmp_path, lae_tf_command):
    pool, out = tmp_path / "pool.parquet", tmp_path / "scores.parquet"
    pool_frame.to_parquet(pool)
    parts = tmp_path / "scores.parquet.parts"
    process = start(export, pool, out, "--shard-rows", 1)
    wait_for_parts(process, parts, 10)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = list(parts.glob("*.parquet"))
    assert 10 <= len(finished) < 120 and not out.exists()

    # Results of another model, or of another pool, are never mixed in.
    written = pool.stat().st_mtime_ns
    os.utime(pool, ns=(0, 0))
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 1)
    assert code == 2 and "another pool" in err
    os.utime(pool, ns=(written, written))
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 7)
    assert code == 2 and "another pool" in err
    plan = (parts / "plan.json").read_text()
    (parts / "plan.json").write_text(json.dumps({**json.loads(plan), "model": "other"}))
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 1)
    assert code == 2 and "another model" in err and not out.exists()
    older = {name: value for name, value in json.loads(plan).items() if name != "set of columns"}
    (parts / "plan.json").write_text(json.dumps(older))
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 1)
    assert code == 2 and "another set of columns" in err and not out.exists()
    (parts / "plan.json").write_text(plan)
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 1, "--threshold", "0.9")
    assert code == 2 and "another threshold" in err and not out.exists()

    # The right ones go on; what was finished is not scored again.
    (parts / ".torn.tmp").write_bytes(b"half a shard")
    table_paths(out)[1].write_bytes(b"left by a kill between the tables")
    code, printed, err = lae_tf_command("score", export, pool, out, "--shard-rows", 1, "--json")
    assert code == 0 and json.loads(printed)["scored"] == 117
    assert f"{len(finished)}/120" in err  # where the bar starts
    check(out, pool_frame, predictions)
    assert not parts.exists()


def test_what_a_kill_left_of_a_finished_run_is_not_mixed_in(
    export, pool, pool_frame, predictions, tmp_path, lae_tf_command
):
    """A kill while the shards were removed may have left some of them, without the plan that names their model."""
    out, parts = tmp_path / "scores.parquet", tmp_path / "scores.parquet.parts"
    parts.mkdir()
    (parts / "000000000000.parquet").write_bytes(b"of another model")
    code, _, err = lae_tf_command("score", export, pool, out)
    assert code == 0, err
    check(out, pool_frame, predictions)


def test_a_finished_table_is_never_overwritten(export, pool, tmp_path, lae_tf_command):
    for existing in table_paths(tmp_path / "s.parquet"):
        existing.write_bytes(b"precious")
        code, _, err = lae_tf_command("score", export, pool, tmp_path / "s.parquet")
        assert code == 2 and str(existing) in err and existing.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [existing]
        existing.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{export}", "{pool}", "s.csv"], "ends in .parquet"),
        (["{export}", "{pool}", "s.parquet", "--per-group", "2"], "--top-k"),
        (["{export}", "{pool}", "s.parquet", "--beam-options", "--x"], "--engine beam"),
        (["{tmp}", "{pool}", "s.parquet"], "neither a run"),
        (["{export}", "{tmp}", "s.parquet"], "no such Parquet or TFRecord file"),
    ],
)
def test_wrong_requests(export, pool, tmp_path, lae_tf_command, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(export=export, pool=pool, tmp=tmp_path) for argument in arguments]
    code, _, err = lae_tf_command("score", *filled)
    assert code == 2 and message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_cap_needs_groups(export, images, tmp_path, lae_tf_command):
    images[["path"]].to_parquet(tmp_path / "p.parquet")
    code, _, err = lae_tf_command(
        "score", export, tmp_path / "p.parquet", tmp_path / "s.parquet", "--top-k", 1, "--per-group", 1
    )
    assert code == 2 and "no column 'group'" in err


def test_a_model_of_another_kind_is_refused(pool, tmp_path, lae_tf_command):
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    code, _, err = lae_tf_command("score", tmp_path / "other", pool, tmp_path / "s.parquet")
    assert code == 1 and "serving_default" in err and not (tmp_path / "s.parquet").exists()
