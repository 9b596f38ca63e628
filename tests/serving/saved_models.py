"""SavedModels with signatures of all dtypes, written on the spot."""

from pathlib import Path

import tensorflow as tf

ECHOED = (
    *(tf.float32, tf.float64, tf.float16, tf.bool, tf.string),
    *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64),
)
NUMBERS = [3.0, 0.2, 9e6, 16777216.0, 0.123456702, float("nan"), float("inf"), float("-inf")]


class EveryKind(tf.Module):
    """y = x / 2 + shift, and one signature for each thing that a server must carry."""

    def __init__(self, shift: float):
        super().__init__()
        self.shift = tf.Variable(shift)

    def signatures(self) -> dict:
        return {
            "serving_default": _trace(lambda x: {"y": x * 0.5 + self.shift}, x=_spec([None], tf.float32)),
            "two": _trace(
                lambda a, b: {"sum": tf.reduce_sum(a, 1), "b": b},
                a=_spec([None, 2], tf.float32),
                b=_spec([None], tf.int32),
            ),
            "numbers": _trace(lambda x: {"y": tf.constant([NUMBERS])}, x=_spec([None], tf.float32)),
            "total": _trace(lambda x: {"y": tf.reduce_sum(x)}, x=_spec([None], tf.float32)),
            "uneven": _trace(lambda x: {"y": x, "z": x[:1]}, x=_spec([None], tf.float32)),
            "picky": _trace(_positive, x=_spec([None], tf.float32)),
            "slow": _trace(_slow, rounds=_spec([None], tf.int32)),
            "encoded": _trace(lambda x: {"y": x, "y_bytes": x}, x=_spec(None, tf.string)),
            "pixels": _trace(_pixels, image_bytes=_spec([None], tf.string)),
            "classes": _trace(_classes, inputs=_spec([None], tf.string)),
            "labels": _trace(lambda inputs: {"classes": inputs[:, None]}, inputs=_spec([None], tf.string)),
            "value": _trace(lambda inputs: {"outputs": _feature(inputs)}, inputs=_spec([None], tf.string)),
            **{f"echo_{dtype.name}": _trace(lambda x: {"y": tf.identity(x)}, x=_spec(None, dtype)) for dtype in ECHOED},
        }


def _spec(shape, dtype):
    return tf.TensorSpec(shape, dtype)


def _trace(function, **specs):
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    return tf.function(function).get_concrete_function(*named)


def _positive(x):
    with tf.control_dependencies([tf.debugging.assert_positive(x, message="not positive")]):
        return {"y": tf.identity(x)}


def _slow(rounds):
    matrix = tf.random.stateless_uniform([256, 256], [1, 2])
    product = tf.while_loop(
        lambda index, _: index < rounds[0],
        lambda index, m: (index + 1, tf.matmul(m, matrix) * 0.001),
        (0, matrix),
    )[1]
    return {"y": tf.reduce_sum(product) * 0 + tf.cast(rounds, tf.float32)}


def _pixels(image_bytes):
    def mean(data):
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        return tf.reduce_mean(tf.cast(image, tf.float32))

    return {"mean": tf.map_fn(mean, image_bytes, fn_output_signature=tf.float32)}


def _feature(examples):
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]


def _classes(inputs):
    score = _feature(inputs)
    names = tf.fill([tf.shape(score)[0], 1], "low")
    return {
        "classes": tf.concat([names, tf.fill(tf.shape(names), "high")], 1),
        "scores": tf.stack([1 - score, score], 1),
    }


def save_model(path: Path, shift: float) -> None:
    """Write a SavedModel that computes x / 2 + shift."""
    model = EveryKind(shift)
    signatures = model.signatures()
    # A concrete function is saved with the variables it uses only as part of the module.
    model.functions = list(signatures.values())
    tf.saved_model.save(model, str(path), signatures=signatures)
