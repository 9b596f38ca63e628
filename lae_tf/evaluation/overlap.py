"""Test images that training saw: the same files, copies of them, and images of the same sources."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from lae_tf.errors import ImageError, LAEError
from lae_tf.images.files import read_bytes


def check_overlap(tested: pd.DataFrame, trained: pd.DataFrame) -> list[str]:
    """Refuse images of training, and say which test images are copies of those or of the same groups.

    Args:
        tested: rows of a manifest that shall be scored.
        trained: rows that the model was trained and calibrated on.

    Returns:
        Sentences, none where nothing overlaps.

    Raises:
        LAEError: files that training used stand in ``tested``.
    """
    leaked = tested.loc[tested["path"].isin(trained["path"]), "path"]
    if len(leaked):
        raise LAEError(
            f"{len(leaked)} test images were used in training, the first is {leaked.iloc[0]}; "
            "numbers on them would mean nothing. Remove them from the manifest's test split."
        )
    cautions = []
    copies = find_copies(tested["path"], trained["path"])
    if copies:
        copy, original = next(iter(copies.items()))
        cautions.append(
            f"{len(copies)} of {len(tested)} test images are copies of training images, the first is {copy}, the same "
            f"as {original}: numbers are too good. Remove them from the manifest's test split."
        )
    groups = pd.unique(tested.loc[tested["group"].isin(trained["group"]) & (tested["group"] != ""), "group"])
    if len(groups):
        cautions.append(
            f"{len(groups)} groups of the test images, the first is '{groups[0]}', are groups of training images too: "
            "numbers are too good if they name the same sources."
        )
    return cautions


def find_copies(files: Iterable[str], among: Iterable[str]) -> dict[str, str]:
    """Find files with the bytes of others.

    Only files of one size are read. Those that cannot be read are no copies here; whoever needs them says so.

    Returns:
        For each file that has an equal, the first such file of ``among``.
    """
    originals = _by_size(among)
    suspects = {size: names for size, names in _by_size(files).items() if size in originals}
    with ThreadPoolExecutor() as pool:
        first: dict[bytes, str] = {}
        candidates = [name for size in suspects for name in originals[size]]
        for name, digest in zip(candidates, pool.map(_digest, candidates), strict=True):
            first.setdefault(digest, name)
        asked = [name for names in suspects.values() for name in names]
        digests = pool.map(_digest, asked)
        return {name: first[digest] for name, digest in zip(asked, digests, strict=True) if digest and digest in first}


def _by_size(files: Iterable[str]) -> dict[int, list[str]]:
    found = defaultdict(list)
    for file in files:
        try:
            found[os.stat(file).st_size].append(file)
        except OSError:
            continue
    return found


def _digest(file: str) -> bytes:
    try:
        return hashlib.sha256(read_bytes(file)).digest()
    except ImageError:
        return b""
