"""One process at a time: a lock on a file that goes with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from lae_tf.errors import LAEError


@contextlib.contextmanager
def locked(file: Path, refusal: str) -> Iterator[None]:
    """Hold the lock on a file, which is made with its folder, and removed in the end.

    Args:
        file: to lock; one that a killed process left is no obstacle.
        refusal: what to say if another process, or another part of this one, holds it.

    Raises:
        LAEError: ``refusal``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        lock = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise LAEError(refusal) from None
        except OSError:  # a file system without locks: as if there were none
            break
        if _is_open(file, lock):
            break
        os.close(lock)  # whoever held it has removed it just then
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def _is_open(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False
