"""What a layout finds in a folder: samples, and all that did not fit."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lae_tf.data.finding import images_below, search
from lae_tf.errors import UsageError
from lae_tf.files.walking import subfolders

_NAMED = 3


@dataclass
class Sample:
    """One image of a data set.

    Attributes:
        path: absolute path of the image.
        group: of the manifest.
        method: name of the manipulation; empty means real.
        split: train, val or test where the data set says so, else empty.
        mask: absolute path of its mask, or empty.
        source: absolute path of the untouched image that a fake was made from, or empty.
    """

    path: str
    group: str
    method: str = ""
    split: str = ""
    mask: str = ""
    source: str = ""


@dataclass
class Found:
    """What a layout found.

    Attributes:
        samples: the images.
        unmatched: one sentence for whatever lacks its counterpart or was left out.
        explained: files that are neither images nor masks, and that a sentence of ``unmatched`` speaks of.
        reason: why anything else in the folder is left out, as the end of a sentence.
    """

    samples: list[Sample] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    explained: set[str] = field(default_factory=set)
    reason: str = "without a place in this layout"

    def leave_out(self, sentence: str, files: Iterable[str]) -> None:
        """Leave files out, and say so in one sentence."""
        self.unmatched.append(sentence)
        self.explained.update(files)


def stem(path: str) -> str:
    """Return a file's name without its suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def relative_stem(path: str, folder: str | os.PathLike[str]) -> str:
    """Return a file's path below a folder, without its suffix, with forward slashes."""
    return os.path.splitext(os.path.relpath(path, folder))[0].replace(os.sep, "/")


def by_stem(files: Iterable[str], folder: str | os.PathLike[str], found: Found) -> dict[str, str]:
    """Index files by :func:`relative_stem`; of several with one stem the first counts, the rest are reported."""
    index: dict[str, str] = {}
    for path in files:
        name = relative_stem(path, folder)
        if name in index:
            found.leave_out(f"{path}: has the stem of {index[name]}; left out", [path])
        else:
            index[name] = path
    return index


def clips(folder: Path, without: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """Return the frames of each video: sub-folder, but for some -> stem of the frame -> path."""
    found = {}
    for entry in subfolders(folder):
        if entry.name in without:
            continue
        frames = {stem(path): path for path in images_below(entry)}
        if frames:
            found[entry.name] = frames
    return found


def missing(subject: str, what: str, names: Iterable[str]) -> list[str]:
    """Return no sentence for no names, else one that counts them and gives the first ones."""
    listed = sorted(names)
    return [f"{subject}: {len(listed)} frames {what} ({first_names(listed)})"] if listed else []


def first_names(names: Iterable[str]) -> str:
    """Return the first names, and dots where there are more."""
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (", ..." if len(listed) > _NAMED else "")


def require_samples(found: Found, root: Path, expected: str) -> Found:
    """Return what was found.

    Raises:
        UsageError: no image was; says whether there are videos whose frames were not extracted yet.
    """
    if found.samples:
        return found
    if search(root).videos:
        raise UsageError(f"{root}: holds videos, but no frames; run 'lae-tf frames {root} OUT' first, then use OUT.")
    raise UsageError(f"{root}: holds no images in this layout; expected {expected} (see docs/guides/data-sets.md).")


class Components:
    """Names that belong together, directly or through others: each connected set is one group."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._names: dict[str, str] | None = None

    def join(self, *names: str) -> None:
        """Let names belong together; one name alone makes itself known."""
        first = self._root(names[0])
        for name in names[1:]:
            self._parent[self._root(name)] = first
        self._names = None

    def group(self, name: str) -> str:
        """Return a text that is the same for all names that belong to ``name``, and for no others."""
        if self._names is None:
            members: dict[str, list[str]] = {}
            for known in self._parent:
                members.setdefault(self._root(known), []).append(known)
            self._names = {
                root: "_".join(sorted(names)) if len(names) <= _NAMED else f"{min(names)}+{len(names) - 1}"
                for root, names in members.items()
            }
        return self._names[self._root(name)]

    def _root(self, name: str) -> str:
        parent = self._parent.setdefault(name, name)
        while parent != name:
            grand = self._parent[parent]
            self._parent[name] = grand
            name, parent = parent, grand
        return name
