"""JSON text as TensorFlow Serving writes it: numbers, strings, and values quoted in error texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lae_tf.serving.rest.json_parser import Repeated

INDENT = "    "
_SHOWN = 256

_QUOTED = re.compile(r'["\\\x00-\x1f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(text: str) -> str:
    """Return a JSON string literal; characters beyond ASCII stay as they are."""
    escaped = _QUOTED.sub(lambda match: _SHORT.get(match.group(), f"\\u{ord(match.group()):04X}"), text)
    return f'"{escaped}"'


def decimals(values: np.ndarray) -> list[str]:
    """Render float32 or float64 numbers, any shape, in C order.

    The shorter of six digits, where they read back as the same number, and all digits that the type needs
    (9 or 17); whole numbers get ``.0``; NaN, Infinity and -Infinity are bare words.
    """
    flat = np.ascontiguousarray(values).ravel()
    if not flat.size:
        return []
    finite = np.isfinite(flat)
    numbers = np.where(finite, flat, 0).astype(flat.dtype).tolist()
    tokens = ("%g " * len(numbers) % tuple(numbers)).split()
    with np.errstate(over="ignore", under="ignore"):
        inexact = np.flatnonzero(np.array(tokens, dtype=np.float64).astype(flat.dtype) != flat)
    digits = "%.9g" if flat.dtype == np.float32 else "%.17g"
    for index in inexact.tolist():
        tokens[index] = digits % numbers[index]
    tokens = [token if "." in token or "e" in token else token + ".0" for token in tokens]
    for index in np.flatnonzero(~finite).tolist():
        value = flat[index]
        tokens[index] = "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return tokens


def shown(value: Any) -> str:
    """Render a parsed value for an error text: indented, cut after 256 characters."""
    text = ""
    for part in _parts(value):
        text += part
        if len(text) > _SHOWN:
            return text[:_SHOWN] + "..."
    return text


def _parts(root: Any) -> Iterator[str]:
    """Yield the pieces of the rendered value, without recursion: nesting has no limit."""
    stack: list[Iterator[tuple[str, Any]]] = []
    closings: list[str] = []
    pending: Any = root
    while True:
        if isinstance(pending, (dict, list)) and pending:
            is_object = isinstance(pending, dict)
            yield "{" if is_object else "["
            stack.append(_labelled(pending))
            closings.append("}" if is_object else "]")
            first = True
        else:
            yield _scalar_text(pending)
            first = False
        while stack:
            found = next(stack[-1], None)
            if found is not None:
                break
            stack.pop()
            yield "\n" + INDENT * len(stack) + closings.pop()
            first = False
        else:
            return
        label, pending = found
        yield ("\n" if first else ",\n") + INDENT * len(stack) + label


def _labelled(container: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(container, list):
        return (("", item) for item in container)
    pairs = container.pairs if isinstance(container, Repeated) else container.items()
    return ((quote(key) + ": ", item) for key, item in pairs)


def _scalar_text(value: Any) -> str:
    if isinstance(value, str):
        return quote(value[: _SHOWN + 1])
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, float) or (isinstance(value, int) and not -(2**63) <= value < 2**64):
        number = np.float64(value)
        fits = abs(number) <= np.finfo(np.float32).max
        return decimals(np.array([number], np.float32 if fits else np.float64))[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def error_body(message: str) -> bytes:
    """Return the JSON body of an error: one object with the one key ``error``."""
    return b'{\n    "error": ' + quote(message).encode("utf-8", "surrogateescape") + b"\n}"
