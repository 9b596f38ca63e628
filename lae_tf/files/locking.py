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
        if not try_lock(lock, unsupported=True):
            os.close(lock)
            raise LAEError(refusal)
        if _is_open(file, lock):
            break
        os.close(lock)  # whoever held it has removed it just then
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def try_lock(file: int, unsupported: bool) -> bool:
    """Lock an open file or folder, if nobody else has; ``unsupported`` is the answer where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return unsupported
    return True


def _is_open(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False
