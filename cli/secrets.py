"""Secrets that commands take from a file of one line, so that no process list shows them."""

from __future__ import annotations

from pathlib import Path

from lae_tf.errors import UsageError


def read_secret(path: Path, what: str, encoding: str) -> str:
    """Return the one line of a file.

    Args:
        path: of the file.
        what: it holds, for messages.
        encoding: of the text.

    Raises:
        UsageError: the file cannot be read, or has no line, or several.
    """
    try:
        text = path.read_text(encoding).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as {what}: {error}.") from None
    if len(text.splitlines()) != 1:
        raise UsageError(f"{path} holds no {what}; write one line of it into the file.")
    return text
