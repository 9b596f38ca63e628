"""Bodies that are dear to read: in a process of their own, within bounds, and stopped when nobody waits."""

import asyncio
import pickle
import time

import anyio
import numpy as np
import pytest

from lae_tf.serving.engine.signature import Signature
from lae_tf.serving.errors import Code, ServingError, TooLarge
from lae_tf.serving.rest import preparation
from lae_tf.serving.rest.inference import prepare
from lae_tf.serving.rest.preparation import Preparation
from lae_tf.serving.rest.request_body import Limits

FOUND = {
    "serving_default": Signature({"x": np.dtype(np.float32)}, ("y",), ""),
    "text": Signature({"x": np.dtype(object)}, ("y",), ""),
    "value": Signature({"inputs": np.dtype(object)}, ("outputs",), ""),
}
MANY = b'{"instances": [' + b"0.5, " * 5000 + b"1]}"
DEEP = b'{"instances": ' + b"[" * 400_000


def prepared(body, verb="predict", found=FOUND, limits=None):
    async def run():
        return await Preparation(limits or Limits()).prepare(verb, body, found)

    return asyncio.run(run())


def refusal(body, **options) -> ServingError:
    with pytest.raises(ServingError) as caught:
        prepared(body, **options)
    return caught.value


def used_processes(monkeypatch) -> list:
    """Note each call of a process."""
    calls = []
    run_sync = preparation.to_process.run_sync

    async def noting(*arguments, **options):
        calls.append(arguments[1])
        return await run_sync(*arguments, **options)

    monkeypatch.setattr(preparation.to_process, "run_sync", noting)
    return calls


def test_many_values_are_read_in_a_process_with_the_same_result(monkeypatch):
    calls = used_processes(monkeypatch)
    result = prepared(MANY)
    assert calls == ["predict"]
    alone = prepare("predict", MANY, FOUND, Limits())
    assert result.signature == alone.signature == "serving_default" and result.form is alone.form
    np.testing.assert_array_equal(result.inputs["x"], np.array([0.5] * 5000 + [1], np.float32))
    examples = b'{"signature_name": "value", "examples": [' + b'{"x": 0.5},' * 3000 + b'{"x": 1}]}'
    result, alone = (
        make("regress", examples) for make in (lambda v, b: prepared(b, v), lambda v, b: prepare(v, b, FOUND, Limits()))
    )
    assert result.inputs["inputs"].tolist() == alone.inputs["inputs"].tolist() and len(calls) == 2


def test_one_large_image_needs_no_process(monkeypatch):
    calls = used_processes(monkeypatch)
    body = b'{"signature_name": "text", "instances": ["' + b"A" * 3_000_000 + b'"]}'
    assert prepared(body).inputs["x"].tolist() == [b"A" * 3_000_000]
    assert calls == []


def test_errors_come_back_as_they_are():
    missing = ServingError(Code.NOT_FOUND, "Servable not found for request: Latest(m)")
    for body, found, code, said in (
        (MANY[:-1], FOUND, Code.INVALID_ARGUMENT, "JSON Parse error: "),
        (DEEP, FOUND, Code.INVALID_ARGUMENT, "JSON Parse error: Invalid value. at offset: 400014"),
        (MANY.replace(b" 1]", b" [1]]"), FOUND, Code.INVALID_ARGUMENT, "Failed to process element: 5000 of"),
        (MANY, missing, Code.NOT_FOUND, "Servable not found"),
    ):
        error = refusal(body, found=found)
        assert error.code is code and error.message.startswith(said)
    for error in (ServingError(Code.NOT_FOUND, "a"), TooLarge("b", for_now=True)):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.code, again.message, again.http_status) == (
            type(error),
            error.code,
            error.message,
            error.http_status,
        )


def test_what_would_fill_the_memory_is_refused():
    """Lists take some thirty times their text."""
    error = refusal(b'{"instances": [' + b"[]," * 33_000_000 + b"0]}")
    assert error.http_status == 413 and "2048 MiB of memory" in error.message


def test_too_many_strings_are_refused():
    error = refusal(b'{"signature_name": "text", "instances": [' + b'"",' * 100_000 + b'""]}')
    assert error.http_status == 413 and "100001 strings" in error.message


def test_reading_stops_when_nobody_waits():
    body = b'{"instances": [' + b"[-NaN]," * 3_000_000  # only the slow, exact parser knows this number
    began = time.monotonic()

    async def run():
        held_up = 0.0
        with anyio.move_on_after(2):
            async with anyio.create_task_group() as group:
                group.start_soon(Preparation(Limits()).prepare, "predict", body, FOUND)
                while True:
                    before = time.monotonic()
                    await asyncio.sleep(0.01)
                    held_up = max(held_up, time.monotonic() - before)
        return held_up

    assert asyncio.run(run()) < 1.5  # the loop went on meanwhile
    assert time.monotonic() - began < 8
