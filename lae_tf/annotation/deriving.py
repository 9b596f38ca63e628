"""Masks without people: where the untouched source of a fake is at hand, the difference shows what was forged."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lae_tf.data.contract import LARGEST_COVERAGE
from lae_tf.data.finding import search
from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError, UsageError
from lae_tf.files.atomic import keep_copy
from lae_tf.images.files import read_image, write_png
from lae_tf.masks.differencing import Differencing, difference_mask


@dataclass(frozen=True)
class Derived:
    """What differencing did to a manifest.

    Attributes:
        masks: how many fakes have a derived mask now that had none.
        without_source: files of fakes left unlabelled because no source was found.
        without_difference: files of fakes left unlabelled because nothing, or nearly everything, differs.
        problems: one sentence for each fake left unlabelled because it or its source cannot be used.
        backup: copy of the manifest as it was before, or None where there was nothing to change.
        left_out: one sentence for each source that cannot be read, and each folder of them.
    """

    masks: int
    without_source: list[str]
    without_difference: list[str]
    problems: list[str]
    backup: str | None
    left_out: list[str]


def derive_masks(manifest_path: Path, sources: Path | None, masks: Path, parameters: Differencing) -> Derived:
    """Give every unlabelled fake whose source is found a mask, marked ``derived`` in the manifest.

    A fake's source is the image in ``sources`` whose path there, without the suffix, is the longest end of the
    fake's own path (``sources/000/0001.png`` for ``fakes/000/0001.jpg``); else the one whose stem is the
    fake's group. Without ``sources`` it is the manifest's real image of the fake's group, if there is exactly
    one.

    Args:
        manifest_path: the manifest; a copy of it is kept.
        sources: folder of untouched images, searched through its subfolders; None takes the manifest's own.
        masks: folder for the masks; made if it is missing.
        parameters: of the differencing.

    Raises:
        UsageError: there are no sources, or none of any unlabelled fake, or no unlabelled fake.
    """
    manifest = Manifest.read(manifest_path)
    left_out: list[str] = []
    index = _GroupIndex(manifest.frame) if sources is None else _SourceIndex(sources, left_out)
    rows = np.flatnonzero(manifest.mask_state == "unlabelled")
    if not len(rows):
        raise UsageError(f"{manifest_path}: every fake has a mask already; there is none to derive.")
    frame = manifest.frame.copy()
    if "mask_source" not in frame:
        frame["mask_source"] = ""
    found = {int(row): index.find(Path(frame["path"][row]), frame["group"][row]) for row in rows}
    pairs = {row: source for row, source in found.items() if source is not None}
    if not pairs:
        raise UsageError(
            f"{sources or manifest_path}: holds no source of any of the {len(rows)} unlabelled fakes; expected "
            + ("their group's only real image." if sources is None else "an image named as the fake or its group.")
        )
    problems: list[str] = []
    undrawable: list[str] = []
    drawn: dict[int, str] = {}
    for row, source in tqdm(pairs.items(), desc="difference", unit=" images"):
        fake = frame["path"][row]
        try:
            mask = difference_mask(read_image(fake), read_image(source), parameters)
        except UsageError as error:
            problems.append(f"{fake}, {source}: {error}")
            continue
        except ImageError as error:
            problems.append(str(error))
            continue
        if not 0 < mask.mean() <= LARGEST_COVERAGE:
            undrawable.append(fake)
            continue
        # The digest tells apart fakes of one name in several folders.
        name = f"{Path(fake).stem}-{hashlib.sha256(os.fsencode(fake)).hexdigest()[:8]}.png"
        drawn[row] = os.path.abspath(masks / name)
        write_png(drawn[row], mask * np.uint8(255))
    backup = None
    if drawn:
        frame.loc[list(drawn), "mask"] = list(drawn.values())
        frame.loc[list(drawn), "mask_source"] = "derived"
        backup = str(keep_copy(manifest_path))
        Manifest(frame, manifest.root).write(manifest_path)
    alone = [frame["path"][row] for row, source in found.items() if source is None]
    return Derived(len(drawn), alone, undrawable, problems, backup, left_out)


class _GroupIndex:
    """Finds a fake's source in the manifest."""

    def __init__(self, frame: pd.DataFrame):
        reals = frame[frame["label"] == "real"].drop_duplicates("group", keep=False)
        self._by_group = dict(zip(reals["group"], reals["path"], strict=True))

    def find(self, fake: Path, group: str) -> Path | None:
        path = self._by_group.get(group)
        return None if path is None else Path(path)


class _SourceIndex:
    """Finds a fake's source in a folder."""

    def __init__(self, folder: Path, left_out: list[str]):
        self._by_end: dict[tuple[str, ...], Path] = {}
        self._by_stem: defaultdict[str, list[Path]] = defaultdict(list)
        contents = search(folder)
        left_out += [one.sentence for one in contents.unread(videos=False)]
        for path in sorted(map(Path, contents.images)):
            self._by_end.setdefault(path.relative_to(folder).with_suffix("").parts, path)
            self._by_stem[path.stem].append(path)
        if not self._by_end:
            raise UsageError(f"{folder}: holds no images.")

    def find(self, fake: Path, group: str) -> Path | None:
        parts = fake.with_suffix("").parts
        for start in range(1, len(parts)):
            source = self._by_end.get(parts[start:])
            if source is not None and not source.samefile(fake):
                return source
        named = self._by_stem.get(group, [])
        return named[0] if len(named) == 1 and not named[0].samefile(fake) else None
