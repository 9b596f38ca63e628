"""A map at the size of its image, made a few rows at a time: beside a large image no second one is needed."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lae_tf.errors import LAEError

_STRIP = 1 << 16  # pixels, few enough for a processor's cache: larger ones took twice the time


class ScaledMap:
    """A map of a whole image, edge to edge, that is read as if it had the image's size.

    Between its values it is linear; where it is larger than the image, they are averaged.

    Args:
        values: (h, w), float in [0, 1], of any resolution.
        height, width: of the image in pixels.

    Raises:
        LAEError: ``values`` has no two dimensions, or none of something.
    """

    def __init__(self, values: ArrayLike, height: int, width: int):
        small = np.asarray(values, dtype=np.float32)
        if small.ndim != 2 or not small.size:
            raise LAEError(f"a map of an image has the shape (h, w), found {small.shape}")
        self.height, self.width = height, width
        rows, columns = min(small.shape[0], height), min(small.shape[1], width)
        averaged = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_AREA)
        # All columns, but only the rows that there are; those between them are made when they are asked for.
        across = cv2.resize(averaged, (width, rows), interpolation=cv2.INTER_LINEAR)
        self._rows = np.asarray(across, dtype=np.float32)

    def rows(self, top: int, bottom: int) -> NDArray[np.float32]:
        """Return the rows from ``top`` to before ``bottom``, float32 (bottom - top, width) in [0, 1]."""
        last = len(self._rows) - 1
        places = ((np.arange(top, bottom) + 0.5) * (last + 1) / self.height - 0.5).clip(0, last)
        above = places.astype(int)
        below = np.minimum(above + 1, last)
        share = (places - above).astype(np.float32)[:, None]
        return self._rows[above] + share * (self._rows[below] - self._rows[above])

    def strips(self, top: int = 0, bottom: int | None = None) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield rows from ``top`` to before ``bottom``, by default all: which, and as :meth:`rows` gives them."""
        step = max(1, _STRIP // self.width)
        bottom = self.height if bottom is None else bottom
        for first in range(top, bottom, step):
            end = min(first + step, bottom)
            yield slice(first, end), self.rows(first, end)
