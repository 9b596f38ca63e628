"""Names for the pictures of many files in one folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path


def heatmap_names(files: list[str]) -> dict[str, str]:
    """Return a PNG name for each file: its stem, with a number where that is taken already, case aside."""
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    taken = {""}
    for file in files:
        stem, name = Path(file).stem, ""
        while name.lower() in taken:
            numbers[stem] += 1
            name = f"{stem}.png" if numbers[stem] == 1 else f"{stem}-{numbers[stem]}.png"
        taken.add(name.lower())
        names[file] = name
    return names


def picture_names(files: list[str] | str) -> Callable[[str], str]:
    """Return a function from a file to its picture's name: one of :func:`heatmap_names`, or, where ``files`` is the
    folder that they lie in, the file's place below it with ``.png`` after it.
    """
    if isinstance(files, str):
        return lambda file: f"{Path(file).relative_to(files)}.png"
    return heatmap_names(files).__getitem__
