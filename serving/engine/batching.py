"""Runs requests on worker threads, several of one signature together where batching is on.

Requests may share a run when they mean the same version and signature and their arrays have the same dtypes
and inner shapes. An error of a shared run says nothing about whose input was at fault, so each request of
that batch is then run alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from lae_tf.serving.engine.config_files import BatchingParameters
from lae_tf.serving.engine.loaded_model import LoadedModel
from lae_tf.serving.engine.signature import Tensors
from lae_tf.serving.errors import Code, ServingError, from_exception, invalid


@dataclass(eq=False)
class _Task:
    model: LoadedModel
    signature: str
    inputs: Tensors
    rows: int
    future: Future[Tensors] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class _Queue:
    """Tasks that may share a run, in the order of arrival."""

    def __init__(self) -> None:
        self.tasks: deque[_Task] = deque()
        self.rows = 0


class Batcher:
    """A pool of threads that runs signatures.

    Args:
        parameters: how to form batches; None runs each request alone.
        threads: number of worker threads without batching; with it, ``num_batch_threads`` counts.
        max_queued: requests that may wait without batching; with it, ``max_enqueued_batches`` counts, for
            each kind of request.
    """

    def __init__(self, parameters: BatchingParameters | None, threads: int, max_queued: int):
        self._parameters = parameters
        self._max_queued = max_queued
        self._queues: dict[Hashable, _Queue] = {}
        self._waiting = 0
        self._changed = threading.Condition()
        self._closed = False
        self._batch_sizes: dict[int, int] = {}
        count = parameters.num_batch_threads if parameters else threads
        self._workers = [
            threading.Thread(target=self._work, name=f"lae-tf-run-{index}", daemon=True) for index in range(count)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, model: LoadedModel, signature: str, inputs: Tensors) -> Future[Tensors]:
        """Queue a request; a future that is cancelled before its turn is never run.

        Raises:
            ServingError: RESOURCE_EXHAUSTED: the queue is full; INVALID_ARGUMENT: inputs that cannot be
                batched, or more rows than ``max_batch_size``.
        """
        rows = 1 if self._parameters is None else _rows(inputs, self._parameters.max_batch_size)
        task = _Task(model, signature, inputs, rows)
        with self._changed:
            if self._closed:
                raise ServingError(Code.UNAVAILABLE, "The server is shutting down")
            key: Hashable = task if self._parameters is None else _key(task)
            queue = self._queues.get(key, _Queue())
            if self._is_full(queue, rows):
                raise ServingError(
                    Code.RESOURCE_EXHAUSTED,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            self._queues[key] = queue
            queue.tasks.append(task)
            queue.rows += rows
            self._waiting += 1
            self._changed.notify()
        task.future.add_done_callback(lambda future: self._forget(task, key) if future.cancelled() else None)
        return task.future

    def _forget(self, task: _Task, key: Hashable) -> None:
        """Drop a cancelled request, whose inputs would else be held until its turn."""
        with self._changed:
            queue = self._queues.get(key)
            if queue is None or task not in queue.tasks:
                return
            queue.tasks.remove(task)
            queue.rows -= task.rows
            self._waiting -= 1
            if not queue.tasks:
                del self._queues[key]

    def close(self) -> None:
        """Finish what is queued, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    @property
    def waiting(self) -> int:
        """Number of requests that are queued and not yet running."""
        return self._waiting

    def batch_sizes(self) -> dict[int, int]:
        """Return how often so many requests ran together."""
        with self._changed:
            return dict(self._batch_sizes)

    def _is_full(self, queue: _Queue, rows: int) -> bool:
        if self._parameters is None:
            return self._waiting >= self._max_queued
        return queue.rows + rows > self._parameters.max_enqueued_batches * self._parameters.max_batch_size

    def _work(self) -> None:
        while True:
            with self._changed:
                batch = self._next_batch()
                while batch is None:
                    if self._closed and not self._queues:
                        return
                    self._changed.wait(self._seconds_to_next())
                    batch = self._next_batch()
            batch = [task for task in batch if task.future.set_running_or_notify_cancel()]
            if batch:
                self._run(batch)

    def _next_batch(self) -> list[_Task] | None:
        """Take the tasks of the queue that has waited longest, if a full batch or its time has come."""
        now = time.monotonic()
        for key, queue in self._queues.items():
            if self._ready_at(queue) > now:
                continue
            limit = self._parameters.max_batch_size if self._parameters else 1
            batch: list[_Task] = []
            rows = 0
            while queue.tasks and rows + queue.tasks[0].rows <= limit:
                batch.append(queue.tasks.popleft())
                rows += batch[-1].rows
            queue.rows -= rows
            self._waiting -= len(batch)
            # What is left goes to the end of the line, so that no kind of request starves another.
            del self._queues[key]
            if queue.tasks:
                self._queues[key] = queue
                self._changed.notify()
            return batch
        return None

    def _ready_at(self, queue: _Queue) -> float:
        if self._parameters is None or self._closed or queue.rows >= self._parameters.max_batch_size:
            return 0.0
        return queue.tasks[0].arrived + self._parameters.batch_timeout_micros / 1e6

    def _seconds_to_next(self) -> float | None:
        times = [self._ready_at(queue) for queue in self._queues.values()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _run(self, batch: list[_Task]) -> None:
        with self._changed:
            self._batch_sizes[len(batch)] = self._batch_sizes.get(len(batch), 0) + 1
        try:
            results = self._outputs(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(from_exception(error))
                return
            for task in batch:
                self._run([task])
            return
        for task, result in zip(batch, results, strict=True):
            task.future.set_result(result)

    def _outputs(self, batch: list[_Task]) -> list[Tensors]:
        first = batch[0]
        if self._parameters is None:
            return [first.model.run(first.signature, first.inputs)]
        inputs = {name: np.concatenate([task.inputs[name] for task in batch]) for name in first.inputs}
        rows = sum(task.rows for task in batch)
        step = self._parameters.max_execution_batch_size if self._parameters.enable_large_batch_splitting else rows
        pieces = []
        for start in range(0, max(rows, 1), max(step, 1)):
            part = {name: value[start : start + step] for name, value in inputs.items()}
            pieces.append(self._run_rows(first, part, self._parameters.allowed_batch_sizes))
        outputs = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        ends = np.cumsum([task.rows for task in batch])
        return [
            {name: value[end - task.rows : end] for name, value in outputs.items()}
            for task, end in zip(batch, ends.tolist(), strict=True)
        ]

    @staticmethod
    def _run_rows(task: _Task, inputs: Tensors, allowed_sizes: Sequence[int]) -> dict[str, np.ndarray]:
        """Run one batch, filled up to an allowed size by repeating its last row."""
        rows = len(next(iter(inputs.values())))
        size = next((size for size in allowed_sizes if size >= rows), rows)
        if 0 < rows < size:
            inputs = {
                name: np.concatenate([value, np.repeat(value[-1:], size - rows, axis=0)])
                for name, value in inputs.items()
            }
        else:
            size = rows
        outputs = task.model.run(task.signature, inputs)
        for value in outputs.values():
            if not value.ndim:
                raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if len(value) != size:
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes "
                    "of the input tensors",
                )
        return {name: value[:rows] for name, value in outputs.items()}


def _rows(inputs: Tensors, limit: int) -> int:
    if not all(value.ndim for value in inputs.values()):
        raise invalid("Batching session Run() input tensors must have at least one dimension")
    sizes = {len(value) for value in inputs.values()}
    if len(sizes) > 1:
        raise invalid("Batching session Run() input tensors must have equal 0th-dimension size")
    (rows,) = sizes
    if rows > limit:
        raise invalid(f"Task size {rows} is larger than maximum input batch size {limit}")
    return rows


def _key(task: _Task) -> Hashable:
    shapes = tuple((name, value.dtype.str, value.shape[1:]) for name, value in task.inputs.items())
    return (id(task.model), task.signature, shapes)
