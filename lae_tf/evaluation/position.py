"""What attention says beyond where forgeries usually are: the position prior, and the position-matched pixel AUROC.

Forged regions of one data set lie at similar places, such as the middle of a face. A map that marks that place in every
image, real ones included, has a high pixel AUROC and knows nothing. Both numbers here are our definition.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError
from lae_tf.evaluation.localisation import HISTOGRAM_BINS, POSITION_COLUMNS, levels_of
from lae_tf.images.files import read_mask

Array = NDArray[np.float64]

BLUR = 1 / 32
"""Standard deviation of the prior's Gaussian blur, as a share of the map's side (ours): few masks make a rough mean."""


def position_prior(trained: Manifest, size: int, view: str = "whole") -> Array | None:
    """Return the mean mask of the annotated training fakes, blurred.

    Args:
        trained: what a run trains and validates on; images of other splits than ``train`` do not count.
        size: S of the map.
        view: of the model; in ``whole`` maps have the image between its mirrors, in the others it fills them.

    Returns:
        float64 (S, S) in [0, 1], or None where no training fake has a mask.

    Raises:
        ImageError: a mask cannot be read.
    """
    part = trained.select(split="train")
    masks = part.frame["mask"][part.mask_state == "annotated"]
    if masks.empty:
        return None
    total = np.zeros((size, size))
    for path in masks:
        mask = read_mask(path).astype(np.float64)
        height, width = (size, size)
        if view == "whole":
            height, width = (max(1, round(size * length / max(mask.shape))) for length in mask.shape)
        small = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA))
        borders = [((size - length) // 2, -(-(size - length) // 2)) for length in (height, width)]
        total += np.pad(small, borders, mode="reflect")
    return cv2.GaussianBlur(total / len(masks), (0, 0), BLUR * size).astype(np.float64)


class PositionMeter:
    """Compares attention with what its place in the image alone would say, for images one after another.

    Reals come before fakes, so that one pass is enough: per pixel a histogram of the reals' attention is kept, in
    H * W * 1024 counts, however many images there are.

    Only fakes with a known mask that marks at least one pixel are measured:

    - prior_pixel_auroc: the pixel AUROC of the position prior, the same map for every image, against this image's
      mask. It needs no attention: it is what a pixel AUROC has to exceed before it says anything. A tie counts one
      half; NaN without a prior, or if the mask marks every pixel.
    - matched_pixel_auroc: attention at the forged pixels against attention at the same pixels of the real images.
      With A the attention of this fake f, M its forged pixels and R the real images,
      mean over p in M, mean over r in R of [A_f(p) > A_r(p)] + [A_f(p) = A_r(p)] / 2,
      on attention rounded down to 1024 levels. A map that is the same for every image has exactly 0.5. NaN without
      real images. An interval over fakes takes the real images as given.

    Args:
        prior: (H, W) of :func:`position_prior`, or None.
        reals: how many real images will come, at most.
    """

    def __init__(self, prior: Array | None, reals: int) -> None:
        self._ranks = None if prior is None else rankdata(prior)
        self._at_most = reals
        # Counts up to the number of real images: with few of them one byte each is enough.
        self._counts = np.zeros((0, HISTOGRAM_BINS), np.min_scalar_type(reals))
        self._reals = 0
        self._is_summed = False

    def update(
        self, attention: ArrayLike, mask: ArrayLike, is_fake: ArrayLike, mask_known: ArrayLike
    ) -> dict[str, Array]:
        """Take one batch.

        Args:
            attention: (B, H, W), float in [0, 1].
            mask: (B, H, W), 1 where forged. Ignored for reals and where the mask is not known.
            is_fake: (B,), 1 = fake.
            mask_known: (B,), 1 where the fake's mask is known.

        Returns:
            One (B,) float64 array for each of `POSITION_COLUMNS`, NaN where it does not apply.

        Raises:
            LAEError: a real image after a fake one of an earlier batch, or more real images than were announced.
        """
        levels = levels_of(np.asarray(attention, dtype=np.float64))
        batch = len(levels)
        levels = levels.reshape(batch, -1)
        masks = np.asarray(mask).reshape(batch, -1) == 1
        fake = np.asarray(is_fake) == 1
        self._add_reals(levels[~fake])
        columns = {name: np.full(batch, np.nan) for name in POSITION_COLUMNS}
        measured = np.flatnonzero(fake & (np.asarray(mask_known) == 1) & masks.any(axis=1))
        if self._ranks is not None:
            columns["prior_pixel_auroc"][measured] = _map_auroc(self._ranks.ravel(), masks[measured])
        if self._reals:
            for row in measured:
                columns["matched_pixel_auroc"][row] = self._match(levels[row], masks[row])
        return columns

    def _add_reals(self, levels: NDArray[np.int64]) -> None:
        if not len(levels):
            return
        if self._is_summed or self._reals + len(levels) > self._at_most:
            raise LAEError(f"all real images, at most {self._at_most}, must come before fakes with a mask")
        if not self._reals:
            self._counts = np.zeros((levels.shape[1], HISTOGRAM_BINS), self._counts.dtype)
        pixels = np.arange(levels.shape[1])
        for one in levels:
            self._counts[pixels, one] += 1
        self._reals += len(levels)

    def _match(self, levels: NDArray[np.int64], mask: NDArray[np.bool_]) -> float:
        counts = self._counts
        if not self._is_summed:
            np.cumsum(counts, axis=1, dtype=counts.dtype, out=counts)
            self._is_summed = True
        pixels = np.flatnonzero(mask)
        own = levels[pixels]
        # Real images up to this level, and those below it: half of both together counts a tie as one half.
        up_to = counts[pixels, own].astype(np.int64)
        below = np.where(own > 0, counts[pixels, np.maximum(own - 1, 0)].astype(np.int64), 0)
        return float((up_to + below).sum() / (2 * self._reals * len(pixels)))


def _map_auroc(ranks: Array, masks: NDArray[np.bool_]) -> Array:
    """Return the AUROC (B,) of one map, given by its pixels' ranks, against masks (B, pixels); NaN for a full mask."""
    forged = masks.sum(axis=1).astype(np.float64)
    pairs = forged * (masks.shape[1] - forged)
    won = masks @ ranks - forged * (forged + 1) / 2
    return np.divide(won, pairs, out=np.full(len(masks), np.nan), where=pairs > 0)
