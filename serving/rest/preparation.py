"""Prepares requests without holding up the others: dear ones in processes of their own, which can be stopped.

Python's parsers hold the interpreter from the first byte to the last. What a body costs shows in how many JSON values
it may hold: an image in base64 is one, whatever its size.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import anyio
from anyio import to_process

from lae_tf.runtime.allocator import release_freed_memory
from lae_tf.serving.errors import ServingError, TooLarge
from lae_tf.serving.rest.inference import Found, Prepared, looks_for_faces, prepare
from lae_tf.serving.rest.request_body import Limits

# Below these, a body is prepared at once, and in a thread; a hop to it costs more than less work.
INLINE_BYTES, _THREAD_BYTES = 64 * 1024, 16 * 2**20
_FEW_TOKENS = 2000
_TOKENS = b"[{,:\\"
_STRIDE = 2**20
_PROCESSES = 2
_DETECTORS = 2  # threads that look for faces
_PROCESS_BYTES = 2 * 2**30  # of address space: a list takes some thirty times its text
_NICE = 10
_STRINGS = 100_000  # in a request: each is an object, also for TensorFlow, which holds the interpreter meanwhile


class Preparation:
    """Prepares requests of one application."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._processes: anyio.CapacityLimiter | None = None
        self._detectors = ThreadPoolExecutor(_DETECTORS, "lae-tf-faces")

    async def prepare(self, verb: str, body: bytes, found: Found) -> Prepared:
        """Do as :func:`lae_tf.serving.rest.inference.prepare`; when cancelled, a process that is at it is killed.

        Raises:
            ServingError: what is wrong with the request, or the model is not served.
            TooLarge: it takes more memory than this server gives a request.
        """
        if len(body) > _THREAD_BYTES or _has_many_tokens(body):
            return await self._in_process(verb, body, found)
        if looks_for_faces(found):
            # Apart from other models' requests, which would wait for the threads.
            call = partial(prepare, verb, body, found, self._limits)
            return await asyncio.get_running_loop().run_in_executor(self._detectors, call)
        if len(body) > INLINE_BYTES:
            return await asyncio.to_thread(prepare, verb, body, found, self._limits)
        return prepare(verb, body, found, self._limits)

    async def _in_process(self, verb: str, body: bytes, found: Found) -> Prepared:
        if self._processes is None:  # belongs to the running event loop
            self._processes = anyio.CapacityLimiter(_PROCESSES)
        try:
            answer = await to_process.run_sync(
                _prepare_apart, verb, body, found, self._limits, cancellable=True, limiter=self._processes
            )
        except anyio.BrokenWorkerProcess:
            raise _out_of_memory() from None
        if isinstance(answer, ServingError):
            raise answer
        return answer


def _prepare_apart(verb: str, body: bytes, found: Found, limits: Limits) -> Prepared | ServingError:
    """Prepare a request, in a process that has to hold no more than so much memory and gives way to the server."""
    _restrict_process()
    try:
        prepared = prepare(verb, body, found, limits)
        strings = sum(value.size for value in prepared.inputs.values() if value.dtype == object)
        if strings > _STRINGS:
            return TooLarge(f"The request holds {strings} strings; this server accepts {_STRINGS} a request")
        return prepared
    except ServingError as error:
        return error
    except MemoryError:
        return _out_of_memory()
    finally:
        release_freed_memory()


@cache
def _restrict_process() -> None:
    if sys.platform == "win32":
        return
    import resource

    os.nice(_NICE)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_PROCESS_BYTES, hard))


def _out_of_memory() -> TooLarge:
    return TooLarge(f"Reading the JSON of this request takes more than {_PROCESS_BYTES >> 20} MiB of memory")


def _has_many_tokens(body: bytes) -> bool:
    tokens = 0
    for start in range(0, len(body), _STRIDE):
        part = body[start : start + _STRIDE]
        tokens += len(part) - len(part.translate(None, _TOKENS))
        if tokens > _FEW_TOKENS:
            return True
    return False
