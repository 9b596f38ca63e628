"""Gives memory back to the system after requests that needed much of it."""

from __future__ import annotations

import asyncio

from lae_tf.runtime.allocator import release_freed_memory

_PAUSE_SECONDS = 1.0


class MemoryRelease:
    """Returns freed memory in the background, some time after it was asked to, once for all who asked."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Ask for it, from a coroutine."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._release())

    async def _release(self) -> None:
        await asyncio.sleep(_PAUSE_SECONDS)
        await asyncio.to_thread(release_freed_memory)
