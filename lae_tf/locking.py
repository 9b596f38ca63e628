"""One process at a time: a lock on a file that goes with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lae_tf.errors import LAEError


@contextlib.contextmanager
def locked(file: Path, refusal: str) -> Iterator[None]:
    """Hold the lock on a file, which is made with its folder and stays.

    Args:
        file: to lock; a file that an ended process left is no obstacle.
        refusal: what to say if another process, or another part of this one, holds it.

    Raises:
        LAEError: ``refusal``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LAEError(refusal) from None
    except NotImplementedError:  # a file system without locks: as if there were none
        yield
        return
    try:
        yield
    finally:
        lock.release()
