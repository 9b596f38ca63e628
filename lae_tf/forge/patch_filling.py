"""Filling a hole with texture from the rest of the image.

For each patch that touches the hole a similar patch outside is looked for, the hole takes the mean of what the found
patches say, and both are repeated from coarse to fine (Wexler et al. 2007). At the coarsest level the search is
exhaustive; finer levels start from its result and try their neighbours' and random nearby offsets, as PatchMatch
does (Barnes et al. 2009). The sizes and counts are our choice.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_RADIUS = 2  # of a patch, in pixels
_SIDE = 2 * _RADIUS + 1
_SMALLEST, _LARGEST = 24, 192  # sides of the coarsest and the finest level, in pixels
_ROUNDS = 2  # of searching and voting at each level
_PAIRS = 2_000_000  # patches compared at once in the exhaustive search
_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def fill_hole(image: np.ndarray, hole: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fill a hole with texture from elsewhere in the image.

    Images with more than 192 pixels a side are searched at that size; their pixels are copied in full resolution.

    Args:
        image: uint8 (H, W, 3).
        hole: uint8 (H, W), 1 where to fill.
        rng: source of randomness.

    Returns:
        uint8 (H, W, 3), equal to ``image`` outside the hole.
    """
    levels = _levels(image, hole)
    filled, unknown = levels[-1]
    filled = cv2.inpaint(np.rint(filled).astype(np.uint8), unknown, 2.0, cv2.INPAINT_TELEA).astype(np.float32)
    found = None
    for known, unknown in reversed(levels):
        if found is not None:
            found, filled = _finer(found, filled, known, unknown)
        usable = cv2.dilate(unknown, np.ones((_SIDE, _SIDE), np.uint8)) == 0
        if not usable.any():  # no room for a patch: what the coarse level says must do
            continue
        for _ in range(_ROUNDS):
            patches = _patches(filled)
            found = _search_all(patches, usable) if found is None else _search_near(patches, usable, found, rng)
            filled = np.where(unknown[..., None] > 0, _vote(patches, usable, found), filled)
    return np.where(hole[..., None] > 0, _copied(image, hole, filled, found), image)


def _levels(image: np.ndarray, hole: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (float32 image, uint8 hole) from fine to coarse; pixels of the hole do not leak into the means."""
    known = (1 - hole).astype(np.float32)[..., None]
    scale = min(1.0, _LARGEST / max(hole.shape))
    levels = []
    while True:
        height, width = (max(1, round(side * scale)) for side in hole.shape)
        both = np.concatenate([image * known, known], axis=2).astype(np.float32)
        small = cv2.resize(both, (width, height), interpolation=cv2.INTER_AREA)
        share = small[..., 3:]
        levels.append((small[..., :3] / np.maximum(share, 1e-3), (share[..., 0] < 0.999).astype(np.uint8)))
        if min(height, width) < 2 * _SMALLEST:
            return levels
        scale /= 2


def _patches(image: np.ndarray) -> np.ndarray:
    """Return the patch around each pixel, mirrored at the border, as rows: float32 (H * W, 3 * side * side)."""
    padded = np.pad(image, ((_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0)), "reflect")
    # copied once: the searches gather rows at random, which is slow in a view
    return sliding_window_view(padded, (_SIDE, _SIDE), axis=(0, 1)).reshape(image.shape[0] * image.shape[1], -1)


def _search_all(patches: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return for each pixel (H, W, 2) the row and column of the most similar usable patch."""
    sources, targets = np.argwhere(usable), np.argwhere(~usable)
    pool, wanted = patches[usable.ravel()], patches[~usable.ravel()]
    norms = np.einsum("ij,ij->i", pool, pool)
    best = np.empty(len(targets), int)
    step = max(1, _PAIRS // len(sources))
    for start in range(0, len(targets), step):
        part = wanted[start : start + step]
        best[start : start + step] = (norms - 2 * part @ pool.T).argmin(axis=1)
    found = np.moveaxis(np.mgrid[: usable.shape[0], : usable.shape[1]], 0, 2).copy()
    found[~usable] = sources[best]
    return found


def _search_near(patches: np.ndarray, usable: np.ndarray, found: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Improve ``found`` by what neighbours found, shifted along, and by random places nearby."""
    last = np.array(usable.shape) - 1
    targets = np.argwhere(~usable)
    wanted = patches[~usable.ravel()]
    best = found[~usable]
    candidates = [best]
    for move in _NEIGHBOURS:
        beside = np.clip(targets + move, 0, last)
        candidates.append(found[beside[:, 0], beside[:, 1]] - move)
    candidates += [best + rng.integers(-reach, reach + 1, best.shape) for reach in (max(usable.shape) // 4, 4)]
    error = np.full(len(targets), np.inf, np.float32)
    for places in candidates:
        places = np.clip(places, 0, last)
        other = _error(patches[_rows(places, usable)], wanted)
        better = (other < error) & usable[places[:, 0], places[:, 1]]
        best = np.where(better[:, None], places, best)
        error = np.where(better, other, error)
    found = found.copy()
    found[~usable] = best
    return found


def _vote(patches: np.ndarray, usable: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return for each pixel (H, W, 3) the mean of what the patches found around it show there."""
    targets = np.argwhere(~usable)
    shown = patches[_rows(found[~usable], usable)]
    error = _error(shown, patches[~usable.ravel()])
    weight = np.exp(-error / max(2 * float(np.median(error)), 1e-3)) + np.float32(1e-6)
    said = np.empty((len(targets), 4, _SIDE, _SIDE), np.float32)
    said[:, :3] = shown.reshape(len(targets), 3, _SIDE, _SIDE) * weight[:, None, None, None]
    said[:, 3] = weight[:, None, None]
    total = np.zeros((4, usable.shape[0] + 2 * _RADIUS, usable.shape[1] + 2 * _RADIUS), np.float32)
    for row in range(_SIDE):
        for column in range(_SIDE):
            total[:, targets[:, 0] + row, targets[:, 1] + column] += said[:, :, row, column].T
    total = total[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS].transpose(1, 2, 0)
    return total[..., :3] / np.maximum(total[..., 3:], 1e-9)


def _error(shown: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    difference = shown - wanted
    return np.einsum("ij,ij->i", difference, difference)


def _rows(places: np.ndarray, usable: np.ndarray) -> np.ndarray:
    return places[:, 0] * usable.shape[1] + places[:, 1]


def _finer(
    found: np.ndarray, filled: np.ndarray, known: np.ndarray, unknown: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Carry a level's result to the next finer one."""
    height, width = unknown.shape
    places = _enlarged(found, height, width)
    coarse = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return places, np.where(unknown[..., None] > 0, coarse, known)


def _enlarged(found: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the places found at a coarse level as places of a finer one, pixels of one cell side by side."""
    scale = np.array([height / found.shape[0], width / found.shape[1]])
    here = np.moveaxis(np.mgrid[:height, :width], 0, 2)
    cell = np.minimum((here / scale).astype(int), np.array(found.shape[:2]) - 1)
    moved = here + np.rint((found[cell[..., 0], cell[..., 1]] - cell) * scale).astype(int)
    return np.clip(moved, 0, np.array([height, width]) - 1)


def _copied(image: np.ndarray, hole: np.ndarray, filled: np.ndarray, found: np.ndarray | None) -> np.ndarray:
    """Return the hole's content in full resolution: the votes, or the pixels found where votes are coarser."""
    height, width = hole.shape
    votes = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
    content = np.clip(np.rint(votes), 0, 255).astype(np.uint8)
    if found is None or filled.shape[:2] == hole.shape:
        return content
    places = _enlarged(found, height, width)
    rows, columns = places[..., 0], places[..., 1]
    return np.where(hole[rows, columns][..., None] > 0, content, image[rows, columns])
