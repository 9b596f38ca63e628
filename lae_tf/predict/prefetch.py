"""Batches that threads read ahead while the model works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetched(
    load: Callable[[T], R], items: Iterable[T], batch_size: int, readers: ThreadPoolExecutor
) -> Iterator[list[R]]:
    """Yield the items loaded, ``batch_size`` at a time and in order; the next batch is loaded meanwhile."""
    pending = iter(items)

    def submit() -> list:
        return [readers.submit(load, item) for item in islice(pending, batch_size)]

    upcoming = submit()
    while upcoming:
        current, upcoming = upcoming, submit()
        yield [future.result() for future in current]
