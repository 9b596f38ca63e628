"""Walks folders, everywhere alike.

What is hidden is passed over, links to folders are refused or listed, and a folder that cannot be looked into is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lae_tf.errors import UsageError


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that could not be used.

    Attributes:
        path: of the file or folder.
        sentence: says why, and names it.
    """

    path: str
    sentence: str


def walk(
    folder: str | os.PathLike[str],
    left_out: list[LeftOut] | None = None,
    without: Path | None = None,
    links: list[str] | None = None,
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield a folder and each of its sub-folders with what lies in it and is no folder, sorted.

    A link to a folder on the way to it is passed over: what it leads to is found without it.

    Args:
        folder: where to look.
        left_out: gets an entry for each folder that cannot be looked into.
        without: sub-folder that is passed over, named as ``folder`` is: both absolute, or both relative.
        links: gets the links to folders elsewhere, which are not followed; without it they are refused.

    Raises:
        UsageError: a link to a folder elsewhere.
    """
    root = os.path.realpath(folder)
    waiting = [os.fspath(folder)]
    while waiting:
        parent = waiting.pop()
        try:
            entries = visible(parent)
        except OSError as error:
            if left_out is not None:
                left_out.append(LeftOut(parent, f"{parent}: cannot be looked into: {error.strerror}"))
            continue
        folders: list[str] = []
        others: list[os.DirEntry[str]] = []
        for entry in entries:
            if not is_folder(entry):
                others.append(entry)
            elif not entry.is_symlink():
                folders.append(entry.path)
            elif _leads_back(entry) and os.path.commonpath([os.path.realpath(entry.path), root]) == root:
                continue
            elif links is None:
                raise UsageError(f"{entry.path}: is a link to a folder; put the folder itself there.")
            else:
                links.append(entry.path)
        yield parent, others
        waiting += [path for path in reversed(folders) if Path(path) != without]


def files_below(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield what lies in a folder and its sub-folders and is no folder itself, sorted, as :func:`walk` does."""
    return (Path(entry.path) for _, entries in walk(folder) for entry in entries)


def visible(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """Return what lies in a folder and is not hidden, sorted by name.

    Raises:
        OSError: the folder cannot be looked into.
    """
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, and links to others than those it lies in.

    There are none in what is no folder or cannot be looked into.
    """
    try:
        entries = visible(folder)
    except OSError:
        return []
    return [Path(entry.path) for entry in entries if is_folder(entry) and not _leads_back(entry)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a regular file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link to a folder that it lies in."""
    if not entry.is_symlink():
        return False
    target, place = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))
    return os.path.commonpath([target, place]) == target
