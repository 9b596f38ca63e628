"""The mask of a fake whose untouched source is at hand: where the two differ."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.filters import apply_hysteresis_threshold

from lae_tf.errors import UsageError


@dataclass(frozen=True)
class Differencing:
    """Parameters; all are ours.

    Attributes:
        blur: sigma in pixels of the Gaussian that both images pass first; it quiets compression noise.
        threshold: a region is forged if a channel of one of its pixels differs by more, in [0, 255].
        extent: it reaches as far as pixels differ by more than this; counts as ``threshold`` if it is above.
        closing: diameter in pixels of the disc that closes gaps within what differs.
        smallest_area: regions of fewer pixels are dropped, holes of fewer are filled.
    """

    blur: float = 1.0
    threshold: float = 12.0
    extent: float = 6.0
    closing: int = 5
    smallest_area: int = 64


def difference_mask(fake: np.ndarray, source: np.ndarray, parameters: Differencing | None = None) -> np.ndarray:
    """Return where a fake differs from its source.

    Args:
        fake: uint8 (H, W, 3).
        source: uint8 (H, W, 3), the untouched image.
        parameters: None takes the defaults.

    Returns:
        uint8 (H, W) in {0, 1}; nothing where nothing differs.

    Raises:
        UsageError: the sizes differ.
    """
    if fake.shape != source.shape:
        raise UsageError(
            f"the fake has {fake.shape[1]} x {fake.shape[0]} pixels, its source {source.shape[1]} x {source.shape[0]}"
        )
    given = parameters or Differencing()
    first, second = (_blurred(image, given.blur) for image in (fake, source))
    difference = np.abs(first - second).max(axis=2)
    # One threshold either cuts soft forgeries short or lets compression noise in.
    differs = apply_hysteresis_threshold(difference, given.extent, given.threshold).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    mask = cv2.morphologyEx(differs, cv2.MORPH_OPEN, cross)  # single pixels are noise
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (given.closing, given.closing))
    # OpenCV takes what lies beyond the image for forged when it erodes, which would close gaps at the edge.
    closed = np.asarray(cv2.morphologyEx(np.pad(mask, given.closing), cv2.MORPH_CLOSE, disc))
    mask = closed[given.closing : -given.closing, given.closing : -given.closing]
    mask = _without_small(mask, given.smallest_area)
    return 1 - _without_small(1 - mask, given.smallest_area) if mask.any() else mask


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    values = image.astype(np.float32)
    return cv2.GaussianBlur(values, (0, 0), sigma) if sigma > 0 else values


def _without_small(mask: np.ndarray, area: int) -> np.ndarray:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask), connectivity=8)
    keep = statistics[:, cv2.CC_STAT_AREA] >= area
    keep[0] = False  # the background
    return keep[labels].astype(np.uint8)
