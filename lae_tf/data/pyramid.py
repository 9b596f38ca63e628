"""Windows all over an image of any size, at its own resolution and at halves of it, and maps put together from theirs.

The pyramid, its windows and their blending are our definition (docs/guides/views.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

STEP = 0.75  # of a window's side, from one window to the next
_FLAT = 1.0  # grey levels: the standard deviation below which a window has nothing to look at


class Window(NamedTuple):
    """A square of a level: its upper left corner in the level's pixels, whole cells."""

    top: int
    left: int


class Level:
    """One resolution of an image, with the evidence found in its windows.

    Args:
        image: uint8 (H, W, 3).
        factor: by which each side of the whole image was divided, a power of two.
        side: of the windows in pixels.
        cell: pixels for each value of the windows' maps; divides ``side``.
    """

    def __init__(self, image: np.ndarray, factor: int, side: int, cell: int):
        self.factor, self.side, self.cell = factor, side, cell
        self.size: tuple[int, int] = image.shape[:2]
        below, beside = (max(side, -(-length // cell) * cell) - length for length in self.size)
        # Mirrored, not black: an edge would be evidence.
        self._pixels = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REFLECT)
        rows, columns = (length // cell for length in self._pixels.shape[:2])
        self._sums, self._weights = np.zeros((2, rows, columns), np.float32)
        ramp = np.hanning(side // cell + 2)[1:-1]
        self._blend = np.outer(ramp, ramp).astype(np.float32)

    def windows(self) -> list[Window]:
        """Return windows that cover the level, at even distances of at most ``STEP`` of their side."""
        places = [self._places(length) for length in self._pixels.shape[:2]]
        return [Window(top, left) for top in places[0] for left in places[1]]

    def _places(self, length: int) -> list[int]:
        last = length - self.side
        count = math.ceil(last / (STEP * self.side)) + 1
        return sorted({round(place / self.cell) * self.cell for place in np.linspace(0, last, count)})

    def cut(self, window: Window) -> np.ndarray:
        """Return a window's pixels, uint8 (side, side, 3)."""
        return self._pixels[window.top : window.top + self.side, window.left : window.left + self.side]

    def texture(self, window: Window) -> float:
        """Return how much there is to see in a window, in grey levels; 0 where it is flat."""
        deviation = float(cv2.meanStdDev(cv2.cvtColor(self.cut(window), cv2.COLOR_RGB2GRAY))[1][0, 0])
        return deviation if deviation >= _FLAT else 0.0

    def add(self, window: Window, evidence: np.ndarray) -> None:
        """Blend a window's map, float32 (side / cell, side / cell), into the level's."""
        row, column, cells = window.top // self.cell, window.left // self.cell, self.side // self.cell
        place = (slice(row, row + cells), slice(column, column + cells))
        self._sums[place] += self._blend * evidence
        self._weights[place] += self._blend

    def evidence_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the blended evidence at places of the image, bilinearly; NaN where no window was looked at.

        Args:
            rows: float (h,), from 0 at the upper border of the image to 1 at the lower one.
            columns: float (w,), alike.

        Returns:
            float32 (h, w).
        """
        with np.errstate(invalid="ignore"):
            blended = self._sums / self._weights
        y, x = (share * size / self.cell - 0.5 for share, size in zip((rows, columns), self.size, strict=True))
        return sampled(blended, y, x)


def sampled(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return a map (H, W) at fractional rows (h,) and columns (w,), bilinearly, its border going on: (h, w)."""
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def pyramid(image: np.ndarray, side: int, cell: int) -> list[Level]:
    """Return the levels of an image from its own resolution down, as long as they are larger than a window.

    Args:
        image: uint8 (H, W, 3).
        side: of the windows.
        cell: of their maps.
    """
    levels = []
    factor = 1
    while max(image.shape[:2]) > side:
        levels.append(Level(image, factor, side, cell))
        image, factor = halved(image), 2 * factor
    return levels


def halved(image: np.ndarray) -> np.ndarray:
    """Return an image of half the sides, at least one pixel each: means of four pixels, halves rounded up.

    The last row and column of odd sides are left out, so that the means are the same wherever they are taken; a single
    row or column counts twice.

    Args:
        image: uint8 (H, W) or (H, W, 3).
    """
    height, width = (max(1, length // 2) for length in image.shape[:2])
    below, beside = (int(length == 1) for length in image.shape[:2])
    even = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE)[: 2 * height, : 2 * width]
    halves = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(halves).reshape(height, width, *image.shape[2:])
