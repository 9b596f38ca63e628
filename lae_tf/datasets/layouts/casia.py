"""CASIA 1 and 2 (Dong et al. 2013), and data sets built alike: authentic, tampered, ground truth."""

from __future__ import annotations

import re
from pathlib import Path

from lae_tf.data.finding import images_below
from lae_tf.datasets.layouts.samples import Components, Found, Sample, by_stem, require_samples, stem
from lae_tf.errors import UsageError
from lae_tf.files.walking import subfolders

_AUTHENTIC = ("au",)
_TAMPERED = ("tp", "sp", "modified tp")
_SOURCE = re.compile(r"[a-z]{3}_?\d{4,}")
_KINDS = {"D": "splice", "S": "copy-move"}


def find(root: Path) -> Found:
    """Find authentic and tampered images, and masks named as these, with or without ``_gt``.

    The images that ``Tp_D_CRN_S_N_ani00052_ani00054_11130`` names as its parts, and all made from them, are one
    group. ``Tp_D`` (parts of different images) is the method splice, ``Tp_S`` (of the same) copy-move.

    Raises:
        UsageError: there are no folders ``Au`` and ``Tp``.
    """
    folders = {entry.name.lower(): entry for entry in subfolders(root)}
    authentic = next((folders[name] for name in _AUTHENTIC if name in folders), None)
    tampered = next((folders[name] for name in _TAMPERED if name in folders), None)
    truth = next((folders[name] for name in sorted(folders) if name == "gt" or "groundtruth" in name), None)
    if authentic is None or tampered is None:
        raise UsageError(f"{root}: expected the folders Au and Tp, and Gt for masks (see docs/guides/data-sets.md).")
    found = Found()
    real = by_stem(images_below(authentic), authentic, found)
    fake = by_stem(images_below(tampered), tampered, found)
    masks = {} if truth is None else _masks(truth, found)
    components = Components()
    for path in (*real.values(), *fake.values()):
        components.join(*_parts(stem(path)))
    found.samples += [Sample(path, components.group(_parts(stem(path))[0])) for path in real.values()]
    for path in fake.values():
        name = stem(path)
        words = name.split("_")
        method = _KINDS.get(words[1] if len(words) > 1 else "", "tampered")
        if name not in masks:
            found.unmatched.append(f"{path}: has no mask {name}_gt.png or {name}.png")
        mask = masks.pop(name, "")
        found.samples.append(Sample(path, components.group(_parts(name)[0]), method, mask=mask))
    for path in masks.values():
        found.leave_out(f"{path}: mask without an image", [path])
    return require_samples(found, root, "Au/Au_ani_00001.jpg, Tp/Tp_D_..._ani00001_....jpg")


def _masks(folder: Path, found: Found) -> dict[str, str]:
    masks: dict[str, str] = {}
    for path in images_below(folder):
        name = stem(path).removesuffix("_gt")
        if name in masks:
            found.leave_out(f"{path}: is a second mask beside {masks[name]}; left out", [path])
        else:
            masks[name] = path
    return masks


def _parts(name: str) -> list[str]:
    """Return the images that a file's name names, or the name itself."""
    return [part.replace("_", "") for part in _SOURCE.findall(name)] or [name]
