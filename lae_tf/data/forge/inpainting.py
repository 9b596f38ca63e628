"""Forgeries that remove: a region is filled from its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lae_tf.data.forge.regions import random_region

_ALGORITHMS = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}


@dataclass(frozen=True)
class InpaintParameters:
    """Parameters of ``inpaint-telea`` and ``inpaint-ns``.

    Attributes:
        algorithm: ``telea`` (fast marching, Telea 2004) or ``ns`` (Navier-Stokes, Bertalmio et al. 2001).
        area: share of the image, smallest and largest.
        radius: neighbourhood in pixels that a filled pixel draws on, smallest and largest.
    """

    algorithm: str
    area: tuple[float, float] = (0.03, 0.22)
    radius: tuple[int, int] = (2, 6)


def inpaint(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: InpaintParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Fill a region from its surroundings, as if an object had been removed.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        donor: not used.
        params: see :class:`InpaintParameters`.

    Returns:
        The forgery, uint8 (H, W, 3), and the mask of what may differ from ``image``, uint8 (H, W) in {0, 1}.
    """
    height, width = image.shape[:2]
    mask = random_region(rng, height, width, params.area)
    radius = rng.integers(params.radius[0], params.radius[1] + 1)
    filled = cv2.inpaint(image, mask, float(radius), _ALGORITHMS[params.algorithm])
    return np.where(mask[..., None] > 0, filled, image), mask
