"""Ways to join pasted content with its surroundings; none changes a pixel outside the mask."""

from __future__ import annotations

import cv2
import numpy as np

BLENDS = ("hard", "feather", "poisson", "multiband")
_COARSEST = 8  # pixels a side of a pyramid's last level


def blend(image: np.ndarray, content: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Mix two uint8 images (H, W, 3) with alpha (H, W) in [0, 1]; bit-identical to ``image`` where it is 0."""
    weight = alpha[..., None].astype(np.float32)
    mixed = np.rint(content * weight + image * (1 - weight)).astype(np.uint8)
    return np.where(weight > 0, mixed, image)


def paste(image: np.ndarray, content: np.ndarray, mask: np.ndarray, kind: str, width: float) -> np.ndarray:
    """Replace the masked part of an image.

    Args:
        image: uint8 (H, W, 3).
        content: what is pasted, of the same shape.
        mask: uint8 (H, W) in {0, 1}; kept as it is.
        kind: one of ``BLENDS``: ``hard``, ``feather`` (alpha falls to zero within the mask), ``poisson``
            (gradient domain, Pérez et al. 2003, ``cv2.seamlessClone``) or ``multiband`` (see :func:`multiband`).
        width: of the feather, and of the part of a multiband transition that can be seen, in pixels.

    Returns:
        uint8 (H, W, 3), bit-identical to ``image`` outside the mask.
    """
    if kind == "multiband":
        return multiband(image, content, mask, width)
    if kind == "poisson":
        content = poisson(image, content, mask)
    return blend(image, content, feathered(mask, width) if kind == "feather" else mask)


def feathered(mask: np.ndarray, width: float) -> np.ndarray:
    """Return weights for a mask: float32 (H, W), 0 outside, rising to 1 over ``width`` pixels inside."""
    return np.clip(cv2.distanceTransform(mask, cv2.DIST_L2, 5) / max(width, 1.0), 0, 1)


def poisson(image: np.ndarray, content: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Clone ``content`` into ``image`` in the gradient domain, in place; pixels next to the mask may change too."""
    if not mask.any():
        return image
    x, y, w, h = cv2.boundingRect(mask)
    # OpenCV puts the middle of the mask's bounding box here, and overwrites the mask it is given
    return cv2.seamlessClone(content, image, mask * 255, (x + w // 2, y + h // 2), cv2.NORMAL_CLONE)


def multiband(image: np.ndarray, content: np.ndarray, mask: np.ndarray, width: float) -> np.ndarray:
    """Blend coarse structure over wide and fine structure over narrow transitions (Burt and Adelson 1983).

    The classic blend reaches beyond the mask. Here the transition is centred inside it, and what remains at the
    outline is faded out over ``width`` pixels, so that the mask stays exact: our definition.

    Args:
        image: uint8 (H, W, 3).
        content: of the same shape.
        mask: uint8 (H, W) in {0, 1}.
        width: of the fade in pixels.

    Returns:
        uint8 (H, W, 3), bit-identical to ``image`` outside the mask.
    """
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    inner = (depth > min(2 * width, 0.4 * float(np.max(depth)))).astype(np.float32)[..., None].repeat(3, axis=2)
    difference = content.astype(np.float32) - image  # the blend is linear, so one pyramid does for both images
    weights: list[np.ndarray] = [inner]
    bands: list[np.ndarray] = [difference]
    while min(bands[-1].shape[:2]) >= 2 * _COARSEST:
        smaller = cv2.pyrDown(bands[-1])
        height, wide = bands[-1].shape[:2]
        bands[-1] = bands[-1] - cv2.pyrUp(smaller, dstsize=(wide, height))
        bands.append(smaller)
        weights.append(cv2.pyrDown(weights[-1]))
    change = bands[-1] * weights[-1]
    for band, weight in zip(bands[-2::-1], weights[-2::-1], strict=True):
        change = cv2.pyrUp(change, dstsize=(band.shape[1], band.shape[0])) + band * weight
    fade = np.clip(depth / max(width, 1.0), 0, 1)[..., None]
    blended = np.clip(np.rint(image + fade * change), 0, 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, blended, image)
