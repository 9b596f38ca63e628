"""The real images that a folder is forged from: their names, groups and splits."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lae_tf.data.contract import SPLITS, require_shares
from lae_tf.data.finding import images_below
from lae_tf.data.splits import divide
from lae_tf.datasets.extraction import holds_frames
from lae_tf.errors import UsageError
from lae_tf.files.walking import LeftOut
from lae_tf.forge.methods import find_method
from lae_tf.images.files import SUFFIXES


@dataclass(frozen=True)
class Source:
    """A real image.

    Attributes:
        path: of its file.
        name: of its results, relative to the common folder, without suffix, in POSIX form.
        group: what stays in one split with it.
        split: train, val or test; empty until it is divided.
    """

    path: str
    name: str
    group: str
    split: str


def find_real(
    real: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: Path, left_out: list[LeftOut]
) -> tuple[Path, list[str]]:
    """Return the folder that all real images lie below, and their absolute paths."""
    if isinstance(real, (str, os.PathLike)):
        folder = Path(os.path.abspath(real))
        if not folder.is_dir():
            raise UsageError(f"{real}: no such folder of real images")
        # the results may lie below the real images, and are no input
        files = sorted(images_below(folder, without=out, left_out=left_out))
        if not files:
            said = f". Left out: {left_out[0].sentence}" if left_out else ""
            raise UsageError(f"{real}: holds no image ({', '.join(SUFFIXES)}){said}")
        return folder, files
    files = sorted({os.path.abspath(path) for path in real})
    if not files:
        raise UsageError("no real images given")
    return Path(os.path.commonpath([os.path.dirname(path) for path in files])), files


def sources_of(folder: Path, files: Sequence[str], groups: Mapping[str, str] | None) -> list[Source]:
    """Return the real images with their groups, and no split yet."""
    names = _names(files, folder)
    if groups is None:
        videos = {path: holds_frames(path) for path in set(map(os.path.dirname, files))}
        pairs = zip(files, names, strict=True)
        found = [os.path.dirname(name) or "." if videos[os.path.dirname(path)] else name for path, name in pairs]
    else:
        by_path = {os.path.abspath(path): group for path, group in groups.items()}
        missing = [path for path in files if path not in by_path]
        if missing:
            raise UsageError(f"{missing[0]}: has no group; {len(missing)} of {len(files)} files have none")
        found = [by_path[path] for path in files]
    return [Source(path, name, group, "") for path, name, group in zip(files, names, found, strict=True)]


def placed(sources: Sequence[Source], home: Mapping[str, str]) -> list[Source]:
    """Give every image the split of its group.

    Raises:
        UsageError: a group without one.
    """
    for source in sources:
        if home.get(source.group) not in SPLITS:
            found = home.get(source.group)
            raise UsageError(f"group '{source.group}': split is {found}, expected {', '.join(SPLITS)}")
    return [replace(source, split=home[source.group]) for source in sources]


def _names(files: Sequence[str], folder: Path) -> list[str]:
    """Return the name of each file's results, without suffixes unless ``a.jpg`` lies beside ``a.png``."""
    whole = [Path(path).relative_to(folder) for path in files]
    plain = [path.with_suffix("").as_posix() for path in whole]
    return plain if len(set(plain)) == len(plain) else [path.as_posix() for path in whole]


def divide_sources(
    sources: Sequence[Source], methods: Sequence[str], splits: tuple[float, float, float], seed: int
) -> dict[str, str]:
    """Return a split for each group, so that every split can be forged.

    Raises:
        UsageError: there are too few images or groups.
    """
    require_shares(splits)
    shares = {split: share for split, share in zip(SPLITS, splits, strict=True) if share > 0}
    sizes = Counter(source.group for source in sources)
    units = {group: [group] for group in sizes}
    if all(find_method(method).needs_donor for method in methods):
        units = _in_company(sizes, seed)
        if len(units) < len(shares) <= len(sizes):
            raise UsageError(
                f"{len(sources)} images cannot give each of the splits {', '.join(shares)} two, and "
                f"{', '.join(methods)} needs a second one as donor; add images, ask for fewer splits (--splits), or "
                "name a method without donors"
            )
    numbers = {unit: {"": sum(sizes[group] for group in members)} for unit, members in units.items()}
    home = divide(numbers, shares, seed)
    return {group: home[unit] for unit, members in units.items() for group in members}


def _in_company(sizes: Mapping[str, int], seed: int) -> dict[str, list[str]]:
    """Put groups of one image together by twos or threes, so that no split gets an image without a donor."""
    single = [group for group, size in sizes.items() if size == 1]
    single.sort(key=lambda group: hashlib.sha256(f"{seed}\0{group}".encode("utf-8", "surrogateescape")).digest())
    units = {group: [group] for group, size in sizes.items() if size > 1}
    units |= {single[i]: single[i : i + 2] for i in range(0, len(single) - 1, 2)}
    if len(single) % 2:
        units.setdefault(min(units, default=single[-1]), []).append(single[-1])
    return units
