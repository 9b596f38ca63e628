"""Forgeries that alter: a region keeps its content, but not its shape, its surface or its colour.

This is what attribute editing (a wider smile, smoother skin, another hair colour) leaves locally. The four kinds
and their ranges are our definition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from lae_tf.forge.blending import blend, feathered
from lae_tf.forge.regions import random_region


@dataclass(frozen=True)
class EditParameters:
    """What the local edits share.

    Attributes:
        area: share of the image, smallest and largest.
        feather: distance over which the edit fades in, as a share of the image's shorter side, smallest, largest.
    """

    area: tuple[float, float] = (0.03, 0.22)
    feather: tuple[float, float] = (0.01, 0.08)


@dataclass(frozen=True)
class WarpParameters(EditParameters):
    """Parameters of ``warp``.

    Attributes:
        strength: largest displacement as a share of the region's depth (its largest distance from the outline),
            smallest and largest; below 0.6 nothing folds over.
    """

    strength: tuple[float, float] = (0.25, 0.55)


@dataclass(frozen=True)
class RecolourParameters(EditParameters):
    """Parameters of ``recolour``.

    Attributes:
        hue: change of hue in degrees, smallest and largest, either way.
        saturation: smallest and largest factor of saturation.
        brightness: smallest and largest factor of brightness.
    """

    hue: tuple[float, float] = (10.0, 90.0)
    saturation: tuple[float, float] = (0.6, 1.6)
    brightness: tuple[float, float] = (0.8, 1.25)


def warp(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: WarpParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Bulge, pinch, twirl or push a region smoothly; nothing moves at its outline.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        donor: not used.
        params: see :class:`WarpParameters`.

    Returns:
        The forgery, uint8 (H, W, 3), and the mask of what may differ from ``image``, uint8 (H, W) in {0, 1}.
    """
    height, width = image.shape[:2]
    mask = random_region(rng, height, width, params.area)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    deepest = float(np.max(depth))
    if deepest == 0:
        return image, mask
    fade = depth / deepest
    fade = fade * fade * (3 - 2 * fade)  # smooth step: no crease at the outline or at the centre
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns - columns[mask > 0].mean(), rows - rows[mask > 0].mean()
    reach = max(float(np.hypot(x, y)[mask > 0].max()), 1.0)
    kind = rng.integers(3)
    if kind == 0:  # bulge or pinch
        field = np.stack([x, y]) / reach * rng.choice((-1.0, 1.0))
    elif kind == 1:  # twirl
        field = np.stack([-y, x]) / reach * rng.choice((-1.0, 1.0))
    else:  # push
        angle = rng.uniform(0, 2 * np.pi)
        field = np.empty((2, height, width), np.float32)
        field[0], field[1] = np.cos(angle), np.sin(angle)
    field = field * fade
    size = np.hypot(field[0], field[1]).max()
    field *= rng.uniform(*params.strength) * deepest / max(float(size), 1e-6)
    moved = cv2.remap(
        image,
        (columns + field[0]).astype(np.float32),
        (rows + field[1]).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.where(mask[..., None] > 0, moved, image), mask


def smooth(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: EditParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Retouch a region by smoothing its surface, with edges kept or not; arguments and result as of :func:`warp`."""
    return _edit(image, rng, params, _smoothed)


def sharpen(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: EditParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Retouch a region by an unsharp mask; arguments and result as of :func:`warp`."""
    return _edit(image, rng, params, _sharpened)


def recolour(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: RecolourParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Change a region's hue, saturation and brightness; arguments and result as of :func:`warp`."""

    def recoloured(content: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        hsv = cv2.cvtColor(content.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + rng.choice((-1.0, 1.0)) * rng.uniform(*params.hue)) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(*params.saturation), 0, 1)
        hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(*params.brightness), 0, 1)
        return np.rint(np.clip(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), 0, 1) * 255).astype(np.uint8)

    return _edit(image, rng, params, recoloured)


def _edit(
    image: np.ndarray,
    rng: np.random.Generator,
    params: EditParameters,
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    mask = random_region(rng, image.shape[0], image.shape[1], params.area)
    width = rng.uniform(*params.feather) * min(image.shape[:2])
    return blend(image, change(image, rng), feathered(mask, width)), mask


def _smoothed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.integers(3)
    if kind == 0:
        return cv2.bilateralFilter(image, 7, rng.uniform(40, 120), 3)
    if kind == 1:
        return cv2.medianBlur(image, int(rng.choice((5, 7))))
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 3.0))


def _sharpened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    amount, sigma = rng.uniform(0.8, 2.5), rng.uniform(1.0, 3.0)
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), sigma), -amount, 0)
