"""What happens to images on their way through the world: degradations of growing severity, the same for all."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Degradation = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """JPEG of a quality from 1 to 100."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def resize(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Make smaller by a factor, and large again."""
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (width, height))


def blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur, sigma in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, sigma in levels of 255."""
    return np.clip(np.rint(image + rng.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def brightness(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """All levels times a factor."""
    return np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)


def crop(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The middle ``share`` of each side, enlarged to the old size."""
    height, width = image.shape[:2]
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return cv2.resize(image[top : height - top, left : width - left], (width, height))


# name -> (function, severities from mild to harsh)
DEGRADATIONS: dict[str, tuple[Degradation, tuple[float, ...]]] = {
    "jpeg": (jpeg, (90, 70, 50, 30)),
    "resize": (resize, (0.75, 0.5)),
    "blur": (blur, (0.5, 1.0, 2.0)),
    "noise": (noise, (2.0, 5.0, 10.0)),
    "brightness": (brightness, (0.7, 1.3)),
    "crop": (crop, (0.9, 0.75)),
}


def degrade(images: np.ndarray, name: str, severity: float, seed: int) -> np.ndarray:
    """Degrade a batch.

    Args:
        images: float32 (B, S, S, 3) in [0, 1].
        name: a key of ``DEGRADATIONS``.
        severity: as the degradation's function takes it.
        seed: of whatever is random; each image draws on its own.

    Returns:
        float32 (B, S, S, 3) in whole levels of 255.
    """
    function, _ = DEGRADATIONS[name]
    levels = np.rint(images * 255).astype(np.uint8)
    made = [function(image, severity, np.random.default_rng((seed, i))) for i, image in enumerate(levels)]
    return np.stack(made).astype(np.float32) / 255
