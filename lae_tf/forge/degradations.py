"""What happens to pictures on their way to whoever looks at them: compression, scaling, blur, noise, messengers.

``DEGRADATIONS`` is the one list under which detectors are measured; ``launder`` draws random chains of the same steps
for training. Steps, their ranges and the list are our definition. All take and return uint8 (H, W, 3) in RGB, and an
image that was made smaller is brought back to its size, so that masks stay exact.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

Degradation = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_LONGEST_SIDE = 16_000  # pixels; WebP and x264 take 16,383
_MACROBLOCK = 16  # pixels; video is coded in whole ones
_QUIET = {"libx265": {"x265-params": "log-level=none:pools=none:frame-threads=1"}}


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Save as JPEG, quality 1 to 100 on libjpeg's scale, colour at half resolution, and read it again."""
    return _saved(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def webp(image: np.ndarray, quality: int) -> np.ndarray:
    """Save as lossy WebP, quality 1 to 100, and read it again; wider images than it takes in two halves."""
    if max(image.shape[:2]) > _LONGEST_SIDE:
        return _in_halves(image, lambda half: webp(half, quality))
    return _saved(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)


def video(image: np.ndarray, crf: int, codec: str = "libx264") -> np.ndarray:
    """Code as the key frame of a video, colour at half resolution, and decode it; too wide images in two halves.

    Args:
        image: uint8 (H, W, 3).
        crf: constant rate factor, 0 to 51; 23 is x264's default.
        codec: ``libx264`` or ``libx265``.
    """
    if max(image.shape[:2]) > _LONGEST_SIDE:
        return _in_halves(image, lambda half: video(half, crf, codec))
    height, width = image.shape[:2]
    padded = np.pad(image, [(0, -height % _MACROBLOCK), (0, -width % _MACROBLOCK), (0, 0)], mode="edge")
    # Without a container, whose time stamps a single frame does not need.
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = padded.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", **_QUIET.get(codec, {})}
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")), *encoder.encode(None)]
    decoder: Any = av.CodecContext.create({"libx264": "h264", "libx265": "hevc"}[codec], "r")
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return np.ascontiguousarray(frames[0].to_ndarray(format="rgb24")[:height, :width])


def scale(image: np.ndarray, factor: float, down: int = cv2.INTER_AREA, up: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Resample to ``factor`` of each side, and back."""
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(cv2.resize(image, size, interpolation=down), (width, height), interpolation=up)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, sigma in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, sigma in levels of 255."""
    return np.clip(np.rint(image + rng.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def messenger(image: np.ndarray, factor: float, quality: int) -> np.ndarray:
    """What a messenger does to a photograph: make it smaller and save it as JPEG; then it is shown enlarged."""
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    sent = jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA), quality)
    return cv2.resize(sent, (width, height), interpolation=cv2.INTER_LINEAR)


DEGRADATIONS: dict[str, Degradation] = {
    "none": lambda image, rng: image,
    "jpeg-95": lambda image, rng: jpeg(image, 95),
    "jpeg-90": lambda image, rng: jpeg(image, 90),
    "jpeg-75": lambda image, rng: jpeg(image, 75),
    "jpeg-50": lambda image, rng: jpeg(image, 50),
    "webp-80": lambda image, rng: webp(image, 80),
    "h264-23": lambda image, rng: video(image, 23),
    "h264-40": lambda image, rng: video(image, 40),
    "scale-3/4": lambda image, rng: scale(image, 0.75),
    "scale-1/2": lambda image, rng: scale(image, 0.5),
    "noise-2": lambda image, rng: noise(image, 2.0, rng),
    "blur-1": lambda image, rng: blur(image, 1.0),
    "messenger": lambda image, rng: messenger(image, 0.75, 75),
}
"""Name -> degradation; ``none`` is the image as it is stored."""


def launder(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Send an image through a random chain of one to three steps.

    What is drawn does not depend on the image, so that a forgery and its source go the same way under equal
    generators.

    Args:
        image: uint8 (H, W, 3).
        rng: source of randomness.

    Returns:
        uint8, of the same shape.
    """
    for kind in rng.choice(len(_STEPS), size=rng.integers(1, 4), p=_SHARES):
        image = _STEPS[kind](image, rng)
    return image


def _random_jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG 40 to 98; in half of the images its grid begins anywhere, as where one was saved and then cropped."""
    top, left, quality = (int(value) for value in rng.integers((0, 0, 40), (8, 8, 99)))
    if rng.random() < 0.5:
        return jpeg(image, quality)
    padded = cv2.copyMakeBorder(image, top, 0, left, 0, cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(jpeg(padded, quality)[top:, left:])


def _random_video(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    crf, codec = int(rng.integers(18, 41)), ("libx264", "libx265")[int(rng.random() < 0.25)]
    return video(image, crf, codec)


def _random_scale(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    down, up = (_INTERPOLATIONS[i] for i in rng.integers(len(_INTERPOLATIONS), size=2))
    return scale(image, rng.uniform(0.5, 1.3), down, up)


_CHAIN: tuple[tuple[Degradation, float], ...] = (
    (_random_jpeg, 0.40),
    (_random_scale, 0.20),
    (lambda image, rng: messenger(image, rng.uniform(0.5, 0.95), int(rng.integers(70, 81))), 0.12),
    (lambda image, rng: webp(image, int(rng.integers(50, 96))), 0.10),
    (lambda image, rng: blur(image, rng.uniform(0.3, 1.2)), 0.07),
    (lambda image, rng: noise(image, rng.uniform(0.5, 4.0), rng), 0.07),
    (_random_video, 0.04),
)
_STEPS = tuple(step for step, _ in _CHAIN)
_SHARES = np.array([share for _, share in _CHAIN])


def _saved(image: np.ndarray, suffix: str, option: int, quality: int) -> np.ndarray:
    stored = cv2.imencode(suffix, image[..., ::-1], [option, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))[..., ::-1])


def _in_halves(image: np.ndarray, code: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    axis = int(np.argmax(image.shape[:2]))
    halves = np.split(image, [image.shape[axis] // (2 * _MACROBLOCK) * _MACROBLOCK], axis=axis)
    return np.concatenate([code(np.ascontiguousarray(half)) for half in halves], axis=axis)
