"""Images of many pixels: counted, run in parts, apart from the others, and no longer than somebody waits."""

import asyncio
import threading

import numpy as np
import pytest

from lae_tf.serving.errors import Code, ServingError, TooLarge, invalid
from lae_tf.serving.rest.image_limit import count_pixels
from lae_tf.serving.rest.large_runs import LargeRuns, is_large
from lae_tf.serving.rest.request_body import Limits

MEGA = 1_000_000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def png(width: int, height: int) -> bytes:
    """Return as much of a PNG file as tells its size."""
    return PNG + width.to_bytes(4, "big") + height.to_bytes(4, "big")


def strings(*values: bytes) -> np.ndarray:
    return np.array([*values, None], object)[:-1]


def test_pixels_are_counted_and_limited():
    inputs = {"image_bytes": strings(png(8000, 8000), png(100, 50), b"no image")}
    assert count_pixels(inputs, Limits()) == (64 * MEGA, 5000, 0)
    tensor = {"image": np.zeros((3, 20, 10, 3), np.uint8)}
    assert count_pixels(tensor, Limits()) == (200, 200, 200)
    assert count_pixels({"x": np.zeros((300, 2, 2, 3)), "image": np.zeros(300)}, Limits()) == ()
    count_pixels({"image_bytes": strings(*[png(8000, 8000)] * 4)}, Limits())
    for count in (5, 16, 256):
        with pytest.raises(TooLarge, match=rf"{count * 64 * MEGA} pixels together; this server accepts 256000000"):
            count_pixels({"image_bytes": strings(*[png(8000, 8000)] * count)}, Limits())
    for inputs in ({"image_bytes": strings(*[b""] * 257)}, {"image": np.zeros((257, 1, 1, 3))}):
        with pytest.raises(ServingError, match="has 257 images; this server accepts 256"):
            count_pixels(inputs, Limits())


def test_many_pixels_or_rows_are_large():
    assert is_large([9 * MEGA]) and is_large([5 * MEGA, 5 * MEGA]) and is_large([1] * 33)
    assert not is_large([8 * MEGA]) and not is_large([1] * 32) and not is_large(())


class Model:
    """Returns its input, doubled, and notes what ran; ``hold`` keeps it busy until it is set."""

    def __init__(self, hold=None):
        self.ran = []
        self.begun = threading.Event()
        self._hold = hold

    def run(self, signature, inputs):
        rows = inputs["x"].tolist()
        self.ran.append(rows)
        self.begun.set()
        if self._hold:
            assert self._hold.wait(10)
        if -1 in rows:
            raise invalid(f"image_bytes at position {rows.index(-1)}, {len(rows) - 1} of the batch: damaged")
        if signature == "total":
            return {"y": np.array(sum(rows))}
        return {"y": inputs["x"] * 2}


@pytest.fixture
def runs():
    large = LargeRuns(1, 100 * MEGA)
    yield large
    large.close()


def run(runs, model, values, pixels, signature="double"):
    return asyncio.run(runs.run(model, signature, {"x": np.array(values)}, pixels))


def test_parts_hold_few_pixels_and_are_put_together(runs):
    model = Model()
    outputs = run(runs, model, [1, 2, 3, 4, 5], [3 * MEGA, 3 * MEGA, 3 * MEGA, 20 * MEGA, MEGA])
    assert outputs["y"].tolist() == [2, 4, 6, 8, 10]
    assert model.ran == [[1, 2], [3], [4], [5]]
    assert run(runs, model, list(range(70)), [1] * 70)["y"].tolist() == list(range(0, 140, 2))
    assert [len(rows) for rows in model.ran[4:]] == [32, 32, 6]
    assert runs.pixels_held == 0


def test_outputs_that_are_no_batch_come_from_one_run(runs):
    model = Model()
    assert run(runs, model, [1, 2, 3], [9 * MEGA] * 3, "total")["y"] == 6
    assert model.ran == [[1], [1, 2, 3]]


def test_errors_name_positions_in_the_request(runs):
    with pytest.raises(ServingError, match=r"position 2, 3 of the batch: damaged"):
        run(runs, Model(), [1, 2, -1, 4, 5], [5 * MEGA, MEGA, 5 * MEGA, MEGA, 9 * MEGA])


def test_pixels_in_progress_are_limited(runs):
    hold = threading.Event()
    model = Model(hold)

    async def work():
        first = asyncio.create_task(runs.run(model, "double", {"x": np.array([1])}, [60 * MEGA]))
        await asyncio.to_thread(model.begun.wait, 10)
        with pytest.raises(TooLarge, match="have 60000000 pixels to decode, this one 50000000 more") as caught:
            await runs.run(model, "double", {"x": np.array([1])}, [50 * MEGA])
        assert caught.value.for_now and caught.value.http_status == 413
        hold.set()
        await first
        return await runs.run(model, "double", {"x": np.array([1])}, [50 * MEGA])

    assert asyncio.run(work())["y"].tolist() == [2]


def test_a_run_ends_with_its_request(runs):
    hold = threading.Event()
    model = Model(hold)

    async def work():
        running = asyncio.create_task(runs.run(model, "double", {"x": np.arange(5)}, [9 * MEGA] * 5))
        waiting = asyncio.create_task(runs.run(model, "double", {"x": np.arange(5)}, [9 * MEGA] * 5))
        await asyncio.to_thread(model.begun.wait, 10)
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        hold.set()

    asyncio.run(work())
    runs.close()
    assert model.ran == [[0]] and runs.pixels_held == 0


def test_the_end_of_the_server_ends_its_runs(runs):
    hold = threading.Event()
    model = Model(hold)

    async def work():
        running = asyncio.create_task(runs.run(model, "double", {"x": np.arange(5)}, [9 * MEGA] * 5))
        await asyncio.to_thread(model.begun.wait, 10)
        closing = asyncio.create_task(asyncio.to_thread(runs.close))
        await asyncio.sleep(0.1)
        hold.set()
        await closing
        with pytest.raises(ServingError) as caught:
            await running
        assert caught.value.code is Code.CANCELLED

    asyncio.run(work())
    assert model.ran == [[0]]
