"""The batcher, on models that record what they are asked to run."""

import threading
import time

import numpy as np
import pytest

from lae_tf.serving.engine.batching import Batcher
from lae_tf.serving.engine.config_files import BatchingParameters
from lae_tf.serving.errors import Code, ServingError, invalid


class Doubler:
    """y = 2 x; waits while ``gate`` is closed, and refuses a batch with a negative number."""

    def __init__(self):
        self.sizes = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, signature, inputs):
        self.sizes.append(len(inputs["x"]))
        assert self.gate.wait(10)
        if (inputs["x"] < 0).any():
            raise invalid("negative")
        return {"scalar": np.float32(1)} if signature == "scalar" else {"y": inputs["x"] * 2}


@pytest.fixture
def start():
    batchers = []

    def start_one(threads=1, max_queued=8, **parameters):
        batching = BatchingParameters(num_batch_threads=threads, **parameters) if parameters else None
        batchers.append(Batcher(batching, threads, max_queued))
        return batchers[-1]

    yield start_one
    for batcher in batchers:
        batcher.close()


def x(*values):
    return {"x": np.array(values, np.float32)}


def held_up(batcher, model, signature="s"):
    """Occupy the only worker with a first request, so that the next ones wait together."""
    model.gate.clear()
    first = batcher.submit(model, signature, x(0))
    while batcher.waiting:
        time.sleep(0.001)
    return first


def test_without_parameters_each_request_runs_alone(start):
    model, batcher = Doubler(), start()
    first = held_up(batcher, model)
    others = [batcher.submit(model, "s", x(value, value)) for value in (1, 2)]
    model.gate.set()
    assert first.result(5)["y"].tolist() == [0]
    assert [future.result(5)["y"].tolist() for future in others] == [[2, 2], [4, 4]]
    assert model.sizes == [1, 2, 2]
    assert np.asarray(batcher.submit(model, "scalar", x(1)).result(5)["scalar"]).shape == ()


def test_waiting_requests_share_a_run(start):
    model, batcher = Doubler(), start(max_batch_size=4)
    first = held_up(batcher, model)
    others = [batcher.submit(model, "s", x(*([value] * size))) for value, size in ((1, 1), (2, 3), (3, 2))]
    model.gate.set()
    assert [future.result(5)["y"].tolist() for future in (first, *others)] == [[0], [2], [4, 4, 4], [6, 6]]
    assert model.sizes == [1, 4, 2]
    assert batcher.batch_sizes() == {1: 2, 2: 1}


def test_a_partial_batch_waits_for_its_time_and_a_full_one_does_not(start):
    model, batcher = Doubler(), start(max_batch_size=2, batch_timeout_micros=300_000)
    began = time.monotonic()
    batcher.submit(model, "s", x(1)).result(5)
    assert time.monotonic() - began >= 0.29
    began = time.monotonic()
    futures = [batcher.submit(model, "s", x(1)) for _ in range(2)]
    assert [future.result(5)["y"].tolist() for future in futures] == [[2], [2]]
    assert time.monotonic() - began < 0.25


def test_only_alike_requests_share_a_run(start):
    model, other, batcher = Doubler(), Doubler(), start(max_batch_size=8)
    first = held_up(batcher, model)
    wide = {"x": np.ones((1, 3), np.float32)}
    futures = [
        *(batcher.submit(model, name, x(1)) for name in ("s", "t", "s")),
        *(batcher.submit(model, "s", inputs) for inputs in (wide, {"x": np.array([1], np.int32)})),
        batcher.submit(other, "s", x(5)),
    ]
    model.gate.set()
    assert [future.result(5)["y"].shape for future in (first, *futures)] == [(1,)] * 4 + [(1, 3), (1,), (1,)]
    assert model.sizes == [1, 2, 1, 1, 1] and other.sizes == [1]


def test_a_bad_request_does_not_fail_its_batch(start):
    model, batcher = Doubler(), start(max_batch_size=8)
    held_up(batcher, model)
    good, bad, also_good = (batcher.submit(model, "s", x(value)) for value in (1, -1, 2))
    model.gate.set()
    assert good.result(5)["y"].tolist() == [2] and also_good.result(5)["y"].tolist() == [4]
    with pytest.raises(ServingError, match="negative"):
        bad.result(5)


def test_batches_are_filled_to_an_allowed_size(start):
    model, batcher = Doubler(), start(max_batch_size=8, allowed_batch_sizes=(2, 8))
    assert batcher.submit(model, "s", x(1, 2, 3)).result(5)["y"].tolist() == [2, 4, 6]
    assert batcher.submit(model, "s", x(1, 2)).result(5)["y"].tolist() == [2, 4]
    assert batcher.submit(model, "s", x()).result(5)["y"].tolist() == []
    assert model.sizes == [8, 2, 0]


def test_large_batches_are_split(start):
    model = Doubler()
    batcher = start(max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=3)
    result = batcher.submit(model, "s", x(*range(8))).result(5)
    assert result["y"].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert model.sizes == [3, 3, 2]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.ones(())}, "at least one dimension"),
        ({"x": np.ones(2), "z": np.ones(3)}, "equal 0th-dimension size"),
        ({"x": np.ones(9)}, "Task size 9 is larger than maximum input batch size 8"),
    ],
)
def test_requests_that_cannot_be_batched(start, inputs, message):
    inputs = {name: np.asarray(value) for name, value in inputs.items()}
    with pytest.raises(ServingError, match=message) as caught:
        start(max_batch_size=8).submit(Doubler(), "s", inputs)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_outputs_must_be_batch_major(start):
    class Shortening(Doubler):
        def run(self, signature, inputs):
            return {"y": np.zeros(()) if signature == "scalar" else inputs["x"][:1]}

    batcher = start(max_batch_size=8)
    for signature, message in (("scalar", "has 0 dimensions"), ("short", "0th dimension does not equal")):
        with pytest.raises(ServingError, match=message) as caught:
            batcher.submit(Shortening(), signature, x(1, 2)).result(5)
        assert caught.value.code is Code.FAILED_PRECONDITION


@pytest.mark.parametrize("parameters", [{}, {"max_batch_size": 2, "max_enqueued_batches": 4}])
def test_a_full_queue_refuses(start, parameters):
    model, batcher = Doubler(), start(max_queued=8, **parameters)
    held_up(batcher, model)
    futures = [batcher.submit(model, "s", x(1)) for _ in range(8)]
    with pytest.raises(ServingError) as caught:
        batcher.submit(model, "s", x(1))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED and caught.value.code.http_status == 429
    model.gate.set()
    assert all(future.result(5)["y"].tolist() == [2] for future in futures)


def test_what_is_cancelled_in_time_is_not_run(start):
    model, batcher = Doubler(), start(max_batch_size=8)
    held_up(batcher, model)
    waiting = batcher.submit(model, "s", x(1))
    assert waiting.cancel()
    model.gate.set()
    assert batcher.submit(model, "s", x(3)).result(5)["y"].tolist() == [6]
    assert sum(model.sizes) == 2


def test_closing_finishes_what_is_queued():
    model, batcher = (
        Doubler(),
        Batcher(BatchingParameters(max_batch_size=2, batch_timeout_micros=10**9), 1, 8),
    )
    future = batcher.submit(model, "s", x(1))
    batcher.close()
    assert future.result(0)["y"].tolist() == [2]
    with pytest.raises(ServingError) as caught:
        batcher.submit(model, "s", x(1))
    assert caught.value.code is Code.UNAVAILABLE


def test_many_threads_get_their_own_answers(start):
    model, batcher = Doubler(), start(threads=3, max_batch_size=16, max_enqueued_batches=100)
    futures = {value: batcher.submit(model, "s", x(value)) for value in range(500)}
    assert all(future.result(10)["y"].tolist() == [2 * value] for value, future in futures.items())
    assert sum(size * count for size, count in batcher.batch_sizes().items()) == 500


def test_what_is_cancelled_is_held_no_longer(start):
    model, batcher = Doubler(), start(max_queued=1)
    held_up(batcher, model)
    for _ in range(3):  # each leaves room for the next
        assert batcher.submit(model, "s", x(1)).cancel()
        assert batcher.waiting == 0
    model.gate.set()
