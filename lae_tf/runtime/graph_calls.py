"""Calls of Python from tf.data graphs, over before the interpreter is.

TensorFlow makes them on threads of its own, also for batches that a script will never fetch. A thread that is within
one while the interpreter ends does not come back, and the process waits for it for ever. So at exit calls are refused,
and the exit waits until refusals have filled the buffers and the threads rest.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import tensorflow as tf

REST = 0.2  # seconds without a call
PATIENCE = 10.0  # seconds to wait for that


class Gate:
    """Counts the calls within, and once closed refuses others."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun = 0
        self._running = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._lock:
            self._begun += 1
            if self._closed:
                raise StopIteration
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1

    def close(self) -> None:
        """Refuse calls from now on; return when none is running and no other has come for a while."""
        with self._lock:
            self._closed = True
        seen = 0
        deadline = time.monotonic() + PATIENCE
        while (self._running or self._begun != seen) and time.monotonic() < deadline:
            seen = self._begun
            time.sleep(REST)


_gate = Gate()
atexit.register(_gate.close)


def call_python(function: Callable[..., Any], inputs: Sequence[Any], types: Any) -> Any:
    """Return the tensors of a function of NumPy arrays that has no state, as ``tf.numpy_function`` does.

    Args:
        function: arrays to an array, or to as many as there are types.
        inputs: tensors.
        types: a dtype, or a sequence of them.
    """

    def call(*values: Any) -> Any:
        with _gate:
            return function(*values)

    return tf.numpy_function(call, inputs, types, stateful=False)
