"""Face swaps by landmarks: another person's face, brought to the place and shape of the one in the image.

The steps are the classic ones: find both faces' landmarks, map one face onto the other, match colours, blend.
Which part of the face is replaced, its outline's deformation and the ranges are our definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

from lae_tf.errors import ImageError
from lae_tf.forge.blending import paste
from lae_tf.forge.pasting import harmonised
from lae_tf.forge.self_blend import deformed
from lae_tf.video.landmarks import face_region, find_landmarks


class DonorError(ImageError):
    """The donor cannot be used with this image; another one may."""


@dataclass(frozen=True)
class FaceSwapParameters:
    """Parameters of the face swaps.

    Attributes:
        align: ``triangles`` (each triangle between the landmarks is mapped by its own affine map, so that the
            donor takes on the face's shape) or ``similarity`` (the donor is moved, turned and scaled only).
        blend: way to join the outline; see ``blending.paste``.
        parts: what is replaced, chosen from at random; names in ``landmarks.PARTS``.
        shrink: smallest and largest factor of the part's size; below 1, as hair and background lie at the outline.
        elastic: largest displacement of the part's outline, as a share of the face's size.
        feather: width of the transition as a share of the face's size, smallest and largest.
    """

    align: str = "triangles"
    blend: str = "poisson"
    parts: tuple[str, ...] = ("face", "below-brows")
    shrink: tuple[float, float] = (0.8, 0.95)
    elastic: float = 0.04
    feather: tuple[float, float] = (0.05, 0.15)


def face_swap(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: FaceSwapParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the image's largest face by the donor's.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        donor: uint8 (any height, any width, 3), an image of another face.
        params: see :class:`FaceSwapParameters`.

    Returns:
        The forgery, uint8 (H, W, 3), and the mask of what may differ from ``image``, uint8 (H, W) in {0, 1}.

    Raises:
        ImageError: the image shows no face.
        DonorError: the donor shows none.
        MissingExtraError: what finds landmarks is not installed.
        ValueError: without a donor.
    """
    if donor is None:
        raise ValueError("face_swap needs a donor image")
    target = find_landmarks(image)
    if target is None:
        raise ImageError("no face found")
    source = find_landmarks(donor)
    if source is None:
        raise DonorError("no face found in the donor")
    donor, source = _reduced(donor, source, target)
    height, width = image.shape[:2]
    size = float(np.ptp(target, axis=0).max())

    columns, rows = _maps(source, target, height, width, params.align)
    mask = face_region(
        target, params.parts[rng.integers(len(params.parts))], height, width, rng.uniform(*params.shrink)
    )
    mask = (deformed(mask.astype(np.float32), rng, params.elastic, size) > 0.5).astype(np.uint8)
    # NaN, outside the triangles, compares false
    mask[~((columns >= 0) & (columns <= donor.shape[1] - 1) & (rows >= 0) & (rows <= donor.shape[0] - 1))] = 0
    mask[[0, -1], :] = 0  # blending needs surroundings
    mask[:, [0, -1]] = 0
    feather = rng.uniform(*params.feather) * size
    if not mask.any():
        return image.copy(), mask

    content = cv2.remap(
        donor, np.nan_to_num(columns), np.nan_to_num(rows), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    content = harmonised(content, image, mask.astype(bool))
    content = np.where(mask[..., None] > 0, content, image)
    return paste(image, content, mask, params.blend, feather), mask


def _maps(source: np.ndarray, target: np.ndarray, height: int, width: int, align: str) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in the donor for each pixel near the target's face, float32 (H, W); NaN where there is none."""
    if align == "similarity":
        # least squares in the complex plane: source = factor * target + shift
        here, there = (points[:, 0] + 1j * points[:, 1] for points in (target, source))
        factor = np.vdot(here - here.mean(), there - there.mean()) / np.vdot(here - here.mean(), here - here.mean())
        y, x = np.mgrid[:height, :width]
        place = factor * (x + 1j * y - here.mean()) + there.mean()
        return place.real.astype(np.float32), place.imag.astype(np.float32)
    maps = np.full((2, height, width), np.nan, np.float32)
    left, top = np.maximum(np.floor(target.min(axis=0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(target.max(axis=0)) + 1, (width, height)).astype(int)
    y, x = np.mgrid[top:bottom, left:right]
    # linear interpolation over a Delaunay triangulation is one affine map per triangle
    maps[:, top:bottom, left:right] = np.moveaxis(LinearNDInterpolator(target, source)(x, y), -1, 0)
    return maps[0], maps[1]


def _reduced(donor: np.ndarray, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring a donor whose face is larger than the target's to its size, as interpolation alone would alias."""
    factor = float(np.ptp(target, axis=0).max() / np.ptp(source, axis=0).max())
    if factor >= 1:
        return donor, source
    size = (max(round(donor.shape[1] * factor), 1), max(round(donor.shape[0] * factor), 1))
    scale = np.array([size[0] / donor.shape[1], size[1] / donor.shape[0]])
    # pixels are squares around their coordinates
    moved = ((source + 0.5) * scale - 0.5).astype(np.float32)
    return cv2.resize(donor, size, interpolation=cv2.INTER_AREA), moved
