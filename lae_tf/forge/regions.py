"""Random regions to forge, with an area that is asked for."""

from __future__ import annotations

import cv2
import numpy as np

_SHAPES = ("ellipse", "polygon", "blob")


def random_region(rng: np.random.Generator, height: int, width: int, area: tuple[float, float]) -> np.ndarray:
    """Draw one closed region of random shape: an ellipse, a polygon or a blob with a wavy outline.

    The region keeps one pixel away from the border, so that every method has a surrounding to blend with.

    Args:
        rng: source of randomness.
        height: pixels.
        width: pixels.
        area: smallest and largest share of the image; drawn uniformly, met closely but not exactly, since
            a region that would cross the border is cut off there.

    Returns:
        uint8 (height, width), 1 inside.
    """
    outline = _outline(rng)
    stretch = np.exp(rng.uniform(-0.5, 0.5))
    outline *= (stretch, 1 / stretch)
    turn = rng.uniform(0, 2 * np.pi)
    outline = outline @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    x, y = outline[:, 0], outline[:, 1]
    enclosed = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))  # shoelace formula
    outline *= np.sqrt(rng.uniform(*area) * height * width / enclosed)

    low, high = outline.min(axis=0), outline.max(axis=0)
    size = np.array([width, height])
    first, last = 1 - low, size - 2 - high  # where the centre may lie with the region inside
    middle = (first + last) / 2
    centre = np.where(first < last, rng.uniform(np.minimum(first, last), np.maximum(first, last)), middle)
    region = np.zeros((height, width), np.uint8)
    cv2.fillPoly(region, [np.rint(outline + centre).astype(np.int32)], 1)
    region[[0, -1], :] = 0
    region[:, [0, -1]] = 0
    return region


def _outline(rng: np.random.Generator) -> np.ndarray:
    """Points around the origin, (N, 2)."""
    shape = _SHAPES[rng.integers(len(_SHAPES))]
    if shape == "polygon":
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 10)))
        radius = rng.uniform(0.6, 1.0, angle.size)
        # one corner in each quadrant keeps the polygon from collapsing to a sliver
        angle = np.concatenate([angle, np.arange(4) * np.pi / 2 + rng.uniform(0, np.pi / 2)])
        radius = np.concatenate([radius, np.full(4, 0.8)])[np.argsort(angle)]
        angle = np.sort(angle)
    else:
        angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)
        radius = np.ones_like(angle)
        if shape == "blob":
            for wave in range(2, 7):
                radius += rng.normal(0, 0.5 / wave**1.5) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
            radius = np.maximum(radius, 0.3)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
