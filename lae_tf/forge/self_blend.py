"""Self-blended images: an image mixed with a slightly changed copy of itself.

The idea is that of Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022,
arXiv 2204.08376): what blending leaves behind, without any particular generator's traces. The regions are random
shapes, or parts of a face found by its landmarks; only the copy is changed, so that everything outside the mask
stays bit-identical. Shapes, parts and ranges are our definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from lae_tf.errors import ImageError
from lae_tf.forge.blending import blend
from lae_tf.forge.regions import random_region
from lae_tf.video.landmarks import face_region, find_landmarks


@dataclass(frozen=True)
class SelfBlendParameters:
    """Parameters of ``self-blend``.

    Attributes:
        area: share of the image before the mask is deformed and softened, smallest and largest.
        shift: largest change of each RGB channel, in levels.
        hue: largest change of hue in degrees.
        saturation: largest relative change of saturation.
        contrast: largest relative change of contrast and of brightness.
        frequency: probability of changing the copy's frequencies (coarser or sharper, evenly).
        move: largest translation, as a share of the image's sides.
        scale: smallest and largest factor of size.
        elastic: largest displacement of the mask's outline, as a share of the shorter side.
        softness: standard deviation of the mask's blur as a share of the shorter side, smallest, largest.
        ratios: weights of the copy inside the mask, chosen from at random.
    """

    area: tuple[float, float] = (0.04, 0.2)
    shift: float = 20.0
    hue: float = 15.0
    saturation: float = 0.3
    contrast: float = 0.15
    frequency: float = 0.75
    move: float = 0.03
    scale: tuple[float, float] = (0.95, 1.05)
    elastic: float = 0.05
    softness: tuple[float, float] = (0.005, 0.03)
    ratios: tuple[float, ...] = (0.5, 0.75, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class FaceSelfBlendParameters(SelfBlendParameters):
    """Parameters of ``self-blend-face``; shares of the image's sides are shares of the face's size here.

    Attributes:
        area: not used, the face gives it.
        parts: what is blended, chosen from at random; names in ``landmarks.PARTS``.
    """

    parts: tuple[str, ...] = ("face", "below-brows", "eyes-and-nose", "mouth")


def self_blend(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: SelfBlendParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Blend a region with a copy changed in colour, frequency and geometry.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        donor: not used.
        params: see :class:`SelfBlendParameters`.

    Returns:
        The forgery, uint8 (H, W, 3), and the mask of what may differ from ``image`` (every pixel with a
        positive weight of the copy), uint8 (H, W) in {0, 1}.
    """
    height, width = image.shape[:2]
    copy = _changed(image, rng, params, np.array([width, height]) / 2, np.array([width, height]))
    region = random_region(rng, height, width, params.area)
    return _mixed(image, copy, region, rng, params, min(height, width))


def self_blend_face(
    image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None, params: FaceSelfBlendParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Blend a part of the largest face with a copy changed in colour, frequency and geometry.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        donor: not used.
        params: see :class:`FaceSelfBlendParameters`.

    Returns:
        As :func:`self_blend`.

    Raises:
        ImageError: the image shows no face.
        MissingExtraError: what finds landmarks is not installed.
    """
    points = find_landmarks(image)
    if points is None:
        raise ImageError("no face found")
    low, high = points.min(axis=0), points.max(axis=0)
    size = float((high - low).max())
    copy = _changed(image, rng, params, (low + high) / 2, np.array([size, size]))
    region = face_region(points, params.parts[rng.integers(len(params.parts))], *image.shape[:2])
    return _mixed(image, copy, region, rng, params, size)


def _changed(
    image: np.ndarray, rng: np.random.Generator, params: SelfBlendParameters, centre: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """Return the copy; centre (x, y) and size (width, height) in pixels are those of what will be blended."""
    copy = _recoloured(image, rng, params)
    if rng.random() < params.frequency:
        copy = _coarser(copy, rng) if rng.random() < 0.5 else _sharper(copy, rng)
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), 0.0, rng.uniform(*params.scale))
    matrix[:, 2] += rng.uniform(-params.move, params.move, 2) * size
    height, width = image.shape[:2]
    return cv2.warpAffine(copy, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _mixed(
    image: np.ndarray,
    copy: np.ndarray,
    region: np.ndarray,
    rng: np.random.Generator,
    params: SelfBlendParameters,
    size: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Blend the copy into a region, uint8 (H, W), whose outline is deformed and softened in proportion to size."""
    alpha = _softened(deformed(region.astype(np.float32), rng, params.elastic, size), rng, params.softness, size)
    alpha *= params.ratios[rng.integers(len(params.ratios))]
    return blend(image, copy, alpha), (alpha > 0).astype(np.uint8)


def _recoloured(image: np.ndarray, rng: np.random.Generator, params: SelfBlendParameters) -> np.ndarray:
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-params.hue, params.hue)) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * (1 + rng.uniform(-params.saturation, params.saturation)), 0, 1)
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    rgb = rgb + rng.uniform(-params.shift, params.shift, 3) / 255
    gain, lift = rng.uniform(-params.contrast, params.contrast, 2)
    rgb = (rgb - 0.5) * (1 + gain) + 0.5 + 0.5 * lift
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def _coarser(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    factor = rng.uniform(1.5, 4.0)
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    return cv2.resize(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )


def _sharper(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    amount = rng.uniform(0.5, 1.5)
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.5), -amount, 0)


def deformed(region: np.ndarray, rng: np.random.Generator, elastic: float, size: float) -> np.ndarray:
    """Move each point by a smooth random field (elastic deformation), at most by the share ``elastic`` of ``size``.

    Args:
        region: float32 (H, W), 1 inside.
        rng: source of randomness.
        elastic: largest displacement that may be drawn.
        size: of the region's surroundings in pixels; also sets how smooth the field is.
    """
    height, width = region.shape
    # Drawn on a coarse grid, of which three points span a standard deviation, and interpolated: blurring noise of
    # every pixel takes seconds for a photograph.
    step = max(1.0, size / 36)
    coarse = (max(2, math.ceil(height / step)), max(2, math.ceil(width / step)))
    field = rng.uniform(-1, 1, (2, *coarse)).astype(np.float32)
    blurred = (cv2.GaussianBlur(part, (0, 0), max(1.0, size / 12) / step) for part in field)
    smooth = np.stack([cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) for part in blurred])
    smooth *= rng.uniform(0, elastic) * size / max(float(np.abs(smooth).max()), 1e-6)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return cv2.remap(region, columns + smooth[0], rows + smooth[1], cv2.INTER_LINEAR, borderValue=0)


def _softened(region: np.ndarray, rng: np.random.Generator, softness: tuple[float, float], size: float) -> np.ndarray:
    sigma = max(0.3, rng.uniform(*softness) * size)
    soft = cv2.GaussianBlur(region, (0, 0), sigma)
    # a Gaussian's far tail would mark pixels that no blend can change
    return np.clip((soft - 0.05) / 0.95, 0, 1)
