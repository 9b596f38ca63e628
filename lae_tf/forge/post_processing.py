"""What happens to pictures on their way: resizing, blur, noise, compression.

Real and forged images get it from one distribution, so that none of it tells them apart. The steps, their order and
their ranges are our definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lae_tf.forge.degradations import blur, jpeg, noise, scale

_INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class PostProcessing:
    """Ranges of the steps, which follow one another in the order of their fields.

    Attributes:
        probability: of each step by itself.
        resize: smallest and largest factor; the image is brought back to its size, so that masks stay exact.
        blur: standard deviation of a Gaussian in pixels, smallest and largest.
        noise: standard deviation of Gaussian noise in levels of 255, smallest and largest.
        jpeg: smallest and largest quality (OpenCV's scale, 1 to 100).
    """

    probability: float = 0.5
    resize: tuple[float, float] = (0.5, 0.95)
    blur: tuple[float, float] = (0.3, 1.2)
    noise: tuple[float, float] = (0.5, 4.0)
    jpeg: tuple[int, int] = (50, 98)


def post_process(image: np.ndarray, rng: np.random.Generator, params: PostProcessing) -> np.ndarray:
    """Resize, blur, add noise and compress, each or not at random; what is drawn does not depend on the image.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.
        params: ranges.

    Returns:
        uint8, of the same shape.
    """
    resizes, blurs, adds_noise, compresses = rng.random(4) < params.probability
    factor, sigma, strength = rng.uniform(*params.resize), rng.uniform(*params.blur), rng.uniform(*params.noise)
    down, up = (_INTERPOLATIONS[i] for i in rng.integers(len(_INTERPOLATIONS), size=2))
    quality = int(rng.integers(params.jpeg[0], params.jpeg[1] + 1))
    if resizes:
        image = scale(image, factor, down, up)
    if blurs:
        image = blur(image, sigma)
    if adds_noise:
        image = noise(image, strength, rng)
    return jpeg(image, quality) if compresses else image
