"""Whatever lies in a data set's folder and became neither image nor mask, in sentences."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from lae_tf.data.finding import search
from lae_tf.datasets.layouts.samples import Found, first_names

_OWN_FOLDERS = ("masks-drawn", "masks-derived")


def left_over(root: Path, found: Found) -> list[str]:
    """Return a sentence for each image that a layout passed over without one, or for a whole folder of such.

    Hidden files and the folders that this package writes masks to are no part of the data set. Videos count as well,
    a sentence for each folder of them.

    Args:
        root: the data set's folder, absolute.
        found: what the layout found there.
    """
    links: list[str] = []
    contents = search(root, links=links)
    used = {path for sample in found.samples for path in (sample.path, sample.mask)} | found.explained
    sentences = [one.sentence for one in contents.left_out]
    sentences += [
        f"{link}: left out, is a link to a folder; put the folder itself there"
        for link in links
        if not any(path.startswith(os.path.join(link, "")) for path in used)
    ]
    images: defaultdict[str, list[str]] = defaultdict(list)
    for path in contents.images:
        images[os.path.dirname(path)].append(path)
    for folder, paths in images.items():
        left = [path for path in paths if path not in used]
        if not left or _is_own(Path(folder), root):
            continue
        if len(left) == len(paths) and Path(folder) != root:
            named = first_names(map(os.path.basename, left))
            sentences.append(f"{_below(folder, root)}: {len(left)} images left out ({named}), {found.reason}")
        else:
            sentences += [f"{path}: left out, {found.reason}" for path in left]
    videos: defaultdict[str, list[str]] = defaultdict(list)
    for path in contents.videos:
        videos[os.path.dirname(path)].append(os.path.basename(path))
    for folder, names in videos.items():
        sentences.append(
            f"{_below(folder, root)}: {len(names)} videos left out ({first_names(names)}); a manifest holds images, "
            "which 'lae-tf frames' takes from videos"
        )
    return sentences


def _is_own(folder: Path, root: Path) -> bool:
    """Whether this package wrote the masks in a folder: ``masks-drawn``, or ``NAME-masks`` beside a manifest NAME."""
    while folder != root:
        manifests = [folder.with_name(folder.name.removesuffix("-masks") + suffix) for suffix in (".csv", ".parquet")]
        drawn = folder.name.endswith("-masks") and any(map(Path.is_file, manifests))
        if drawn or folder.name in _OWN_FOLDERS:
            return True
        folder = folder.parent
    return False


def _below(folder: str, root: Path) -> str:
    return os.path.relpath(folder, root).replace(os.sep, "/") if folder != str(root) else folder
