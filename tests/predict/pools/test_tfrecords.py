"""TFRecord files, as TensorFlow writes them, are pools; damaged ones are refused in one sentence."""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.errors import LAEError, UsageError
from lae_tf.predict.pools.pool import Pool


def example(**features):
    """Serialise a tf.train.Example; names with a slash come in a dictionary."""
    lists = {name: tf.train.BytesList(value=[value]) for name, value in features.items()}
    return tf.train.Example(
        features=tf.train.Features(feature={name: tf.train.Feature(bytes_list=one) for name, one in lists.items()})
    ).SerializeToString()


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def rows(pool):
    return [row for _, table in pool.read(pool.shards) for row in table.to_pylist()]


@pytest.fixture
def three(tmp_path):
    """Records of 16 + 32 bytes each: at bytes 0, 48 and 96."""
    path = write(tmp_path / "three.tfrecord", [example(image_bytes=bytes([65 + i]) * 9) for i in range(3)])
    assert path.stat().st_size == 3 * 48
    return path


# --- planning and reading ---------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 12))
def test_every_record_once_and_in_order(tmp_path_factory, sizes, shard_rows):
    images = [bytes([number]) * size for number, size in enumerate(sizes)]
    path = write(tmp_path_factory.mktemp("pool") / "p.tfrecord", [example(image_bytes=image) for image in images])
    pool = Pool.open(path, shard_rows)
    assert pool.rows == len(sizes) and all(shard.rows <= shard_rows for shard in pool.shards)
    assert [row["image_bytes"] for row in rows(pool)] == images
    # Some shards are done already; each can be read alone.
    for shard, table in pool.read(pool.shards[1::2]):
        assert table["image_bytes"].to_pylist() == images[shard.first : shard.first + shard.rows]


@pytest.mark.parametrize("length", [35615, 35615 + 65536])
def test_a_length_that_looks_like_gzip(tmp_path, length):
    """The first bytes of such a record are 1f 8b."""
    path = write(tmp_path / "p.tfrecord", [b"\0" * length])
    assert path.read_bytes()[:2] == b"\x1f\x8b" and Pool.open(path).rows == 1


def test_features_of_both_namings(tmp_path):
    records = [
        example(image_bytes=b"1", path=b"a.png", group=b"g"),
        example(**{"image/encoded": b"2", "image/filename": b"b.png"}),
        example(image_bytes=b"3", path=b"\xff.png", group=b""),
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image_bytes": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5])),
                    "path": tf.train.Feature(bytes_list=tf.train.BytesList()),
                }
            )
        ).SerializeToString(),
        b"\xff no example",
        b"",
    ]
    found = rows(Pool.open(write(tmp_path / "p.tfrecord", records), 4))
    assert found == [
        {"path": "a.png", "image_bytes": b"1", "group": "g"},
        {"path": "b.png", "image_bytes": b"2", "group": None},
        {"path": "\\xff.png", "image_bytes": b"3", "group": None},
        *[{"path": f"p.tfrecord#{number}", "image_bytes": b"", "group": None} for number in (3, 4, 5)],
    ]


def test_a_folder_of_parts_is_one_pool(tmp_path):
    names = ["a-00000-of-00002.tfrecord", "a-00001-of-00002.tfrecord", "b.tfrecord-00000-of-00001", "c.tfrecords"]
    for number, name in enumerate(reversed(names)):
        write(tmp_path / name, [example(image_bytes=b"%d %d" % (3 - number, row)) for row in range(3)])
    write(tmp_path / "d.tfrecord", [])  # a part may be empty
    (tmp_path / "a.tfrecord.index").write_text("other files are not read")
    pool = Pool.open(tmp_path, 2)
    assert [shard.first for shard in pool.shards] == [0, 2, 3, 5, 6, 8, 9, 11]
    assert [row["image_bytes"] for row in rows(pool)] == [
        b"%d %d" % (part, row) for part in range(4) for row in range(3)
    ]


def test_planning_needs_neither_tensorflow_nor_the_data(three):
    code = (
        "import builtins, io, sys; from lae_tf.predict.pools.pool import Pool\n"
        f"pool = Pool.open({str(three)!r}, 2)\n"
        "print(pool.rows, [shard.place for shard in pool.shards], 'tensorflow' in sys.modules)"
    )
    # Damage of the data is found when it is read.
    three.write_bytes(three.read_bytes().replace(b"B" * 9, b"C" * 9))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "3 [0, 96] False"


# --- damaged ----------------------------------------------------------------------------------------------


def test_damage_found_at_planning(three):
    whole = three.read_bytes()
    expected = {
        whole[:-1]: r"at byte 96 stands a record of 32 bytes, which is cut off \(1 bytes are missing\)",
        whole[:99]: "at byte 96 stands a record's header of 3 bytes, expected 12",
        whole[:48] + b"\x1f" + whole[49:]: "at byte 48 stands a record's length that does not fit its checksum",
        whole[:8] + b"\0\0\0\0" + whole[12:]: "at byte 0 stands a record's length",
        whole + b"\n": "at byte 144 stands a record's header of 1 bytes",
        gzip.compress(whole): "at byte 0 stands gzip, .* gunzip",
        b"path,group\na.png,g\n": "at byte 0 stands a record's length",
        b"": "has no rows",
    }
    for content, message in expected.items():
        three.write_bytes(content)
        with pytest.raises(UsageError, match=message) as raised:
            Pool.open(three)
        assert "three.tfrecord" in str(raised.value) and "\n" not in str(raised.value)


def test_damage_found_at_reading(three):
    pool = Pool.open(three, 1)
    whole = three.read_bytes()
    expected = {
        whole.replace(b"B" * 9, b"BBBBCBBBB"): "at byte 48 stands a record's data that does not fit its checksum",
        whole[:95] + b"?" + whole[96:]: "at byte 48 stands a record's data",
        whole[:60]: "at byte 48 stands a record of 32 bytes, which is cut off",
        whole[:48]: "at byte 48 stands a record's header of 0 bytes",
    }
    for content, message in expected.items():
        three.write_bytes(content)
        with pytest.raises(LAEError, match=f"damaged or has changed: {message}") as raised:
            rows(pool)
        assert "three.tfrecord" in str(raised.value) and "\n" not in str(raised.value)
        # TensorFlow refuses the same file at the same record.
        with pytest.raises((tf.errors.DataLossError, StopIteration)):
            reader = iter(tf.data.TFRecordDataset(str(three)))
            next(reader), next(reader)


def test_both_kinds_in_one_folder_are_refused(three):
    pd.DataFrame({"path": ["a.png"]}).to_parquet(three.parent / "p.parquet")
    with pytest.raises(UsageError, match=r"holds Parquet \(.*p\.parquet\) and TFRecord \(.*three\.tfrecord\)"):
        Pool.open(three.parent)


# --- scored -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pools(images, tmp_path_factory):
    """The same 40 images in Parquet and in a folder of TFRecord files; rows 5 and 30 hold none."""
    folder = tmp_path_factory.mktemp("pools")
    frame = pd.concat([images] * 4, ignore_index=True).head(40).astype(object)
    frame["image_bytes"] = [Path(path).read_bytes() for path in frame["path"]]
    frame.loc[[5, 30], "image_bytes"] = [b"no image", b""]
    frame["path"] = [f"frame {row}" for row in frame.index]
    frame.to_parquet(folder / "p.parquet", row_group_size=17)
    records = [
        example(image_bytes=image, path=path.encode(), group=group.encode())
        for image, path, group in zip(frame["image_bytes"], frame["path"], frame["group"], strict=True)
    ]
    (folder / "records").mkdir()
    write(folder / "records" / "p-00000-of-00002.tfrecord", records[:23])
    write(folder / "records" / "p-00001-of-00002.tfrecord", records[23:])
    return folder / "p.parquet", folder / "records"


@pytest.mark.parametrize("engine", ["local", "beam"])
def test_scores_are_those_of_the_same_images_in_parquet(export, pools, tmp_path, lae_tf_command, engine):
    if engine == "beam":
        pytest.importorskip("apache_beam")
    parquet, records = pools
    arguments = ("--shard-rows", 9, "--top-k", 5, "--per-group", 2)
    assert lae_tf_command("score", export, parquet, tmp_path / "p.parquet", *arguments)[0] == 0
    code, _, err = lae_tf_command("score", export, records, tmp_path / "r.parquet", *arguments, "--engine", engine)
    assert code == 0, err
    for kind in ("", ".errors", ".top"):
        expected, found = (pq.read_table(tmp_path / f"{name}{kind}.parquet").to_pandas() for name in "pr")
        if kind != ".top":
            found = found.sort_values("row").reset_index(drop=True)
        assert len(found) == len(expected)
        numbers = [name for name in ("score", "logit") if name in expected]
        np.testing.assert_allclose(found[numbers], expected[numbers], atol=1e-5)
        # Among the best, images that occur several times may change places by rounding.
        if kind != ".top":
            pd.testing.assert_frame_equal(found.drop(columns=numbers), expected.drop(columns=numbers))
    assert list(pd.read_parquet(tmp_path / "r.errors.parquet")["row"].sort_values()) == [5, 30]


def test_a_damaged_shard_stops_and_the_finished_ones_are_kept(export, pools, tmp_path, lae_tf_command):
    """As with Parquet: what is mended is scored from there on."""
    whole = min(pools[1].iterdir()).read_bytes()
    pool, out = tmp_path / "p.tfrecord", tmp_path / "s.parquet"
    pool.write_bytes(whole)
    state = os.stat(pool)
    pool.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
    os.utime(pool, ns=(state.st_mtime_ns, state.st_mtime_ns))
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 5)
    assert code == 1 and "does not fit its checksum" in err and not out.exists()
    assert len(list((tmp_path / "s.parquet.parts").glob("*.parquet"))) == 4
    pool.write_bytes(whole)
    os.utime(pool, ns=(state.st_mtime_ns, state.st_mtime_ns))
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 5)
    assert code == 0 and "20/23" in err
    assert list(pd.read_parquet(out)["row"]) == [row for row in range(23) if row != 5]


def test_a_kill_within_a_shard_loses_and_repeats_no_row(export, pools, tmp_path, lae_tf_command):
    records = [record.numpy() for file in sorted(pools[1].iterdir()) for record in tf.data.TFRecordDataset(str(file))]
    pool, out = write(tmp_path / "p.tfrecord", records * 15), tmp_path / "s.parquet"
    command = [sys.executable, "-m", "lae_tf.cli.main", "score", str(export), str(pool), str(out), "--shard-rows", "6"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    parts = tmp_path / "s.parquet.parts"
    while len(list(parts.glob("*.parquet"))) < 5:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()  # SIGKILL: within the sixth shard, or soon after
    assert process.wait() == -signal.SIGKILL
    finished = len(list(parts.glob("*.parquet")))
    assert 5 <= finished < 100 and not out.exists()
    code, _, err = lae_tf_command("score", export, pool, out, "--shard-rows", 6)
    assert code == 0 and f"{6 * finished}/600" in err  # where the bar starts
    scored, failed = pd.read_parquet(out), pd.read_parquet(tmp_path / "s.errors.parquet")
    assert sorted([*scored["row"], *failed["row"]]) == list(range(600))
    assert list(failed["row"]) == sorted(first + row for first in range(0, 600, 40) for row in (5, 30))
    # The same 40 images again and again have the same scores, before the kill and after.
    assert (scored.groupby("path")["score"].agg(np.ptp) < 1e-5).all() and scored["path"].nunique() == 38
