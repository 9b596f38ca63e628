"""Files appear whole or not at all, and nothing else is left beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lae_tf.files import atomic
from lae_tf.files.atomic import building, replacing, write_bytes, write_text


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


KILLED = """
import os, sys
from pathlib import Path
from lae_tf.files.atomic import building, replacing
with replacing(Path(sys.argv[1]) / "mask.png"), building(Path(sys.argv[1]) / "1") as folder:
    (folder / "file").touch()
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_kill_left_goes_with_the_next_file_and_what_lives_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        processes.append((process, set(os.listdir(tmp_path))))
    (killed, left), (alive, both) = processes
    assert len(left) == 2 and left < both and len(both) == 4
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    # Names of older versions, and what is not ours.
    old = f".masks-drawn-{'0' * 32}"
    (tmp_path / old).mkdir()
    for name in (f".{'f' * 32}.tmp.keras", ".hidden", f"{'f' * 32}.tmp", ".tmp", ".deadbeef.tmp.png"):
        (tmp_path / name).touch()
    monkeypatch.setattr(atomic, "_tidied", set())
    write_text(tmp_path / "new.txt", "new")
    kept = {"new.txt", ".hidden", f"{'f' * 32}.tmp", ".tmp", ".deadbeef.tmp.png"}
    assert set(os.listdir(tmp_path)) == (both - left) | kept
    alive.communicate("")
    assert set(os.listdir(tmp_path)) == kept | {"mask.png"}


def test_a_folder_is_built_beside_its_place(tmp_path: Path) -> None:
    with building(tmp_path / "out" / "1") as folder:
        (folder / "x").touch()
        folder.rename(tmp_path / "out" / "1")
    assert os.listdir(tmp_path / "out") == ["1"] and os.listdir(tmp_path / "out" / "1") == ["x"]
    with pytest.raises(ValueError, match="half way"), building(tmp_path / "out" / "2") as folder:
        (folder / "x").touch()
        raise ValueError("half way")
    assert os.listdir(tmp_path / "out") == ["1"]


def test_a_durable_file_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, int]] = []
    synchronise, replace = os.fsync, Path.replace

    def fsync(file: int) -> None:
        events.append(("fsync", os.fstat(file).st_ino))
        synchronise(file)

    def renamed(path: Path, target: Path) -> Path:
        events.append(("rename", path.stat().st_ino))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "quick.txt", "x")
    assert [event for event, _ in events] == ["rename"]
    events.clear()
    write_text(tmp_path / "state.json", "{}", durable=True)
    file, folder = (tmp_path / "state.json").stat().st_ino, tmp_path.stat().st_ino
    assert events == [("fsync", file), ("rename", file), ("fsync", folder)]
