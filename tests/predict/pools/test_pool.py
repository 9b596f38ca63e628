"""A pool is read in shards, each row in exactly one, whatever the row groups are."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.errors import LAEError, UsageError
from lae_tf.predict.pools.pool import Pool


def write(path, count, row_group_size=None, first=0, **columns):
    names = [f"{row}.png" for row in range(first, first + count)]
    pq.write_table(pa.table({"path": names, **columns}), path, row_group_size=row_group_size)
    return path


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 25))
def test_every_row_once_and_in_order(tmp_path_factory, count, row_group_size, shard_rows):
    path = write(tmp_path_factory.mktemp("pool") / "p.parquet", count, row_group_size)
    pool = Pool.open(path, shard_rows)
    assert pool.rows == count and all(shard.rows <= shard_rows for shard in pool.shards)
    read = list(pool.read(pool.shards))
    assert [name for _, table in read for name in table["path"].to_pylist()] == [f"{row}.png" for row in range(count)]
    for shard, table in read:
        assert table["path"][0].as_py() == f"{shard.first}.png" and table.num_rows == shard.rows
    # Some shards are done already; each can be read alone.
    for shard, table in pool.read(pool.shards[1::2]):
        assert table["path"].to_pylist() == [f"{row}.png" for row in range(shard.first, shard.first + shard.rows)]


def test_a_folder_is_one_pool_in_the_order_of_its_files(tmp_path):
    write(tmp_path / "b.parquet", 3, first=4)
    write(tmp_path / "a.parquet", 4)
    pool = Pool.open(tmp_path, 10)
    assert [(shard.first, shard.rows) for shard in pool.shards] == [(0, 4), (4, 3)]
    assert [table["path"][0].as_py() for _, table in pool.read(pool.shards)] == ["0.png", "4.png"]


def test_a_manifest_is_a_pool_and_its_other_columns_are_not_read(tmp_path):
    frame = pd.DataFrame({"path": ["a.png"], "label": ["real"], "group": pd.Categorical(["g"]), "huge": [b"x" * 1000]})
    frame.to_parquet(tmp_path / "m.parquet")
    pool = Pool.open(tmp_path / "m.parquet")
    assert pool.columns == ("path", "group")
    ((_, table),) = pool.read(pool.shards)
    assert table.to_pylist() == [{"path": "a.png", "group": "g"}]
    assert table.schema.types == [pa.string(), pa.string()]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_kinds_of_text(tmp_path, kind):
    pq.write_table(pa.table({"path": pa.array(["a", None, "c"]).cast(kind)}), tmp_path / "p.parquet")
    pool = Pool.open(tmp_path / "p.parquet")
    ((_, table),) = pool.read(pool.shards)
    assert table["path"].to_pylist() == ["a", None, "c"]


def test_wrong_pools_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.parquet").write_text("path\na.png\n")
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "column.parquet")
    pq.write_table(pa.table({"path": [1]}), tmp_path / "number.parquet")
    pq.write_table(pa.table({"path": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    (tmp_path / "folder").mkdir()
    expected = {
        "none.parquet": "no such Parquet or TFRecord file",
        "folder": "no such Parquet or TFRecord file",
        "text.parquet": "cannot be read as Parquet",
        "column.parquet": "has no column 'path'; it has file",
        "number.parquet": "column 'path' holds int64, expected string",
        "empty.parquet": "has no rows",
    }
    for name, message in expected.items():
        with pytest.raises(UsageError, match=message) as raised:
            Pool.open(tmp_path / name)
        assert name in str(raised.value) and "\n" not in str(raised.value)


def test_files_of_different_columns_are_refused(tmp_path):
    write(tmp_path / "a.parquet", 1)
    write(tmp_path / "b.parquet", 1, group=["g"])
    with pytest.raises(UsageError, match="differ in their columns"):
        Pool.open(tmp_path)


def test_a_file_that_became_shorter_is_reported(tmp_path):
    pool = Pool.open(write(tmp_path / "p.parquet", 20), 8)
    write(tmp_path / "p.parquet", 10)
    with pytest.raises(LAEError, match=r"p\.parquet: cannot be read at row group 0"):
        list(pool.read(pool.shards))


def test_text_that_is_no_text_is_reported(tmp_path):
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"ab\xff\xfe"))
    pq.write_table(pa.table({"path": broken}), tmp_path / "p.parquet")
    pool = Pool.open(tmp_path / "p.parquet")
    with pytest.raises(LAEError, match=r"p\.parquet: cannot be read at row group 0.*UTF8"):
        list(pool.read(pool.shards))
