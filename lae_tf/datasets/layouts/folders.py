"""Folders that say by their names what is real: pairs of images, and plain real and fake folders."""

from __future__ import annotations

import os
import re
from collections.abc import Set
from pathlib import Path

from lae_tf.data.finding import images_below
from lae_tf.datasets.extraction import holds_frames
from lae_tf.datasets.layouts.samples import (
    Found,
    Sample,
    by_stem,
    relative_stem,
    require_samples,
)
from lae_tf.errors import UsageError
from lae_tf.files.walking import subfolders

_REAL = ("real", "reals", "original", "originals", "0_real")
_FAKE = ("fake", "fakes", "1_fake")
_MASKS = ("mask", "masks")
_OWN_MASKS = re.compile("masks-.*|.*-masks")  # masks-drawn, masks-derived, and MANIFEST-masks
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def find_pairs(root: Path) -> Found:
    """Find edited images and the images they were made from: StarGAN, Glow, inpainting and the like.

    ``real`` holds the untouched images, ``masks`` (if there) masks below folders named as the methods, every other
    folder is a method, but for those into which lae-tf itself writes masks. Files belong together by their path below
    these folders, without the suffix. An image and its edits are one group; so are all frames of a video extracted by
    ``lae-tf frames``.

    Raises:
        UsageError: no folder of real images, or none of edited ones.
    """
    folders = subfolders(root)
    real = _one_of(folders, _REAL)
    masks = _one_of(folders, _MASKS)
    methods = [entry for entry in folders if entry not in (real, masks) and not _OWN_MASKS.fullmatch(entry.name)]
    if real is None or not methods:
        raise UsageError(
            f"{root}: expected a folder 'real' and one beside it for each method (see docs/guides/data-sets.md)."
        )
    found = Found()
    originals = by_stem(images_below(real), real, found)
    groups = _Groups()
    found.samples += [Sample(path, groups.of(path, real)) for path in originals.values()]
    matched: set[str] = set()
    for method in methods:
        edited = by_stem(images_below(method), method, found)
        drawn = by_stem(images_below(masks / method.name), masks / method.name, found) if masks else {}
        for name, path in edited.items():
            source = originals.get(name, "")
            if not source:
                found.unmatched.append(f"{path}: has no image of the stem '{name}' in {real.name}/")
            if drawn and name not in drawn:
                found.unmatched.append(f"{path}: has no mask of the stem '{name}'")
            group = groups.of(source, real) if source else groups.of(path, method)
            found.samples.append(Sample(path, group, method.name, mask=drawn.get(name, ""), source=source))
        _name_unused(drawn, edited.keys(), found)
        matched |= edited.keys()
    found.unmatched += [f"{originals[name]}: has no edited image" for name in sorted(originals.keys() - matched)]
    return require_samples(found, root, "real/0001.png and stargan/0001.png")


def find_folders(root: Path) -> Found:
    """Find images in folders ``real`` and ``fake``, both perhaps below ``train``, ``val`` and ``test``.

    Folders below ``fake`` are methods; without them the method is ``fake``. Masks are matched by their path
    below ``masks`` as the images by theirs below ``fake``. Images of one stem are one group, and so are all
    frames of a video extracted by ``lae-tf frames``.

    Raises:
        UsageError: there is no folder ``real`` or ``fake``.
    """
    splits = {entry: _SPLITS[entry.name.lower()] for entry in subfolders(root) if entry.name.lower() in _SPLITS}
    found = Found()
    for base, split in (splits or {root: ""}).items():
        folders = subfolders(base)
        real, fake, masks = (_one_of(folders, names) for names in (_REAL, _FAKE, _MASKS))
        if real is None and fake is None:
            raise UsageError(f"{base}: expected the folders 'real' and 'fake' (see docs/guides/data-sets.md).")
        groups = _Groups(base.name if split else "")
        if real is not None:
            found.samples += [Sample(path, groups.of(path, real), split=split) for path in images_below(real)]
        if fake is None:
            continue
        drawn = by_stem(images_below(masks), masks, found) if masks else {}
        used: set[str] = set()
        for path in images_below(fake):
            name = relative_stem(path, fake)
            method = groups.method(path, fake)
            if _OWN_MASKS.fullmatch(method):
                continue
            if drawn and name not in drawn:
                found.unmatched.append(f"{path}: has no mask of the stem '{name}'")
            used.add(name)
            group = groups.of(path, fake / method if method else fake)
            found.samples.append(Sample(path, group, method or "fake", split, drawn.get(name, "")))
        _name_unused(drawn, used, found)
    return require_samples(found, root, "real/0001.png and fake/0001.png")


def real_folder(root: Path) -> Path | None:
    """Return the folder of real images in a folder, if there is one."""
    return _one_of(subfolders(root), _REAL)


def has_fakes(root: Path) -> bool:
    """Whether a folder holds one of fakes, itself or below ``train``, ``val`` or ``test``."""
    folders = subfolders(root)
    places = [root, *(entry for entry in folders if entry.name.lower() in _SPLITS)]
    return any(_one_of(subfolders(place), _FAKE) for place in places)


class _Groups:
    """The group of an image: the video it was extracted from, else its own path without the suffix."""

    def __init__(self, prefix: str = ""):
        self._prefix = f"{prefix}/" if prefix else ""
        self._is_video: dict[str, bool] = {}

    def of(self, path: str, folder: Path) -> str:
        video = self._video(path)
        return self._prefix + (relative_stem(path, folder) if video is None else _below(video, folder))

    def method(self, path: str, fake: Path) -> str:
        """Return the first folder below ``fake`` on the way to an image, unless that is a video; or nothing."""
        parts = Path(path).relative_to(fake).parts
        is_method = len(parts) > 1 and self._video(path) != os.path.join(fake, parts[0])
        return parts[0] if is_method else ""

    def _video(self, path: str) -> str | None:
        parent = os.path.dirname(path)
        if parent not in self._is_video:
            self._is_video[parent] = holds_frames(parent)
        return parent if self._is_video[parent] else None


def _below(path: str, folder: Path) -> str:
    return os.path.relpath(path, folder).replace(os.sep, "/")


def _name_unused(drawn: dict[str, str], used: Set[str], found: Found) -> None:
    for name in sorted(drawn.keys() - used):
        found.leave_out(f"{drawn[name]}: mask without an image", [drawn[name]])


def _one_of(folders: list[Path], names: tuple[str, ...]) -> Path | None:
    return next((entry for entry in folders if entry.name.lower() in names), None)
