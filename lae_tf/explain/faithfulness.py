"""Does the score follow the regions that an explanation calls important? Deletion and insertion curves.

After Petsiuk et al. 2018 (RISE, arXiv 1806.07421). Parts of the image are replaced in the order of their importance, a
share at a time, and the score P(fake) is read after each step. Our choices, which fix the numbers:

- *deletion* goes from the image to its blurred copy, *insertion* from the blurred copy to the image. A blurred copy
  has lost the traces of a forgery, and unlike a grey area it brings no strong edges of its own.
- The blur is Gaussian with a standard deviation of ``BLUR`` image sides.
- Parts are the squares of a grid of ``GRID`` x ``GRID``, by the mean importance of their pixels. Single pixels of the
  one among pixels of the other would look like noise, which to a detector is a trace by itself; and squares put
  methods of fine and of coarse maps on one footing.
- ``STEPS`` steps of equal size; the area under the curve is taken by trapezoids over the share in [0, 1].
- Squares of equal importance are replaced in random order: an empty map is a random order.

A faithful explanation has a low deletion area (the score falls as soon as the right parts are gone) and a high
insertion area. Their difference, insertion - deletion in [-1, 1], is our single number for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import auc

Array = NDArray[np.float64]
Score = Callable[[NDArray[np.float32]], Array]
STEPS = 16
GRID = 16
BLUR = 1 / 16


@dataclass(frozen=True)
class Faithfulness:
    """Curves of one map on one image.

    Attributes:
        deletion: (steps + 1,) scores; the first is the image's, the last the blurred copy's.
        insertion: (steps + 1,) scores, from the blurred copy to the image.
    """

    deletion: Array
    insertion: Array

    @property
    def deletion_auc(self) -> float:
        """Area under the deletion curve; low is good."""
        return _area(self.deletion)

    @property
    def insertion_auc(self) -> float:
        """Area under the insertion curve; high is good."""
        return _area(self.insertion)

    @property
    def faithfulness(self) -> float:
        """Insertion area minus deletion area; high is good, a random order gives about 0 on average."""
        return self.insertion_auc - self.deletion_auc


def blurred(image: NDArray[np.float32], blur: float = BLUR) -> NDArray[np.float32]:
    """Return the baseline of an image (H, W, C): blurred by ``blur`` times its larger side, borders reflected."""
    sigma = blur * max(image.shape[:2])
    return gaussian_filter(image, (sigma, sigma, 0), mode="reflect").astype(np.float32)


def measure(
    score: Score,
    image: NDArray[np.float32],
    baseline: NDArray[np.float32],
    importance: NDArray[np.float32],
    rng: np.random.Generator,
    resolution: tuple[int, int] = (GRID, STEPS),
) -> Faithfulness:
    """Measure one map.

    Args:
        score: images (N, H, W, C) to scores (N,).
        image: (H, W, C).
        baseline: the same shape, see :func:`blurred`.
        importance: (H, W), any scale.
        rng: breaks ties.
        resolution: squares along a side, at most H and W, and number of steps, at most the square of that.
    """
    grid, steps = resolution
    ranks = rank_squares(importance, grid, rng)
    return Faithfulness(
        replacement_curve(score, image, baseline, ranks, steps),
        replacement_curve(score, baseline, image, ranks, steps),
    )


def rank_squares(importance: NDArray[np.float32], grid: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return for each pixel (H, W) the rank of its square by mean importance: 0 is first, equal ones at random."""
    rows, columns = (np.arange(side) * grid // side for side in importance.shape)
    square = rows[:, None] * grid + columns
    mean = np.bincount(square.ravel(), importance.ravel().astype(np.float64)) / np.bincount(square.ravel())
    order = np.lexsort((rng.random(mean.size), -mean))
    ranks = np.empty(mean.size, dtype=np.int64)
    ranks[order] = np.arange(mean.size)
    return ranks[square]


def replacement_curve(
    score: Score, before: NDArray[np.float32], after: NDArray[np.float32], ranks: NDArray[np.int64], steps: int
) -> Array:
    """Return the scores (steps + 1,) while squares of ``before`` give way to those of ``after`` by their ranks."""
    counts = np.rint(np.linspace(0, np.max(ranks) + 1, steps + 1))
    replaced = ranks < counts[:, None, None]
    return np.asarray(score(np.where(replaced[..., None], after, before)), dtype=np.float64)


def _area(curve: Array) -> float:
    return float(auc(np.linspace(0, 1, len(curve)), curve))
