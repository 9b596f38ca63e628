"""Plain values from YAML: files, and ``key=value`` overrides. Nothing is constructed but data."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import yaml

from lae_tf.errors import UsageError

# PyYAML lets through what its constructors make of a bad date or number, and of brackets within brackets.
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
_LARGEST = 1 << 20  # bytes of a file; PyYAML takes a second for some ten thousands
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 200
_repr.maxlevel = 2


def read_yaml(path: Path, required: str) -> dict[str, Any]:
    """Read a YAML mapping; ``required`` names a key it must have, for the error.

    Raises:
        UsageError: the file is missing, not YAML, or no mapping.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path}: has more than {_LARGEST} bytes; no configuration is as large.")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from None
    except YAML_ERRORS as error:
        raise UsageError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: holds {type(values).__name__}, expected a mapping with at least '{required}'.")
    return values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set the key of ``key=value`` in place; the value is YAML.

    Raises:
        UsageError: it is no such pair, its value is not YAML, or a part of the key is a value.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UsageError(f"--set {override}: expected key=value, for example --set align.epochs=5.")
    try:
        value = yaml.safe_load(text)
    except YAML_ERRORS:
        raise UsageError(f"--set {override}: '{text}' is not a YAML value.") from None
    set_key(values, key, value, subject=f"--set {override}")


def set_key(values: dict[str, Any], key: str, value: Any, subject: str) -> None:
    """Set a dotted key such as ``align.epochs`` in place; ``subject`` begins the error.

    Raises:
        UsageError: a part of the way is a value.
    """
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:  # missing, or a section without keys
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise UsageError(f"{subject}: '{parent}' is a value, not a section.")
    values[last] = value


def shown(value: Any) -> str:
    """Return a value for an error, cut: a few lines of YAML may stand for gigabytes."""
    return _repr.repr(value)
