"""Forgeries that remove: a region is filled from its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.restoration import inpaint_biharmonic

from lae_tf.forge.patch_filling import fill_hole
from lae_tf.forge.regions import random_region

_ALGORITHMS = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}
_BIHARMONIC_SIDE = 96  # pixels of the longer side at which the equations are solved


@dataclass(frozen=True)
class FillParameters:
    """Parameters of ``inpaint-patch`` and ``inpaint-biharmonic``.

    Attributes:
        area: share of the image, smallest and largest.
    """

    area: tuple[float, float] = (0.03, 0.22)


@dataclass(frozen=True)
class InpaintParameters(FillParameters):
    """Parameters of ``inpaint-telea`` and ``inpaint-ns``.

    Attributes:
        algorithm: ``telea`` (fast marching, Telea 2004) or ``ns`` (Navier-Stokes, Bertalmio et al. 2001).
        radius: neighbourhood in pixels that a filled pixel draws on, smallest and largest.
    """

    algorithm: str = "telea"
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


def inpaint_patches(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: FillParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Fill a region with texture from elsewhere in the image; arguments and result as of :func:`inpaint`."""
    mask = random_region(rng, image.shape[0], image.shape[1], params.area)
    return fill_hole(image, mask, rng), mask


def inpaint_smoothly(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: FillParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Fill a region by the biharmonic equation, the smoothest surface that fits (Damelin and Hoang 2018).

    Solving costs too much at full size, and the surface has no detail: a large image is solved at a smaller size.
    Arguments and result as of :func:`inpaint`.
    """
    height, width = image.shape[:2]
    mask = random_region(rng, height, width, params.area)
    scale = min(1.0, _BIHARMONIC_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    known = (1 - mask).astype(np.float32)[..., None]
    both = np.concatenate([image * known, known], axis=2).astype(np.float32)
    small = cv2.resize(both, size, interpolation=cv2.INTER_AREA)  # of known pixels alone
    share = small[..., 3]
    surface = inpaint_biharmonic(
        small[..., :3] / np.maximum(share[..., None], 1e-3) / 255, share < 0.5, split_into_regions=False, channel_axis=2
    )
    filled = cv2.resize(np.clip(surface, 0, 1).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    filled = np.clip(np.rint(filled * 255), 0, 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, filled, image), mask
