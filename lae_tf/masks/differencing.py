"""Masks without people: where the untouched source of a fake is at hand, the difference shows what was forged."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from skimage.filters import apply_hysteresis_threshold
from tqdm import tqdm

from lae_tf.annotation.import_masks import LARGEST_COVERAGE, keep_copy
from lae_tf.data.finding import search
from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError, UsageError
from lae_tf.images.files import read_image, write_png


@dataclass(frozen=True)
class Differencing:
    """Parameters; all are ours.

    Attributes:
        blur: sigma in pixels of the Gaussian that both images pass first; it quiets compression noise.
        threshold: a region is forged if a channel of one of its pixels differs by more, in [0, 255].
        extent: it reaches as far as pixels differ by more than this; counts as ``threshold`` if it is above.
        closing: diameter in pixels of the disc that closes gaps within what differs.
        smallest_area: regions of fewer pixels are dropped, holes of fewer are filled.
    """

    blur: float = 1.0
    threshold: float = 12.0
    extent: float = 6.0
    closing: int = 5
    smallest_area: int = 64


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


def difference_mask(fake: np.ndarray, source: np.ndarray, parameters: Differencing | None = None) -> np.ndarray:
    """Return where a fake differs from its source.

    Args:
        fake: uint8 (H, W, 3).
        source: uint8 (H, W, 3), the untouched image.
        parameters: None takes the defaults.

    Returns:
        uint8 (H, W) in {0, 1}; nothing where nothing differs.

    Raises:
        UsageError: the sizes differ.
    """
    if fake.shape != source.shape:
        raise UsageError(
            f"the fake has {fake.shape[1]} x {fake.shape[0]} pixels, its source {source.shape[1]} x {source.shape[0]}"
        )
    given = parameters or Differencing()
    first, second = (_blurred(image, given.blur) for image in (fake, source))
    difference = np.abs(first - second).max(axis=2)
    # One threshold either cuts soft forgeries short or lets compression noise in.
    differs = apply_hysteresis_threshold(difference, given.extent, given.threshold).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    mask = cv2.morphologyEx(differs, cv2.MORPH_OPEN, cross)  # single pixels are noise
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (given.closing, given.closing))
    # OpenCV takes what lies beyond the image for forged when it erodes, which would close gaps at the edge.
    closed = np.asarray(cv2.morphologyEx(np.pad(mask, given.closing), cv2.MORPH_CLOSE, disc))
    mask = closed[given.closing : -given.closing, given.closing : -given.closing]
    mask = _without_small(mask, given.smallest_area)
    return 1 - _without_small(1 - mask, given.smallest_area) if mask.any() else mask


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
        UsageError: there are no sources, or none of any unlabelled fake.
    """
    manifest = Manifest.read(manifest_path)
    left_out: list[str] = []
    index = _GroupIndex(manifest.frame) if sources is None else _SourceIndex(sources, left_out)
    rows = np.flatnonzero(manifest.mask_state == "unlabelled")
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


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    values = image.astype(np.float32)
    return cv2.GaussianBlur(values, (0, 0), sigma) if sigma > 0 else values


def _without_small(mask: np.ndarray, area: int) -> np.ndarray:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask), connectivity=8)
    keep = statistics[:, cv2.CC_STAT_AREA] >= area
    keep[0] = False  # the background
    return keep[labels].astype(np.uint8)
