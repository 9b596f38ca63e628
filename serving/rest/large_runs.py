"""Runs requests with many pixels: apart from the others, in parts, and no more at one time than there is room for."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from lae_tf.runtime.allocator import release_freed_memory
from lae_tf.serving.engine.loaded_model import LoadedModel
from lae_tf.serving.engine.signature import DEFAULT_SIGNATURE, Tensors
from lae_tf.serving.errors import Code, ServingError, TooLarge
from lae_tf.serving.rest.image_limit import ENCODED
from lae_tf.video.face_places import FACES, as_input

# What one run decodes at most, unless a single image has more, and what is run together with other requests.
_RUN_PIXELS, _RUN_ROWS = 8_000_000, 32
_POSITIONS = re.compile(r"(?<=at position )\d+(?:, \d+)*(?= of the batch)")


def is_large(pixels: Sequence[int]) -> bool:
    """Tell by the pixels of its rows whether a request is one of these."""
    return sum(pixels) > _RUN_PIXELS or len(pixels) > _RUN_ROWS


def reserve_memory(model: LoadedModel, pixels: int) -> None:
    """Decode an image of the largest size that is allowed, where the model takes image files.

    TensorFlow keeps the memory of its tensors for the next ones. Taken now, it is missed at the start and not while
    others are being answered, and what the server holds stays as it is.

    Args:
        model: just loaded.
        pixels: width times height.
    """
    signature = model.signatures.get(DEFAULT_SIGNATURE)
    if signature is None or ENCODED not in signature.inputs:
        return
    file = io.BytesIO()
    side = math.isqrt(pixels)
    Image.new("1", (side, side)).save(file, "PNG")
    with contextlib.suppress(ServingError):  # another model may want more of an image than its size
        faces = {FACES: as_input([[(0, 0, side)]])} if FACES in signature.inputs else {}
        model.run(DEFAULT_SIGNATURE, {ENCODED: np.array([file.getvalue(), None], object)[:1], **faces})


class LargeRuns:
    """Threads that run requests with many pixels.

    Args:
        threads: how many run at one time.
        pixels_held: how many pixels they and the waiting ones may have together.
    """

    def __init__(self, threads: int, pixels_held: int):
        self._executor = ThreadPoolExecutor(threads, "lae-tf-large")
        self._limit = pixels_held
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.pixels_held = 0

    async def run(self, model: LoadedModel, signature: str, inputs: Tensors, pixels: Sequence[int]) -> Tensors:
        """Run a request; when cancelled, it stops after the part that is running.

        Args:
            model: to run.
            signature: its signature.
            inputs: of the signature.
            pixels: of each row of the inputs.

        Raises:
            TooLarge: those in progress have too many pixels.
            ServingError: what is wrong with the request, by the positions of the first part that failed.
        """
        total = sum(pixels)
        if not self._hold(total):
            raise TooLarge(
                f"The requests in progress have {self.pixels_held} pixels to decode, this one {total} more; this "
                f"server accepts {self._limit} at one time. Try again later.",
                for_now=True,
            )
        gone = threading.Event()
        future = self._executor.submit(self._run, model, signature, inputs, _parts(inputs, pixels), gone)
        future.add_done_callback(lambda _: self._release(total))
        try:
            return await asyncio.wrap_future(future)
        finally:
            gone.set()

    def close(self) -> None:
        """End the threads after the parts that are running."""
        self._closed.set()
        self._executor.shutdown(cancel_futures=True)

    def _hold(self, pixels: int) -> bool:
        with self._lock:
            if self.pixels_held + pixels > self._limit:
                return False
            self.pixels_held += pixels
            return True

    def _release(self, pixels: int) -> None:
        with self._lock:
            self.pixels_held -= pixels

    def _run(
        self, model: LoadedModel, signature: str, inputs: Tensors, parts: Sequence[slice], gone: threading.Event
    ) -> Tensors:
        try:
            return self._run_parts(model, signature, inputs, parts, gone)
        finally:
            release_freed_memory()

    def _run_parts(
        self, model: LoadedModel, signature: str, inputs: Tensors, parts: Sequence[slice], gone: threading.Event
    ) -> Tensors:
        pieces = []
        for rows in parts:
            if gone.is_set() or self._closed.is_set():
                raise ServingError(Code.CANCELLED, "Nobody waits for the answer any more")
            if len(parts) == 1:
                return model.run(signature, inputs)
            try:
                outputs = model.run(signature, {name: value[rows] for name, value in inputs.items()})
            except ServingError as error:
                raise ServingError(error.code, _POSITIONS.sub(_shifted(rows.start), error.message)) from error
            if any(not value.ndim or len(value) != rows.stop - rows.start for value in outputs.values()):
                return model.run(signature, inputs)  # its outputs are no batch, and cannot be put together
            pieces.append(outputs)
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _parts(inputs: Tensors, pixels: Sequence[int]) -> list[slice]:
    """Cut a request into rows that are run together; into one part where its inputs are no batch."""
    if any(not value.ndim or len(value) != len(pixels) for value in inputs.values()):
        return [slice(0, len(pixels))]
    return list(_slices(pixels))


def _slices(pixels: Sequence[int]) -> Iterator[slice]:
    start = held = 0
    for row, count in enumerate(pixels):
        if row > start and (held + count > _RUN_PIXELS or row - start >= _RUN_ROWS):
            yield slice(start, row)
            start, held = row, 0
        held += count
    yield slice(start, len(pixels))


def _shifted(offset: int) -> Callable[[re.Match[str]], str]:
    return lambda match: ", ".join(str(int(number) + offset) for number in match.group().split(", "))
