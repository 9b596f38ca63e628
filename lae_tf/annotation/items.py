"""The selected images, what an annotator made of them, and how a file's name finds its image."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path

import cv2
import numpy as np

from lae_tf.annotation.foreign_names import (
    Reading,
    original_stems,
    path_readings,
    split_path,
    upload_stem,
    url_readings,
)
from lae_tf.annotation.surroundings import Cut
from lae_tf.images.files import read_image

FORGED = "forged"
NOT_FAKE = "not a fake"
"""Labels in other tools: a forged region, and the verdict that there is none."""

_LONGEST_NAME = 80
_EXPORTED = re.compile(r"\d{4,}-.*-[0-9a-f]{8}", re.DOTALL)
"""What :attr:`Item.name` looks like."""


@dataclass(frozen=True)
class Item:
    """One selected image.

    Attributes:
        rank: place in the selection, from 1.
        image: absolute path of the image.
        reason: why it was selected, in words.
        utility: what the strategy gave it.
        attention: grey PNG of any size, calibrated attention in [0, 1] scaled to [0, 255], or None.
        cut: where it was cut from a larger picture, or None where that is not known.
    """

    rank: int
    image: Path
    reason: str = ""
    utility: float = 0.0
    attention: Path | None = None
    cut: Cut | None = None

    @property
    def name(self) -> str:
        """Name without a suffix, safe in any file system and URL.

        No other selected image has it, in no round of any run: it ends with a digest of the image's path.
        """
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", self.image.stem)[:_LONGEST_NAME]
        return f"{self.rank:04d}-{stem}-{hashlib.sha256(os.fsencode(self.image)).hexdigest()[:8]}"

    def size(self) -> tuple[int, int]:
        """Return height and width of the upright image.

        Raises:
            ImageError: the image cannot be used.
        """
        height, width = read_image(self.image).shape[:2]
        return height, width

    def starting_mask(self, height: int, width: int, threshold: float = 0.5) -> np.ndarray | None:
        """Return where the attention exceeds a threshold, for a person to correct.

        Where it exceeds the threshold nowhere, half its own maximum stands in its place, as on the page.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.
            threshold: of the attention, in [0, 1]; it is resized to the image bilinearly before.

        Returns:
            uint8 (height, width) in {0, 1}, or None where there is no attention at all.

        Raises:
            ImageError: the attention file cannot be used.
        """
        if self.attention is None:
            return None
        heat = cv2.resize(read_image(self.attention)[..., 0], (width, height), interpolation=cv2.INTER_LINEAR)
        peak = float(np.max(heat))
        level = 255 * threshold if peak > 255 * threshold else peak / 2
        return (heat > level).astype(np.uint8) if peak else None


@dataclass(frozen=True)
class Drawing:
    """What an annotator made of one selected image.

    Attributes:
        item: the image.
        source: where it was found, for messages: a file, or a place in one.
        mask: uint8 (H, W) in {0, 1}, or None: judged not to be a fake.
    """

    item: Item
    source: str
    mask: np.ndarray | None


class ImageNames:
    """Finds the selected image that a file's name in another tool stands for.

    A name counts without its suffix. It is :attr:`Item.name`, in whichever folder, or the end of exactly one selected
    image's path, in whole components: ``a`` and ``x/a`` stand for ``/data/x/a.png``, ``y/a`` and ``1`` do not. Of a
    name that begins at a root of another system, ``C:\\x\\a.png`` or ``s3://bucket/x/a.png``, the first folders may be
    unknown here: it stands for the one known image whose path has the longest end in common with it. If it is none
    of these, the file may have been renamed on the way: ``0123abcd-a`` (Label Studio) and ``a_png.rf.0123`` (Roboflow)
    stand for ``a``.

    Args:
        items: the selected images.
        others: other images that a name may stand for, such as the manifest's.

    Attributes:
        found: how many of the names asked for were of selected images.
        strangers: the names asked for that were not.
    """

    def __init__(self, items: Sequence[Item], others: Iterable[str] = ()):
        self.found = 0
        self.strangers: list[str] = []
        self._exported = {item.name: str(item.image) for item in items}
        self._selected = {str(item.image): item for item in items}
        self._by_stem: defaultdict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for path in dict.fromkeys((*self._selected, *others)):
            parts = split_path(Path(path).as_posix()).parts
            if parts:
                self._by_stem[parts[-1]].append((parts, path))

    def find(self, path: str) -> Item | str:
        """Return the selected image of a path, or one sentence's end that says why there is none."""
        return self._choose(path, path_readings(path))

    def find_url(self, url: str) -> Item | str:
        """Return the selected image of a URL in Label Studio, or one sentence's end that says why there is none."""
        return self._choose(url, url_readings(url))

    def are_of_another_run(self) -> bool:
        """Whether all names asked for are such as ``export-tasks`` gives, but not those of the selected images."""
        stems = [{reading.parts[-1] for rank in url_readings(name) for reading in rank} for name in self.strangers]
        return not self.found and all(
            any(map(_EXPORTED.fullmatch, (*each, *chain.from_iterable(map(original_stems, each))))) for each in stems
        )

    def _choose(self, name: str, ranks: Iterable[set[Reading]]) -> Item | str:
        fits: set[str] = set()
        stems: set[str] = set()
        for readings in ranks:
            stems |= {reading.parts[-1] for reading in readings}
            fits = fits or {path for reading in readings for path in self._fitting(reading)}
        originals = set(chain.from_iterable(map(original_stems, stems)))
        fits = fits or {path for stem in originals for path in self._fitting(Reading((stem,), "", False))}
        fits = fits or {path for path, item in self._selected.items() if upload_stem(item.image.stem) in originals}
        if not fits & self._selected.keys():
            self.strangers.append(name)
            return f"'{name}' is not a selected image"
        self.found += 1
        if len(fits) > 1:
            first, second = sorted(fits)[:2]
            return f"'{name}' fits {len(fits)} images, such as {first} and {second}"
        return self._selected[fits.pop()]

    def _fitting(self, reading: Reading) -> list[str]:
        if reading.parts[-1] in self._exported:
            return [self._exported[reading.parts[-1]]]
        known = self._by_stem.get(reading.parts[-1], [])
        if not reading.anchored:
            end = reading.parts
            return [path for parts, path in known if path in self._selected and parts[-len(end) :] == end]
        common = [_common_end(parts, reading.parts) for parts, _ in known]
        return [path for (_, path), length in zip(known, common, strict=True) if length == max(common)]


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
