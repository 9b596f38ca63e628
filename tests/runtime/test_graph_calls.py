"""Python calls of tf.data graphs: what they return, and that the interpreter can end while they are being made."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from lae_tf.runtime.graph_calls import Gate, call_python

ENDS_AMID_CALLS = """
import time
import tensorflow as tf
from lae_tf.runtime.graph_calls import call_python

def busy(number):
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        pass
    return number

numbers = tf.data.Dataset.range(10**6).map(lambda n: call_python(busy, [n], tf.int64), num_parallel_calls=4)
iterator = iter(numbers.batch(8).prefetch(4))
print(next(iterator).numpy())
"""


def test_one_array_and_several():
    numbers = tf.data.Dataset.range(3).map(lambda n: call_python(lambda n: n + 1, [n], tf.int64))
    assert [int(n) for n in numbers] == [1, 2, 3]
    halves, signs = call_python(lambda x: (x / 2, x > 0), [tf.constant([-1.0, 4.0])], [tf.float32, tf.bool])
    np.testing.assert_array_equal(halves, [-0.5, 2.0])
    np.testing.assert_array_equal(signs, [False, True])


def test_a_closed_gate_refuses():
    gate = Gate()
    with gate:
        pass
    gate.close()
    with pytest.raises(StopIteration), gate:
        raise AssertionError("let in")


def test_closing_waits_for_a_call():
    gate = Gate()
    begun, end = threading.Event(), threading.Event()

    def call():
        with gate:
            begun.set()
            assert end.wait(60)

    caller = threading.Thread(target=call)
    caller.start()
    assert begun.wait(60)
    closer = threading.Thread(target=gate.close)
    closer.start()
    closer.join(0.6)
    assert closer.is_alive()
    end.set()
    closer.join(60)
    caller.join(60)
    assert not closer.is_alive() and not caller.is_alive()


def test_a_script_ends_amid_calls():
    ended = subprocess.run([sys.executable, "-c", ENDS_AMID_CALLS], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and ended.stdout == "[0 1 2 3 4 5 6 7]\n"
