"""The answers to :predict: tensors to JSON, in the form of the request.

Rules, error texts and layout are TensorFlow Serving's (util/json_tensor.cc).
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lae_tf.serving.errors import invalid
from lae_tf.serving.rest import json_text
from lae_tf.serving.rest.json_text import INDENT, quote
from lae_tf.serving.rest.tensor_json import FLOATS, INTEGERS, Format, dtype_name


def from_tensors(outputs: Mapping[str, np.ndarray], form: Format) -> bytes:
    """Render a signature's outputs in the form of the request.

    Args:
        outputs: at least one array; strings as ``object`` arrays of bytes.
        form: row: one item for each element of the batch; columnar: whole tensors.

    Raises:
        ServingError: INVALID_ARGUMENT: a dtype that JSON cannot carry, or (row form) outputs without a
            common batch dimension.
    """
    if form is Format.COLUMNAR:
        key, content = "outputs", _columnar(outputs)
    else:
        key, content = "predictions", _rows(outputs)
    return f'{{\n{INDENT}"{key}": {content}\n}}'.encode("utf-8", "surrogateescape")


def _columnar(outputs: Mapping[str, np.ndarray]) -> str:
    if len(outputs) == 1:
        return _tensor(*next(iter(outputs.items())), 1)
    members = (f"{INDENT * 2}{quote(name)}: {_tensor(name, value, 2)}" for name, value in outputs.items())
    return "{\n" + ",\n".join(members) + f"\n{INDENT}}}"


def _tensor(name: str, value: np.ndarray, depth: int) -> str:
    """Render a whole tensor, each value on its own line."""
    items = _tokens(name, value, depth + value.ndim)
    for level in reversed(range(value.ndim)):
        inner, outer = "\n" + INDENT * (depth + level + 1), "\n" + INDENT * (depth + level)
        items = [
            f"[{inner}{(',' + inner).join(group)}{outer}]" if group else "[]"
            for group in _grouped(items, value.shape[: level + 1])
        ]
    return items[0]


def _rows(outputs: Mapping[str, np.ndarray]) -> str:
    batch = None
    for name, value in outputs.items():
        if not value.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch not in (None, len(value)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(value)} expecting: {batch}")
        batch = len(value)
    columns = [_single_line(name, value, 2 if len(outputs) == 1 else 3) for name, value in outputs.items()]
    if not batch:
        return "[]"
    if len(columns) == 1:
        # The list is opened on one line and closed on another, as TensorFlow Serving does.
        return f"[{', '.join(columns[0])}\n{INDENT}]"
    names = [f"{INDENT * 3}{quote(name)}: " for name in outputs]
    start, end = f"{INDENT * 2}{{\n", f"\n{INDENT * 2}}}"
    elements = (
        start + ",\n".join(name + item for name, item in zip(names, row, strict=True)) + end
        for row in zip(*columns, strict=True)
    )
    return "[\n" + ",\n".join(elements) + f"\n{INDENT}]"


def _single_line(name: str, value: np.ndarray, depth: int) -> list[str]:
    """Render each element of a batch, lists on one line."""
    items = _tokens(name, value, depth + value.ndim - 1)
    for level in reversed(range(1, value.ndim)):
        items = [f"[{', '.join(group)}]" for group in _grouped(items, value.shape[: level + 1])]
    return items


def _grouped(items: list[str], shape: tuple[int, ...]) -> Iterator[list[str]]:
    size = shape[-1]
    count = int(np.prod(shape[:-1]))
    return (items[start * size : (start + 1) * size] for start in range(count))


def _tokens(name: str, value: np.ndarray, depth: int) -> list[str]:
    dtype = value.dtype.name
    if dtype in FLOATS:
        return json_text.decimals(value)
    leaves: Sequence[Any] = value.ravel().tolist()
    if dtype in INTEGERS:
        return list(map(str, leaves))
    if dtype == "bool":
        return ["true" if leaf else "false" for leaf in leaves]
    if dtype == "object" and name.endswith("_bytes"):
        inner, outer = "\n" + INDENT * (depth + 1), "\n" + INDENT * depth
        encoded = (binascii.b2a_base64(leaf, newline=False).decode() for leaf in leaves)
        return [f'{{{inner}"b64": "{text}"{outer}}}' for text in encoded]
    if dtype == "object":
        return [quote(leaf.decode("utf-8", "surrogateescape")) for leaf in leaves]
    if not leaves:
        return []
    raise invalid(f"Failed to write JSON value for tensor type: {dtype_name(value.dtype)}")
