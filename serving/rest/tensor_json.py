"""The requests of :predict: JSON to tensors.

Rules and error texts are TensorFlow Serving's (util/json_tensor.cc). A request has the row form
(``instances``: a list of elements without the batch dimension) or the columnar form (``inputs``: whole
tensors), and its answer has the same form.
"""

from __future__ import annotations

import binascii
import enum
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from lae_tf.serving.errors import Code, ServingError, invalid
from lae_tf.serving.rest import json_parser
from lae_tf.serving.rest.json_parser import Repeated
from lae_tf.serving.rest.json_text import shown

_NAMES = {"float16": "half", "float32": "float", "float64": "double", "object": "string"}
_INT32 = (-(2**31), 2**31 - 1)
# dtype -> the range of integer tokens it accepts; the narrow types are checked as int32 and then wrap.
INTEGERS = {
    "int8": _INT32,
    "int16": _INT32,
    "uint8": _INT32,
    "int32": _INT32,
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
FLOATS = ("float32", "float64")
_MAX_RANK = 32  # NumPy 1's limit; TensorFlow's is 254
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SPACES = b" \t\n\v\f\r"


class Format(enum.Enum):
    """The form of a :predict request, and of its answer."""

    ROW = "instances"
    COLUMNAR = "inputs"


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a request's body, which must be one JSON object.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json_parser.parse(body)
    except json_parser.JsonError as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the request's ``signature_name``, empty where it has none.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def to_tensors(document: Mapping[str, Any], inputs: Mapping[str, np.dtype]) -> tuple[dict[str, np.ndarray], Format]:
    """Convert a :predict request to one array for each input of the signature.

    Args:
        document: the parsed request.
        inputs: dtype of each input, ``object`` for strings; not empty.

    Returns:
        The arrays (strings as bytes) and the request's form.

    Raises:
        ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for a dtype that JSON cannot carry (columnar form).
    """
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {shown(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {shown(document)} No values in 'instances' array")
        return _from_rows(instances, inputs), Format.ROW
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs), Format.COLUMNAR
    raise invalid("Missing 'inputs' or 'instances' key")


def is_base64_object(value: Any) -> bool:
    """Tell whether a value is ``{"b64": "..."}``: exactly one member, and a string."""
    return (
        isinstance(value, dict)
        and not isinstance(value, Repeated)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
    )


def decode_base64(value: Mapping[str, str]) -> bytes:
    """Decode a base64 object: standard alphabet, padding (``=`` or ``.``) and white space optional.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    data = value["b64"].encode("utf-8", "surrogateescape")
    if data.translate(None, _ALPHABET):
        data = data.translate(None, _SPACES)
        digits = data.rstrip(b"=.")
        padding = len(data) - len(digits)
        if digits.translate(None, _ALPHABET) or padding not in (0, -len(digits) % 4):
            raise invalid("Unable to base64 decode")
        data = digits
    if len(data) % 4 == 1:
        raise invalid("Unable to base64 decode")
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))


def _is_named(element: Any) -> bool:
    return isinstance(element, dict) and not is_base64_object(element)


def _from_rows(instances: list[Any], inputs: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    named = _is_named(instances[0])
    try:
        if not named:
            return {name: _dense(instances, dtype) for name, dtype in inputs.items()}
        if all(_is_named(element) and element.keys() == inputs.keys() for element in instances):
            return {name: _dense([element[name] for element in instances], dtype) for name, dtype in inputs.items()}
    except _NotDense:
        pass
    _explain_rows(instances, inputs, named)
    raise ServingError(Code.INTERNAL, "The request could not be converted to tensors")


def _explain_rows(instances: list[Any], inputs: Mapping[str, np.dtype], named: bool) -> None:
    """Go through the elements in order and raise the error of the first that does not fit."""
    seen: dict[str, tuple[int, ...]] = {}
    for index, element in enumerate(instances):
        if named != _is_named(element):
            expected = "Expecting object but got list" if named else "Expecting value/list but got object"
            raise invalid(f"{expected} at item {index} of input list")
        for name, value in element.items() if named else [(next(iter(inputs)), element)]:
            try:
                if name not in inputs:
                    raise invalid(f"JSON object: does not have named input: {name}")
                shape = _first_shape(value)
                _check_rank(1 + len(shape))
                _explain(value, shape, inputs[name])
                before = seen.setdefault(name, shape)
                if np.prod(before, dtype=object) != np.prod(shape, dtype=object):
                    raise invalid(f"Expecting tensor size: {_size(before)} but got: {_size(shape)}")
                if before != shape:
                    raise invalid(f"Expecting shape {shape_text(before)} but got: {shape_text(shape)}")
            except ServingError as error:
                key = f"key: {name} " if named else ""
                raise invalid(
                    f"Failed to process element: {index} {key}of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from None
        if named and element.keys() != inputs.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(element)} "
                f"keys must be equal to: {','.join(sorted(inputs))}"
            )


def _from_columns(value: Any, inputs: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        value = dict.fromkeys(inputs, value)
    tensors = {}
    for name, dtype in inputs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        try:
            tensors[name] = _dense(value[name], dtype)
        except _NotDense:
            _explain(value[name], _first_shape(value[name]), dtype)
            raise ServingError(Code.INTERNAL, f"Input {name} could not be converted to a tensor") from None
    return tensors


class _NotDense(Exception):
    """The value is not a tensor of the dtype; :func:`_explain` says why."""


def _dense(value: Any, dtype: np.dtype) -> np.ndarray:
    """Convert nested lists level by level, without a call for each number."""
    shape = _first_shape(value)
    if len(shape) > _MAX_RANK:
        raise _NotDense
    level = [value]
    for size in shape:
        if not all(type(item) is list and len(item) == size for item in level):
            raise _NotDense
        level = list(chain.from_iterable(level))
    return _array(level, dtype).reshape(shape)


def _array(leaves: list[Any], dtype: np.dtype) -> np.ndarray:
    if not leaves:
        return np.empty(0, dtype)
    types = set(map(type, leaves))
    name = dtype.name
    if name in FLOATS and types <= {int, float}:
        with np.errstate(over="ignore"):
            return np.array(leaves, np.float64).astype(dtype)
    if name in INTEGERS and types == {int}:
        low, high = INTEGERS[name]
        if low <= min(leaves) and max(leaves) <= high:
            return np.array(leaves, np.uint64 if high > 2**63 else np.int64).astype(dtype)
    if name == "bool" and types == {bool}:
        return np.array(leaves, dtype)
    if name == "object" and all(type(leaf) is str or is_base64_object(leaf) for leaf in leaves):
        array = np.empty(len(leaves), dtype)
        array[:] = [
            leaf.encode("utf-8", "surrogateescape") if type(leaf) is str else decode_base64(leaf) for leaf in leaves
        ]
        return array
    raise _NotDense


def _first_shape(value: Any) -> tuple[int, ...]:
    """Return the shape that the first element at each level suggests."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _check_rank(rank: int) -> None:
    if rank > _MAX_RANK:
        raise invalid(f"Shape has {rank} dimensions; at most {_MAX_RANK} are supported")


def _explain(value: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise the error of the first place, in document order, where the value is not a tensor of the shape."""
    rank = len(shape)
    _check_rank(rank)
    stack: list[Iterator[Any]] = [iter([value])]
    while stack:
        level = len(stack) - 1
        for item in stack[-1]:
            if not isinstance(item, list):
                if level != rank:
                    raise invalid(
                        f"JSON Value: {shown(item)} found at incorrect level: {level + 1} in the JSON DOM. "
                        f"Expected at level: {rank}"
                    )
                _check_leaf(item, dtype)
                continue
            if level >= rank:
                raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
            if len(item) != shape[level]:
                raise invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
                )
            stack.append(iter(item))
            break
        else:
            stack.pop()


def _check_leaf(value: Any, dtype: np.dtype) -> None:
    name = dtype.name
    number = type(value) in (int, float)
    if isinstance(value, dict) and name == "object":
        if not is_base64_object(value):
            raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
        decode_base64(value)
        return
    if isinstance(value, dict):
        fits = False
    elif name in FLOATS:
        fits = number
    elif name in INTEGERS:
        fits = type(value) is int and INTEGERS[name][0] <= value <= INTEGERS[name][1]
    elif name == "bool":
        fits = type(value) is bool
    elif name == "object":
        fits = type(value) is str
    else:
        raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {dtype_name(dtype)}")
    if not fits:
        raise invalid(
            f"JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: {dtype_name(dtype)}"
        )


def json_type(value: Any) -> str:
    """Name a parsed value's type as error texts do."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names = ((str, "String"), (dict, "Object"), (list, "Array"))
    return next((name for kind, name in names if isinstance(value, kind)), "Number")


def dtype_name(dtype: np.dtype) -> str:
    """Name a dtype as TensorFlow's C++ layer does: float, double, half, string."""
    return _NAMES.get(dtype.name, dtype.name)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=object))


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as TensorFlow Serving writes it."""
    return f"[{','.join(map(str, shape))}]"
