"""Forgeries made on the fly from the real images of a batch: annotated for free, without a person's masks.

Each replaces a random region of a real image: by a changed copy of itself (colour, resampling, filtering,
movement, compression, noise), by the same region of another real image, by texture from elsewhere in the
image, or by what its surroundings suggest.
What gives such a region away is an inconsistency with its surroundings, which local manipulations share,
rather than one generator's traces. The idea is that of self-blended images (Shiohara and Yamasaki 2022,
arXiv 2204.08376); regions, changes and their ranges are our definition.
"""

from __future__ import annotations

import cv2
import numpy as np

from lae_tf.forge.regions import random_region

AREA = (0.03, 0.45)
SMALLEST_SIDE = 16
"""Pixels of a photograph that :func:`self_forge_within` can forge."""
_SQUARE = (0.04, 0.6)  # share of a photograph within which a region of AREA is drawn
_ATTEMPTS = 10
_SMALLEST_CHANGE = 2.0  # mean absolute difference inside the mask, in levels of 255
_SURROUNDINGS = ((0.04, 1.0), (0.1, 0.1), (0.3, 0.001))  # sigma as a share of the side, weight
_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_AREA)


def self_forge(image: np.ndarray, donor: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Forge a region of a real image.

    Args:
        image: float32 (S, S, 3) in [0, 1].
        donor: float32 (S, S, 3) in [0, 1], another real image.
        rng: source of randomness.

    Returns:
        The forgery, float32 (S, S, 3) in [0, 1], equal to ``image`` outside the mask, and the mask, uint8
        (S, S, 1) in {0, 1}. The mask is empty, and the image unchanged, where nothing could be changed (a
        uniform image).
    """
    levels, other = (np.rint(values * 255).astype(np.uint8) for values in (image, donor))
    for _ in range(_ATTEMPTS):
        alpha = _alpha(image.shape[0], rng)
        mask = alpha > 0.1
        if not mask.any():
            continue
        # Both in whole levels, so that rounding cannot tell the region from its surroundings.
        change = _content(levels, other, mask, rng).astype(np.float32) - levels
        if np.abs(change[mask]).mean() >= _SMALLEST_CHANGE:
            forged = image + np.where(mask, alpha, 0)[..., None].astype(np.float32) * change / 255
            return np.clip(forged, 0, 1), mask[..., None].astype(np.uint8)
    return image, np.zeros((*image.shape[:2], 1), np.uint8)


def self_forge_within(image: np.ndarray, donor: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Forge a region of a photograph of any size, small as those in photographs are: mostly 0.5 to 15 % of its area.

    Args:
        image: uint8 (H, W, 3), at least ``SMALLEST_SIDE`` pixels a side.
        donor: uint8 (any height, any width, 3), another real image.
        rng: source of randomness.

    Returns:
        The forgery, uint8 (H, W, 3), and its mask, uint8 (H, W) in {0, 1}, as of :func:`self_forge`.
    """
    height, width = image.shape[:2]
    side = round(np.sqrt(np.exp(rng.uniform(*np.log(_SQUARE))) * height * width))
    side = max(SMALLEST_SIDE, min(side, height, width))
    top, left = (int(rng.integers(0, length - side + 1)) for length in (height, width))
    place = slice(top, top + side), slice(left, left + side)
    if min(donor.shape[:2]) < side:
        short = min(donor.shape[:2])  # of a banner the whole would become huge
        donor = donor[:short, :short]
        enlarged = side / short
        donor = cv2.resize(donor, (0, 0), fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    start = [int(rng.integers(0, max(1, length - side + 1))) for length in donor.shape[:2]]
    other = cv2.resize(donor[start[0] : start[0] + side, start[1] : start[1] + side], (side, side))
    part, region = self_forge(image[place].astype(np.float32) / 255, other.astype(np.float32) / 255, rng)
    forged, mask = image.copy(), np.zeros((height, width), np.uint8)
    forged[place], mask[place] = np.rint(255 * part).astype(np.uint8), region[..., 0]
    return forged, mask


def _alpha(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the weight of the new content, float32 (S, S) in [0, 1]: a wavy region with a hard or soft outline."""
    region: np.ndarray = random_region(rng, side, side, AREA).astype(np.float32)
    region = cv2.remap(region, *_waves(side, rng.uniform(0, 0.06) * side, rng), cv2.INTER_LINEAR, borderValue=0)
    sigma = rng.uniform(0.3, 1.0) if rng.random() < 0.4 else rng.uniform(0.005, 0.04) * side
    # A Gaussian's far tail would mark pixels that no blend can change.
    soft = np.clip((cv2.GaussianBlur(region, (0, 0), max(0.3, sigma)) - 0.05) / 0.95, 0, 1)
    return soft * (1.0 if rng.random() < 0.7 else rng.uniform(0.5, 1.0))


def _waves(side: int, size: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return maps for ``cv2.remap`` that move each point by up to ``size`` pixels, smoothly."""
    field = cv2.resize(
        rng.uniform(-size, size, (5, 5, 2)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    return columns + field[..., 0], rows + field[..., 1]


def _content(image: np.ndarray, donor: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what goes into the region, uint8 (S, S, 3)."""
    kind = rng.random()
    if kind < 0.6:
        if kind < 0.2:
            image = _texture_from_elsewhere(image, rng)
        elif kind < 0.4:
            image = _suggested_by_surroundings(image, mask, rng)
        else:
            image = _from_donor(image, donor, mask, rng)
        wanted = rng.integers(0, 2)
    else:
        wanted = rng.integers(1, 4)
    for change in rng.permutation(len(_CHANGES))[:wanted]:
        image = _CHANGES[change](image, rng)
    return image


def _from_donor(image: np.ndarray, donor: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take another image; mostly with the region's mean and contrast of each colour, as a forger matches them."""
    if rng.random() < 0.5:
        donor = _move(donor, rng)
    if rng.random() < 0.2:
        return donor
    ours, theirs = image[mask].astype(np.float32), donor[mask].astype(np.float32)
    scale = np.clip(ours.std(axis=0) / np.maximum(theirs.std(axis=0), 1.0), 0.5, 2.0)
    return _levels((donor - theirs.mean(axis=0)) * scale + ours.mean(axis=0))


def _texture_from_elsewhere(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the image far, but keep the colours that were there: its low frequencies stay in most cases."""
    side = image.shape[0]
    moved = np.roll(image, tuple(rng.integers(side // 5, side - side // 5, 2)), axis=(0, 1))
    if rng.random() < 0.3:
        return moved
    sigma = rng.uniform(0.02, 0.1) * side
    detail = moved.astype(np.float32) - cv2.GaussianBlur(moved, (0, 0), sigma)
    return _levels(cv2.GaussianBlur(image, (0, 0), sigma) + detail)


def _suggested_by_surroundings(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fill the region with a weighted mean of what surrounds it, computed at a quarter of the resolution."""
    side = image.shape[0]
    small = max(8, side // 4)
    known = 1.0 - mask.astype(np.float32)[..., None]
    both: np.ndarray = np.concatenate([image * known, known], axis=-1)
    both = cv2.resize(both, (small, small), interpolation=cv2.INTER_AREA)
    # The near surroundings count most; the far ones fill what the near ones do not reach.
    both = np.sum([w * cv2.GaussianBlur(both, (0, 0), small * s) for s, w in _SURROUNDINGS], axis=0)
    mean = (both[..., :3] / np.maximum(both[..., 3:], 1e-8)).astype(np.float32)
    filled: np.ndarray = cv2.resize(mean, (side, side), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:  # a little of the old detail, as a generator guesses it
        detail = image.astype(np.float32) - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.01, 0.05) * side)
        filled = filled + rng.uniform(0.2, 0.8) * detail
    return _levels(filled)


def _recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ramp = np.arange(256)[:, None] / 255
    gain, gamma = rng.uniform(0.85, 1.15, 3), np.exp(rng.uniform(-0.15, 0.15))
    table = _levels(255 * (ramp**gamma * gain + rng.uniform(-0.06, 0.06, 3)))
    return cv2.LUT(image, table[None])


def _resample(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = image.shape[0]
    small = max(2, round(side / np.exp(rng.uniform(np.log(1.2), np.log(5.0)))))
    down, up = (_INTERPOLATIONS[i] for i in rng.integers(0, len(_INTERPOLATIONS), 2))
    return cv2.resize(cv2.resize(image, (small, small), interpolation=down), (side, side), interpolation=up)


def _filter(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.integers(0, 4)
    if kind == 0:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.5))
    if kind == 1:
        return cv2.medianBlur(image, int(rng.choice((3, 5))))
    if kind == 2:
        return cv2.bilateralFilter(image, 5, rng.uniform(20, 80), 3)
    amount = rng.uniform(0.4, 1.5)
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.5), -amount, 0)


def _move(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-6, 6), rng.uniform(0.92, 1.08))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * side
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _warp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    maps = _waves(image.shape[0], rng.uniform(0.015, 0.06) * image.shape[0], rng)
    return cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))]
    _, data = cv2.imencode(".jpg", image[..., ::-1], quality)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _levels(image + rng.normal(0, rng.uniform(2, 8), image.shape))


_CHANGES = (_recolour, _resample, _filter, _move, _warp, _compress, _noise)


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
