"""JSON files that this software, another tool or a stranger wrote: read, or refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lae_tf.errors import UsageError


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UsageError: it cannot be read, is not JSON, or holds half of a character, which no file can be named by.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is not JSON, or cannot be read as JSON: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UsageError(f"{path}: holds a {type(value).__name__}, expected an object.")
    return value
