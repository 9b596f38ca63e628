"""Polygons to masks, and back.

Convention (ours; it makes outlines along pixel edges exact): coordinates are continuous, (0, 0) is the upper
left corner of the upper left pixel, so that the pixel in column x and row y spans [x, x + 1] x [y, y + 1]. A
pixel is forged where its centre (x + 0.5, y + 0.5) is inside by the even-odd rule. Points outside the image
are allowed.
"""

from __future__ import annotations

import cv2
import numpy as np

FARTHEST = 1e9
"""Pixels from the corner to which points are drawn near: differences of larger numbers may overflow."""


def fill_polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill one closed polygon.

    Args:
        points: float (N, 2), x and y in pixels.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        uint8 (height, width) in {0, 1}.
    """
    points = np.clip(np.asarray(points, dtype=float), -FARTHEST, FARTHEST)
    toggles = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # Rows whose centre is in [y0, y1): a vertex on a centre belongs to one of its two edges.
        top, bottom = np.clip(np.ceil([y0 - 0.5, y1 - 0.5]), 0, height).astype(int)
        if top >= bottom:
            continue
        rows = np.arange(top, bottom)
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)
        toggles[rows, columns] ^= 1  # every row occurs once an edge
    return np.bitwise_xor.accumulate(toggles, axis=1)[:, :width]


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the outline of a region; holes are filled.

    Few points can be dragged: they follow it to half a pixel, and of a large region to a 500th of its longer side.

    Args:
        mask: uint8 (H, W) in {0, 1}, one 8-connected region.

    Returns:
        float (N, 2), x and y in pixels.
    """
    # A corner of pixels belongs to the region where one of its four pixels does: its outline runs along their edges.
    corners = cv2.dilate(np.pad(mask, ((0, 1), (0, 1))), np.ones((2, 2), np.uint8), anchor=(1, 1))
    contours, _ = cv2.findContours(corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    longest = max(contours, key=len)
    return cv2.approxPolyDP(longest, max(0.5, max(mask.shape) / 500), True).reshape(-1, 2).astype(float)
