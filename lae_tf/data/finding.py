"""Finds the images that a user's paths stand for."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from lae_tf.data.images import SUFFIXES
from lae_tf.errors import UsageError


def find_images(paths: Iterable[str]) -> list[str]:
    """Expand files, folders (recursively, by suffix) and glob patterns to a sorted list without repeats.

    Raises:
        UsageError: a path matches nothing.
    """
    found: dict[str, None] = {}
    for path in paths:
        if Path(path).is_dir():
            files = sorted(str(file) for file in Path(path).rglob("*") if file.suffix.lower() in SUFFIXES)
        elif Path(path).exists():
            files = [path]
        else:
            files = sorted(glob.glob(path, recursive=True))
        if not files:
            raise UsageError(f"{path}: no such file, and no images found there.")
        found.update(dict.fromkeys(files))
    return list(found)
