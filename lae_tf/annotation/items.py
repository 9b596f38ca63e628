"""The selected images, what an annotator made of them, and how a file's name finds its image."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from lae_tf.data.images import read_image
from lae_tf.errors import UsageError

FORGED = "forged"
NOT_FAKE = "not a fake"
"""Labels in other tools: a forged region, and the verdict that there is none."""

_LONGEST_NAME = 80
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that is uploaded to it."""


@dataclass(frozen=True)
class Item:
    """One selected image.

    Attributes:
        rank: place in the selection, from 1.
        image: absolute path of the image.
        reason: why it was selected, in words.
        utility: what the strategy gave it.
        attention: grey PNG of any size, calibrated attention in [0, 1] scaled to [0, 255], or None.
    """

    rank: int
    image: Path
    reason: str = ""
    utility: float = 0.0
    attention: Path | None = None

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

        Args:
            height: of the image in pixels.
            width: of the image in pixels.
            threshold: of the attention, in [0, 1]; it is resized to the image bilinearly before.

        Returns:
            uint8 (height, width) in {0, 1}, or None where there is no attention above the threshold.

        Raises:
            ImageError: the attention file cannot be used.
        """
        if self.attention is None:
            return None
        heat = cv2.resize(read_image(self.attention)[..., 0], (width, height), interpolation=cv2.INTER_LINEAR)
        mask = (heat > 255 * threshold).astype(np.uint8)
        return mask if mask.any() else None


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

    A name counts without its suffix. It is :attr:`Item.name`, or the end of exactly one selected image's
    path, in whole components: ``a`` and ``x/a`` stand for ``/data/x/a.png``, ``y/a`` and ``1`` do not. If it
    is neither, the file may have been uploaded to Label Studio: ``upload/1/0123abcd-a`` stands for ``a``.

    Attributes:
        found: how many of the names asked for were of selected images.
        strangers: the names asked for that were not.
    """

    def __init__(self, items: Sequence[Item]):
        self.found = 0
        self.strangers: list[str] = []
        self._exported = {item.name: item for item in items}
        self._by_end: dict[tuple[str, ...], list[Item]] = {}
        for item in items:
            parts = _parts(item.image.as_posix())
            for start in range(len(parts)):
                self._by_end.setdefault(parts[start:], []).append(item)

    def find(self, name: str) -> Item | str:
        """Return the selected image, or one sentence's end that says why there is none."""
        parts = _parts(name)
        found = self._find(parts)
        if not found and parts and _UPLOADED.match(parts[-1]):
            found = self._find((_UPLOADED.sub("", parts[-1], count=1),))
        if not found:
            self.strangers.append(name)
            return f"'{name}' is not a selected image"
        self.found += 1
        if len(found) > 1:
            return f"'{name}' fits {len(found)} selected images, such as {found[0].image} and {found[1].image}"
        return found[0]

    def _find(self, parts: tuple[str, ...]) -> Sequence[Item]:
        if parts and parts[-1] in self._exported:
            return [self._exported[parts[-1]]]
        return self._by_end.get(parts, [])


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name.replace(os.sep, "/"))
    return tuple(part for part in path.with_suffix("").parts if part != "/") if path.name else ()


def read_json(path: Path) -> Any:
    """Read a JSON file that another tool wrote.

    Raises:
        UsageError: no such file, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is not JSON: {error}") from None
