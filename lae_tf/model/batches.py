"""What may be given to ``fit``, ``evaluate`` and ``predict``, and the one form that the model computes with.

===========================  ==================================================================================
images                       (B, S, S, 3), floats in [0, 1] or uint8 in [0, 255]
labels                       (B,) or (B, 1), 1 = fake, 0 = real; bool, integers or floats
masks                        (B, S, S) or (B, S, S, 1), 1 = forged, 0 = not; bool, integers or floats
mask weights                 (B,) or (B, 1), 1 = the mask is known, 0 = it is not
degraded                     as images: what may have become of them on their way; for training alone
stored                       (B,) or (B, 1), 1 = ``degraded`` has the pixels that were stored, 0 = not; for training
                             alone, and where it is missing, what equals its image was stored
===========================  ==================================================================================

They come as ``x`` and ``y``, where ``y`` is the labels, a pair (labels, masks), or a dict of ``label`` and ``mask``;
or all in one dict ``x``, as ``lae_tf.data.pipeline`` makes it. A mask that is not given is unknown, and never taken
for an empty one: alignment then learns from the real images alone, in which nothing is forged. So is the mask of a
fake in which nothing is marked.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

Batch = dict[str, tf.Tensor]
"""``image``, ``label``, ``mask`` and ``mask_weight``, as ``lae_tf.data.pipeline`` describes them, and what of
``degraded`` and ``stored`` there is."""

KEYS = ("image", "label", "mask", "mask_weight")
_TRAINING = ("degraded", "stored")
_IMAGES = ("image", "degraded")
_COLUMNS = ("label", "mask_weight", "stored")

_ROUNDING = 1e-3
_ROWS = 256  # of arrays that are looked at together, however large they are
_EXPECTED = (
    "LAE trains on images and labels, as in fit(x, y), or on dicts of image, label, mask and mask_weight, as "
    "lae_tf.data.pipeline makes them."
)
_NO_WEIGHTS = (
    "LAE takes no sample_weight and no class_weight: a batch's terms are means over its images. Repeat images that "
    "should count for more. A dataset's third part is a sample_weight to Keras: masks belong into y, as in "
    "(image, (label, mask))."
)
_NO_NUMBERS = "{name} holds {found}, expected numbers; labels are 1 (fake) and 0 (real)."
_RANGES = {
    **dict.fromkeys(
        _IMAGES, "images hold values outside [0, 1]; divide those up to 255 by 255, or give them as uint8."
    ),
    "label": "labels hold values other than 0 (real) and 1 (fake).",
    "mask": "masks hold values other than 0 and 1 (forged); divide those up to 255 by 255.",
    "stored": "stored holds values other than 0 (degraded) and 1 (as it was stored).",
    "mask_weight": "mask weights hold values outside [0, 1].",
    "real": "masks mark pixels of real images; a real image has nothing forged, or its label is wrong.",
}


def to_images(inputs: Any, image_size: int) -> tf.Tensor:
    """Return images as the networks take them, float32 (B, S, S, 3) in [0, 1].

    Args:
        inputs: images, or a dict that holds them as ``image``.
        image_size: S.

    Raises:
        ValueError: another shape or kind of numbers; says which.
    """
    images = inputs["image"] if isinstance(inputs, dict) else inputs
    images = tf.convert_to_tensor(images)
    _check_shape("image", images.shape, image_size)
    images.set_shape((None, image_size, image_size, 3))
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255.0
    if not images.dtype.is_floating:
        raise ValueError(f"images are {images.dtype.name}; expected floats in [0, 1] or uint8 in [0, 255].")
    return tf.cast(images, tf.float32)


def to_batch(data: Any, image_size: int) -> Batch:
    """Return what Keras hands to a training or test step as a batch.

    Args:
        data: ``x``, ``(x,)`` or ``(x, y)``.
        image_size: S.

    Raises:
        TypeError: neither images and labels nor a dict.
        ValueError: parts are missing, unknown, there twice, or of another shape or kind of numbers; says which.
    """
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    if weight is not None:
        raise ValueError(_NO_WEIGHTS)
    parts = _parts(x, y)
    images = to_images(parts["image"], image_size)
    label = _column(parts["label"], "label")
    mask = _masks(parts["mask"], image_size) if "mask" in parts else None
    if mask is None:
        batch = {"image": images, "label": label, "mask": tf.zeros_like(images[..., :1]), "mask_weight": 1.0 - label}
    else:
        known = _column(parts["mask_weight"], "mask_weight") if "mask_weight" in parts else None
        if known is None:
            known = tf.maximum(1.0 - label, tf.reduce_max(mask, axis=(1, 2, 3))[:, None])
        batch = {"image": images, "label": label, "mask": mask, "mask_weight": known}
    if "degraded" in parts:
        batch["degraded"] = to_images(parts["degraded"], image_size)
    if "stored" in parts:
        batch["stored"] = _column(parts["stored"], "stored")
    # The pipeline's own batches are right by construction.
    return batch if set(KEYS) <= set(parts) else _checked(batch)


def check_arrays(x: Any, y: Any, image_size: int) -> None:
    """Check arrays in memory, values too, before the first step: from within a graph Keras reports no one sentence.

    Args:
        x: as given to ``fit``; datasets and generators are passed over, and checked step by step.
        y: as given to ``fit``.
        image_size: S.

    Raises:
        TypeError: neither images and labels nor a dict.
        ValueError: another shape, or values out of their range; says of what.
    """
    if not _in_memory(x) or not _in_memory(y):
        return
    parts = {"image": x} if y is None and not isinstance(x, dict) else _parts(x, y)
    arrays = {name: np.asarray(part) for name, part in parts.items() if part is not None}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(_NO_NUMBERS.format(name=name, found=array.dtype))
        _check_shape(name, array.shape, image_size)
        in_bytes = name in _IMAGES and array.dtype == np.uint8
        if not in_bytes:
            rows = range(0, len(array), _ROWS)
            if not all(_are_right(name, array[first : first + _ROWS]).all() for first in rows):
                raise ValueError(_RANGES[name])
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"images, labels and masks are as many of each; found {counts}.")
    if "mask" in arrays and arrays["mask"][arrays["label"].reshape(-1) == 0].any():
        raise ValueError(_RANGES["real"])


def _are_right(name: str, values: Any) -> Any:
    """Tell which numbers, NumPy's or TensorFlow's, lie in the range of their part."""
    if name in (*_IMAGES, "mask_weight"):
        return (values >= -_ROUNDING) & (values <= 1 + _ROUNDING)
    return (values == 0) | (values == 1)


def _checked(batch: Batch) -> Batch:
    """Return the batch, once its values have been looked at."""
    checks = [
        tf.debugging.Assert(tf.reduce_all(_are_right(name, part)), [_RANGES[name]]) for name, part in batch.items()
    ]
    unmarked = tf.reduce_all(batch["mask"] <= batch["label"][:, None, None])
    with tf.control_dependencies([*checks, tf.debugging.Assert(unmarked, [_RANGES["real"]])]):
        return {name: tf.identity(part) for name, part in batch.items()}


def _parts(x: Any, y: Any) -> dict[str, Any]:
    """Return the parts of a batch by their names."""
    parts = dict(x) if isinstance(x, dict) else {"image": x}
    if isinstance(y, dict):
        given = dict(y)
    elif isinstance(y, (tuple, list)):
        if len(y) != 2:
            raise ValueError(f"y has {len(y)} parts; expected labels, or the pair (labels, masks).")
        given = dict(zip(("label", "mask"), y, strict=True))
    else:
        given = {} if y is None else {"label": y}
    twice = sorted(set(parts) & set(given))
    unknown = sorted(map(str, (set(parts) | set(given)) - {*KEYS, *_TRAINING}))
    if twice or unknown:
        what = f"{twice} in x and in y too" if twice else f"the unknown keys {unknown}"
        raise ValueError(f"{_EXPECTED} Found {what}.")
    parts.update(given)
    if "image" not in parts or "label" not in parts or isinstance(parts["image"], (tuple, list)):
        found = f"a dict of {sorted(parts)}" if isinstance(x, dict) else f"{type(x).__name__} without labels"
        raise TypeError(f"{_EXPECTED} Found {found}.")
    if "mask_weight" in parts and "mask" not in parts:
        raise ValueError(f"{_EXPECTED} Found mask_weight without mask.")
    return parts


def _column(values: Any, name: str) -> tf.Tensor:
    """Return one number an image as float32 (B, 1)."""
    values = _numbers(values, name)
    _check_shape(name, values.shape, 1)
    return values if values.shape.rank == 2 else tf.reshape(values, (-1, 1))


def _masks(values: Any, image_size: int) -> tf.Tensor:
    """Return masks as float32 (B, S, S, 1)."""
    values = _numbers(values, "mask")
    _check_shape("mask", values.shape, image_size)
    if values.shape.rank == 3:
        values = values[..., None]
    return tf.ensure_shape(values, (None, image_size, image_size, 1))


def _numbers(values: Any, name: str) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    if not (values.dtype.is_floating or values.dtype.is_integer or values.dtype.is_bool):
        raise ValueError(_NO_NUMBERS.format(name=name, found=values.dtype.name))
    return tf.cast(values, tf.float32)


def _check_shape(name: str, shape: Any, size: int) -> None:
    """Check the shape of a part, as far as it is known.

    Raises:
        ValueError: says what was found and what is expected.
    """
    shape = tf.TensorShape(shape)
    shown = str(shape.as_list()) if shape.rank is not None else "unknown"
    if name in _IMAGES and not shape.is_compatible_with((None, size, size, 3)):
        remedy = "resize them with model.preprocessor.resize(images)"
        raise ValueError(f"images are of shape {shown}; this model takes [N, {size}, {size}, 3]: {remedy}.")
    if name == "mask" and not any(map(shape.is_compatible_with, ((None, size, size), (None, size, size, 1)))):
        remedy = "resize them like the images, but by nearest neighbour"
        raise ValueError(f"masks are of shape {shown}; this model takes [N, {size}, {size}, 1]: {remedy}.")
    if name in _COLUMNS and not any(map(shape.is_compatible_with, ((None,), (None, 1)))):
        raise ValueError(f"{name} is of shape {shown}; expected [N] or [N, 1], one number an image.")


def _in_memory(value: Any) -> bool:
    """Whether this is arrays, or a structure of them; nothing too."""
    if isinstance(value, dict):
        return all(map(_in_memory, value.values()))
    if isinstance(value, (tuple, list)):
        return all(map(_in_memory, value))
    return value is None or isinstance(value, np.ndarray) or tf.is_tensor(value)
