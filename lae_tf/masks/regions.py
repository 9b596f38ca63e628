"""Regions that a map marks: its mask at the size of the image, and what hangs together in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lae_tf.images.scaled_map import ScaledMap

LEVEL = 0.5
"""Attention above it is marked: the level at which validation agrees best with the masks."""
SMALLEST_SHARE = 0.001
"""Of the image's area; smaller regions are not listed."""


@dataclass(frozen=True)
class MarkedRegion:
    """One region of an image, 8-connected.

    Attributes:
        box: x, y, width and height in pixels of the image: columns x to x + width - 1.
        area: pixels that are marked.
        share: of the image's pixels, in (0, 1].
        score: mean attention inside, in (LEVEL, 1].
        peak: highest attention inside.
        mask: uint8 (height, width) of the box, 1 where marked, 0 elsewhere.
    """

    box: tuple[int, int, int, int]
    area: int
    share: float
    score: float
    peak: float
    mask: NDArray[np.uint8]

    def record(self) -> dict[str, object]:
        """Return the fields for JSON, without the mask."""
        return {
            "box": list(self.box),
            "area": self.area,
            "share": round(self.share, 6),
            "score": round(self.score, 4),
            "peak": round(self.peak, 4),
        }

    def on_image(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return its mask on the whole image, uint8 (height, width) in {0, 1}."""
        whole = np.zeros((height, width), np.uint8)
        x, y, across, down = self.box
        whole[y : y + down, x : x + across] = self.mask
        return whole


def marked(attention: ScaledMap) -> NDArray[np.uint8]:
    """Return the mask of a map, uint8 (H, W): 1 where it is above ``LEVEL``, 0 elsewhere."""
    mask = np.empty((attention.height, attention.width), np.uint8)
    for rows, values in attention.strips():
        mask[rows] = values > LEVEL
    return mask


def find_regions(attention: ScaledMap, mask: NDArray[np.uint8]) -> list[MarkedRegion]:
    """Return the regions of a mask, by score times area, the most suspicious first.

    Regions of less than ``SMALLEST_SHARE`` of the image are left out.

    Args:
        attention: the map.
        mask: as :func:`marked` makes it of the map.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    regions = []
    for number in range(1, count):  # 0 is what is not marked
        x, y, across, down, area = (int(value) for value in statistics[number])
        if area < SMALLEST_SHARE * mask.size:
            continue
        inside = labels[y : y + down, x : x + across] == number
        total, peak = 0.0, 0.0
        for rows, values in attention.strips(y, y + down):
            found = values[:, x : x + across][inside[rows.start - y : rows.stop - y]]
            total += float(found.sum(dtype=np.float64))
            peak = max(peak, float(found.max()))
        box = (x, y, across, down)
        regions.append(MarkedRegion(box, area, area / mask.size, total / area, peak, inside.astype(np.uint8)))
    return sorted(regions, key=lambda one: -one.score * one.area)
