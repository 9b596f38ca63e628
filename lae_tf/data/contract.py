"""The data contract: what a manifest's table may hold, and everything that is wrong with one.

Columns (all required, all text):

==========  =============================================================================
path        image file, relative to the manifest's folder or absolute
label       ``real`` or ``fake``
mask        mask file (docs/guides/formats.md says what is forged); empty = unlabelled; a named file must exist
group       video, identity or source image; a group never crosses splits
method      name of the manipulation; empty for real images
split       ``train``, ``val`` or ``test``
==========  =============================================================================

An optional column ``mask_source`` (empty, ``human`` or ``derived``) says who made the mask: derived
masks do not count against the budget of human annotation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches

import numpy as np
import pandas as pd

from lae_tf.errors import ImageError, UsageError
from lae_tf.files.walking import is_file
from lae_tf.images.files import read_mask

COLUMNS = ("path", "label", "mask", "group", "method", "split")
OPTIONAL_COLUMNS = ("mask_source",)
LABELS = ("real", "fake")
SPLITS = ("train", "val", "test")
MASK_SOURCES = ("", "human", "derived")

LARGEST_COVERAGE = 0.95
"""A mask that covers more of its image is a mistake (ours): inverted, or of an image that is no local forgery."""


def as_text(column: pd.Series) -> list[str]:
    """Return the cells as text, missing ones empty."""
    # plain objects: iterating over pandas' own text columns is several times slower
    cells = column.to_numpy(dtype=object)
    return ["" if missing else str(cell) for cell, missing in zip(cells, column.isna().to_numpy(), strict=True)]


def nearest(found: str, valid: Iterable[str]) -> str:
    """Return a hint at the valid word that was probably meant, or nothing."""
    close = get_close_matches(found[:100].lower(), valid, n=1)  # of a huge cell it would take minutes
    return f" (did you mean '{close[0]}'?)" if close else ""


def column_problems(found: list[str]) -> list[str]:
    """Return a sentence for each column that is missing, unknown or there twice."""
    known = [*COLUMNS, *OPTIONAL_COLUMNS]
    problems = [f"column '{name}' is missing" for name in COLUMNS if name not in found]
    problems += [f"column '{name}' occurs twice" for name in known if found.count(name) > 1]
    for name in found:
        if name not in known:
            problems.append(f"unknown column '{name}'{nearest(name, known)}; known are {', '.join(known)}")
    return problems


def require_shares(shares: Sequence[float]) -> None:
    """Check the shares of train, val and test.

    Raises:
        UsageError: not one share for each, below zero, or a sum that is not 1.
    """
    if len(shares) != len(SPLITS) or not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6):  # NaN is refused too
        raise UsageError(f"splits are {shares}, expected shares for {', '.join(SPLITS)} that sum to 1")


def row_problems(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each cell that breaks the contract, in the order of the rows.

    Args:
        frame: text columns as the contract names them; ``path`` and ``mask`` are absolute.
    """
    found: list[tuple[int, str]] = []

    def report(bad: Iterable, column: str, sentence: Callable[[int], str]) -> None:
        for index in np.flatnonzero(np.asarray(bad, dtype=bool)):
            found.append((int(index), f"row {index + 1}, column '{column}': {sentence(int(index))}"))

    def report_choice(column: str, valid: tuple[str, ...]) -> None:
        cells = frame[column]
        expected = " or ".join(f"'{value}'" if value == "" else value for value in valid)
        report(
            ~cells.isin(valid),
            column,
            lambda i: f"found '{cells[i]}'{nearest(cells[i], valid)}, expected {expected}",
        )

    report_choice("label", LABELS)
    report_choice("split", SPLITS)
    if "mask_source" in frame:
        report_choice("mask_source", MASK_SOURCES)
    report(frame["path"] == "", "path", lambda i: "is empty, expected an image file")
    report(
        frame["group"] == "",
        "group",
        lambda i: "is empty, expected the video, identity or source image that this one comes from",
    )

    fake, real = frame["label"] == "fake", frame["label"] == "real"
    report(fake & (frame["method"] == ""), "method", lambda i: "is empty, but a fake names its manipulation")
    report(
        real & (frame["method"] != ""),
        "method",
        lambda i: f"found '{frame['method'][i]}', but a real image has no manipulation: leave it empty",
    )

    first = frame.reset_index().drop_duplicates("path").set_index("path")["index"]
    report(
        frame["path"].duplicated() & (frame["path"] != ""),
        "path",
        lambda i: f"{frame['path'][i]} is already in row {first[frame['path'][i]] + 1}",
    )
    home = frame.drop_duplicates("group").set_index("group")["split"]
    crossing = frame["split"].isin(SPLITS) & (frame["split"] != frame["group"].map(home))
    report(
        crossing & (frame["group"] != "") & ~frame.duplicated(["group", "split"]),
        "group",
        lambda i: (
            f"'{frame['group'][i]}' is in split {frame['split'][i]} here and in "
            f"{home[frame['group'][i]]} above; a group belongs to one split"
        ),
    )

    report(
        (frame["mask"] != "") & (frame["mask"] == frame["path"]),
        "mask",
        lambda i: f"{frame['mask'][i]} is the image itself, expected the mask of its forged region, or nothing",
    )

    exists = _file_test()
    for column in ("path", "mask"):
        missing = [cell != "" and not exists(cell) for cell in as_text(frame[column])]
        report(missing, column, lambda i, column=column: f"{frame[column][i]} is not a file")  # type: ignore[misc]

    with ThreadPoolExecutor() as pool:
        paths = as_text(frame["mask"].where(real, ""))
        masks = {index: path for index, path in enumerate(paths) if path and exists(path)}
        for index, problem in zip(masks, pool.map(_real_mask_problem, masks.values()), strict=True):
            if problem:
                found.append((index, f"row {index + 1}, column 'mask': {problem}"))
    return [sentence for _, sentence in sorted(found, key=lambda item: item[0])]


def _real_mask_problem(path: str) -> str:
    try:
        forged = int(read_mask(path).sum())
    except ImageError as error:
        return str(error)
    return f"{path} marks {forged} pixels as forged, but the image is real" if forged else ""


def _file_test() -> Callable[[str], bool]:
    """Return a test for existing files that lists each folder once, not one stat call per file."""
    folders: dict[str, set[str]] = {}

    def exists(path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in folders:
            try:
                with os.scandir(folder) as entries:
                    folders[folder] = {entry.name for entry in entries if is_file(entry)}
            except (OSError, ValueError):  # no such folder, or a name that no file system takes
                folders[folder] = set()
        return name in folders[folder]

    return exists
