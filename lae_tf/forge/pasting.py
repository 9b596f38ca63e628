"""Forgeries that paste: splicing from another image, and copy-move within one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from lae_tf.forge.blending import paste
from lae_tf.forge.regions import random_region


@dataclass(frozen=True)
class PasteParameters:
    """What splicing and copy-move share.

    Attributes:
        area: share of the image, smallest and largest.
        blends: ways to join the borders, chosen from at random; see ``blending.paste``.
        feather: width of the transition, as a share of the image's shorter side, smallest and largest.
        flip: probability of mirroring the pasted content.
    """

    area: tuple[float, float] = (0.03, 0.22)
    blends: tuple[str, ...] = ("hard", "feather", "poisson")
    feather: tuple[float, float] = (0.01, 0.05)
    flip: float = 0.5


@dataclass(frozen=True)
class SpliceParameters(PasteParameters):
    """Parameters of ``splice``.

    Attributes:
        harmonise: probability of giving the pasted content the mean and the contrast of what it covers.
    """

    harmonise: float = 0.5


@dataclass(frozen=True)
class CopyMoveParameters(PasteParameters):
    """Parameters of ``copy-move``.

    Attributes:
        scale: smallest and largest factor by which the copy is resized.
        turn: largest rotation of the copy in degrees, either way.
        distance: smallest move, as a share of the image's shorter side.
    """

    area: tuple[float, float] = (0.03, 0.15)
    scale: tuple[float, float] = (0.8, 1.25)
    turn: float = 20.0
    distance: float = 0.15


def splice(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: SpliceParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a region of another image.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        donor: uint8 (any height, any width, 3); enlarged where it is smaller than the image.
        params: see :class:`SpliceParameters`.

    Returns:
        The forgery, uint8 (H, W, 3), and the mask of what may differ from ``image``, uint8 (H, W) in {0, 1}.

    Raises:
        ValueError: without a donor.
    """
    if donor is None:
        raise ValueError("splice needs a donor image")
    height, width = image.shape[:2]
    content = _crop(donor, height, width, rng)
    if rng.random() < params.flip:
        content = np.ascontiguousarray(content[:, ::-1])
    mask = random_region(rng, height, width, params.area)
    if mask.any() and rng.random() < params.harmonise:
        content = harmonised(content, image, mask.astype(bool))
    return _paste(image, content, mask, rng, params), mask


def copy_move(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: CopyMoveParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Cover a region with content from elsewhere in the same image; the mask marks the covered region only.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        donor: not used.
        params: see :class:`CopyMoveParameters`.

    Returns:
        The forgery, uint8 (H, W, 3), and the mask of what may differ from ``image``, uint8 (H, W) in {0, 1}.
    """
    height, width = image.shape[:2]
    mask = random_region(rng, height, width, params.area)
    x, y, w, h = cv2.boundingRect(mask)
    least = params.distance * min(height, width)
    for _ in range(50):
        move = rng.uniform((-x, -y), (width - w - x + 1e-9, height - h - y + 1e-9))
        if np.hypot(*move) >= least:
            break
    centre = (x + w / 2, y + h / 2)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-params.turn, params.turn), rng.uniform(*params.scale))
    if rng.random() < params.flip:
        matrix = matrix @ np.array([[-1, 0, 2 * centre[0]], [0, 1, 0], [0, 0, 1]])
    # the matrix maps source to target: what lies at centre + move arrives at the centre
    matrix[:, 2] = matrix[:, 2] - matrix[:, :2] @ move
    content = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return _paste(image, content, mask, rng, params), mask


def _paste(
    image: np.ndarray,
    content: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    params: PasteParameters,
) -> np.ndarray:
    kind = params.blends[rng.integers(len(params.blends))]
    width = rng.uniform(*params.feather) * min(image.shape[:2])
    return paste(image, content, mask, kind, width)


def _crop(donor: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return a part of the donor of a given size, from a place drawn at random; a small donor is enlarged."""
    scale = max(1.0, height / donor.shape[0], width / donor.shape[1])
    # Cut first: a whole panorama, enlarged, would fill the memory.
    rows = min(donor.shape[0], math.ceil(height / scale))
    columns = min(donor.shape[1], math.ceil(width / scale))
    top = rng.integers(donor.shape[0] - rows + 1)
    left = rng.integers(donor.shape[1] - columns + 1)
    part = np.ascontiguousarray(donor[top : top + rows, left : left + columns])
    return part if scale == 1 else cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)


def harmonised(content: np.ndarray, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Give content the mean and the contrast of what it covers; uint8 (H, W, 3) each, inside: bool (H, W)."""
    source, target = content[inside].astype(np.float32), image[inside].astype(np.float32)
    # contrast is bounded: a flat source must not be blown up to noise
    ratio = np.clip(target.std(axis=0) / np.maximum(source.std(axis=0), 1.0), 0.5, 2.0)
    changed = (content - source.mean(axis=0)) * ratio + target.mean(axis=0)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)
