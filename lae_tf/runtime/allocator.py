"""The C allocator: set up for training, where every step asks for what the last one freed, or told to let go of it."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_PAD = 64 << 20  # bytes that the heap grows by
_LARGE = 1 << 20  # bytes of a buffer that is returned at once


def keep_freed_memory() -> bool:
    """Stop glibc from returning large buffers to the system.

    TensorFlow takes feature maps on CPUs straight from malloc, and glibc maps each such buffer anew and unmaps it
    afterwards. Every page of it is then cleared and faulted in again in every step, which costs a training step
    up to half its arithmetic again where page faults are dear, as in virtual machines. The price is that the process
    keeps its peak of memory until it ends.

    It changes the whole process, so that the commands and the benchmark's processes call it, and the library does not.

    Returns:
        Whether there is a glibc that took the settings.
    """
    return _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1 - _PAD), (_TOP_PAD, _PAD))


def return_large_buffers() -> bool:
    """Let glibc return every large buffer to the system when it is freed, as a server wants it that runs for weeks.

    By itself glibc keeps up to 32 MiB, in each thread, once such a buffer has been freed. It changes the whole process.

    Returns:
        Whether there is a glibc that took the setting.
    """
    return _set((_MMAP_THRESHOLD, _LARGE))


def _set(*settings: tuple[int, int]) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(parameter, value) == 1 for parameter, value in settings)


def release_freed_memory() -> None:
    """Return what glibc holds and nobody uses to the system; takes milliseconds. Without glibc it does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
