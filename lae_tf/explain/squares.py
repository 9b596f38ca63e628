"""The square of an image that is explained where a model looks at parts: what it saw of it, and where that lies."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lae_tf.data.pyramid import Window, pyramid
from lae_tf.data.views import Square
from lae_tf.model.lae import LAE

_LONGEST = 512  # pixels of a picture of the whole image
_FRAME = (86, 180, 233)


def level_of(model: LAE, square: Square) -> int:
    """Return the number of the level of which a square is a window, 0 for the finest."""
    return (square.side // model.image_size).bit_length() - 1


def seen_in(model: LAE, image: NDArray[np.uint8], square: Square) -> NDArray[np.float32]:
    """Return a square as the model saw it, float32 (S, S, 3) in [0, 1].

    Args:
        model: of the view ``windows`` or ``faces``.
        image: uint8 (H, W, 3), upright.
        square: of it.
    """
    if model.view == "windows":
        level = pyramid(image, model.image_size, model.stride)[level_of(model, square)]
        pixels = level.cut(Window(square.top // level.factor, square.left // level.factor))
        return (pixels / np.float32(255)).astype(np.float32)
    return np.asarray(model.preprocessor.resize(_part(image, square)), np.float32)


def mask_in(model: LAE, mask: NDArray[np.uint8], square: Square) -> NDArray[np.uint8]:
    """Return the part of a mask, uint8 (H, W) in {0, 1}, that lies in a square, uint8 (S, S)."""
    return np.asarray(model.preprocessor.resize_mask(_part(mask, square)[..., None])[..., 0], np.uint8)


def on_image(values: NDArray[np.float32], square: Square, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a map of a whole image that holds the map of a square at its place, and nothing elsewhere.

    Args:
        values: (S, S).
        square: where they belong.
        size: height and width of the image.

    Returns:
        float32 (h, w), of the resolution of ``values`` or of the image, whichever is less.
    """
    factor = max(1.0, square.side / len(values))
    height, width = (max(1, round(length / factor)) for length in size)
    top, left, side = (round(length / factor) for length in square)
    whole = np.zeros((height + side, width + side), np.float32)
    whole[top : top + side, left : left + side] = cv2.resize(values, (side, side), interpolation=cv2.INTER_LINEAR)
    return whole[:height, :width]


def framed(image: NDArray[np.uint8], square: Square) -> NDArray[np.uint8]:
    """Return a small picture of an image in which a square is framed."""
    factor = min(1.0, _LONGEST / max(image.shape[:2]))
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    small = np.ascontiguousarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    top, left, side = (round(length * factor) for length in square)
    thickness = max(1, max(height, width) // 128)
    lower_right = (min(left + side, width) - 1, min(top + side, height) - 1)
    return np.asarray(cv2.rectangle(small, (left, top), lower_right, _FRAME, thickness), np.uint8)


def _part(values: NDArray[np.uint8], square: Square) -> NDArray[np.uint8]:
    """Return the values (H, W) or (H, W, C) in a square; beyond the image they go on as their mirror image."""
    top, left, side = square
    part = values[top : top + side, left : left + side]
    below, beside = (side - length for length in part.shape[:2])
    if not below and not beside:
        return part
    # The mirrors are of all that there is, as they were when the model looked.
    bottom, right = (max(0, start + side - length) for start, length in zip((top, left), values.shape[:2], strict=True))
    padded: NDArray[np.uint8] = np.asarray(
        cv2.copyMakeBorder(values, 0, bottom, 0, right, cv2.BORDER_REFLECT), np.uint8
    )
    return padded[top : top + side, left : left + side]
