"""Files and folders that appear whole or not at all: made beside their place under a temporary name, then renamed.

What a kill left under such a name goes when the next process writes into the same folder: whoever makes something holds
a lock on it, which ends with the process.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from lae_tf.files.locking import try_lock

_TEMPORARY = re.compile(r"\.(.+-)?[0-9a-f]{32}(\.tmp(\..+)?)?")
_tidied: set[str] = set()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
    """Give a hidden, empty file beside ``path``, of the same suffix, and rename it to ``path`` if all went well.

    The folder is created if it is missing. Whatever was written is removed if something is raised.

    Args:
        path: what to replace, or make.
        durable: see to it that the file outlives a power cut from here on, a few milliseconds each: for what cannot
            be made again.
    """
    path = Path(path)
    with _held(path.with_name(f".{uuid.uuid4().hex}.tmp{path.suffix}"), folder=False) as temporary:
        yield temporary
        if durable:
            _synchronise(temporary)
        temporary.replace(path)
    if durable:
        _synchronise(path.parent)


@contextlib.contextmanager
def building(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a hidden, empty folder beside ``folder``, to be filled and renamed, or emptied; what is left of it goes.

    The parent is created if it is missing.
    """
    folder = Path(folder)
    with _held(folder.with_name(f".{folder.name}-{uuid.uuid4().hex}.tmp"), folder=True) as temporary:
        yield temporary


def write_bytes(path: str | os.PathLike[str], data: bytes, durable: bool = False) -> None:
    """Write a file; the folder is created if it is missing. ``durable`` as in :func:`replacing`."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str, durable: bool = False) -> None:
    """Write text as UTF-8; bytes of file names that are no text are kept; else as :func:`write_bytes`."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"), durable)


@contextlib.contextmanager
def _held(path: Path, folder: bool) -> Iterator[Path]:
    """Make a temporary file or folder, hold a lock on it, and remove what is left of it in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(str(path.parent))
    lock = None
    try:
        while lock is None:
            if folder:
                path.mkdir()
            lock = os.open(path, os.O_RDONLY if folder else os.O_CREAT | os.O_RDWR, 0o666)
            if not try_lock(lock, unsupported=True) or not path.exists():  # another process tidied up just then
                os.close(lock)
                lock = None
        yield path
    finally:
        if folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _tidy(folder: str) -> None:
    """Remove what killed processes left in a folder; once a process and folder."""
    if folder in _tidied:
        return
    _tidied.add(folder)
    for name in filter(_TEMPORARY.fullmatch, os.listdir(folder)):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if not try_lock(lock, unsupported=False):
                    continue
                if os.path.isdir(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    os.unlink(path)
            finally:
                os.close(lock)


def _synchronise(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def keep_copy(file: Path) -> Path:
    """Copy a file to ``NAME.bak-N`` beside it, with the first N that is free, and return the copy."""
    number = 1
    while (copy := file.with_name(f"{file.name}.bak-{number}")).exists():
        number += 1
    return Path(shutil.copy2(file, copy))
