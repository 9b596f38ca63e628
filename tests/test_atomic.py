"""Files appear whole or not at all, and nothing else is left beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lae_tf.atomic import replacing, write_bytes, write_text


def test_a_file_is_replaced_only_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.parquet"
    write_bytes(path, b"old")
    with replacing(path) as temporary:
        assert temporary.suffix == ".parquet" and temporary.name.startswith(".")
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(ValueError, match="half way"), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ValueError("half way")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_renaming_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    write_text(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]


def test_names_that_are_no_text_keep_their_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "list.txt", os.fsdecode("é ".encode() + b"\xff"))
    assert (tmp_path / "list.txt").read_bytes() == "é ".encode() + b"\xff"
