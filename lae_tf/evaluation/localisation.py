"""How well the attention map points at the forged region, measured in one pass and constant memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lae_tf.errors import LAEError

Array = NDArray[np.float64]

ATTENTION_THRESHOLD = 0.5
HISTOGRAM_BINS = 1024

FAKE_COLUMNS = ("iou", "f1", "pixel_auroc", "pointing", "energy_inside")
REAL_COLUMNS = ("false_alarm_area",)
POSITION_COLUMNS = ("prior_pixel_auroc", "matched_pixel_auroc")
"""Columns of :class:`~lae_tf.evaluation.position.PositionMeter`, which are read beside ``pixel_auroc``."""
LOCALISATION_METRICS = (*FAKE_COLUMNS[:3], *POSITION_COLUMNS, *FAKE_COLUMNS[3:], *REAL_COLUMNS)
_OWN = FAKE_COLUMNS + REAL_COLUMNS


def levels_of(attention: Array) -> NDArray[np.int64]:
    """Round attention in [0, 1] down to whole levels, 0 to 1023."""
    return np.minimum((attention * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)


class LocalisationMeter:
    """Compares attention maps with masks, batch by batch.

    An image enters in one of three ways, and a missing mask is never read as an empty one:

    - *fake with a known mask* that marks at least one pixel: `iou`, `f1`, `pixel_auroc`, `pointing` and
      `energy_inside`.
    - *real*: only `false_alarm_area`, the share of its pixels with attention above 0.5. Reals take no part in
      IoU or F1, so a perfect silence on a real image neither raises nor lowers them.
    - *anything else* (a fake without a mask, or with a mask that marks nothing): NaN in all columns.

    Per image, with A the attention, m the mask and P = (A > 0.5) the predicted region:

    - iou = |P and m| / |P or m|, f1 = 2 |P and m| / (|P| + |m|). An empty P gives 0.
    - pointing: 1 if the largest A lies inside m, else 0. If several pixels share the maximum, the share of them
      inside m (the expected result of picking one by chance).
    - energy_inside = sum(A m) / sum(A), and 0 if A is zero everywhere.
    - pixel_auroc: area under the ROC curve of A against m over the pixels of this image, on A rounded down to
      1024 levels; NaN if m marks every pixel. The rounding moves it by at most half the share of
      (forged, untouched) pixel pairs that fall on one level.
    """

    def __init__(self) -> None:
        self._histogram = np.zeros((2, HISTOGRAM_BINS), dtype=np.int64)
        self._sums = dict.fromkeys(_OWN, 0.0)
        self._counts = dict.fromkeys(_OWN, 0)

    def update(
        self,
        attention: ArrayLike,
        mask: ArrayLike,
        is_fake: ArrayLike,
        mask_known: ArrayLike | None = None,
    ) -> dict[str, Array]:
        """Takes one batch.

        Args:
            attention: (B, H, W) or (B, H, W, 1), float in [0, 1].
            mask: the same shape, 1 where forged. Ignored for reals and where the mask is not known.
            is_fake: (B,) or (B, 1), 1 = fake.
            mask_known: (B,) or (B, 1), 1 where the fake's mask is known; all are by default.

        Returns:
            One (B,) float64 array for each of `FAKE_COLUMNS` and `REAL_COLUMNS`, NaN where it does not apply.

        Raises:
            LAEError: shapes differ, attention is outside [0, 1] or NaN, a used mask is not 0/1.
        """
        a = np.asarray(attention, dtype=np.float64)
        m = np.asarray(mask, dtype=np.float64)
        if a.ndim not in (3, 4) or a.shape != m.shape or a.shape[3:] not in ((), (1,)) or 0 in a.shape[1:3]:
            raise LAEError(f"attention and mask must both be (B, H, W), found {a.shape} and {m.shape}")
        batch, pixels = len(a), a.shape[1] * a.shape[2]
        a, m = a.reshape(batch, pixels), m.reshape(batch, pixels)
        fake = np.asarray(is_fake).reshape(-1) == 1
        known = np.ones(batch, bool) if mask_known is None else np.asarray(mask_known).reshape(-1) == 1
        if fake.shape != (batch,) or known.shape != (batch,):
            raise LAEError(f"is_fake and mask_known must have one entry for each of {batch} images")
        if not ((a >= 0) & (a <= 1)).all():
            raise LAEError("attention must lie in [0, 1] and not be NaN")
        annotated = fake & known
        if not np.isin(m[annotated], (0, 1)).all():
            raise LAEError("a mask must be 0 (untouched) or 1 (forged) in every pixel")
        annotated &= m.any(axis=1)

        columns = {name: np.full(batch, np.nan) for name in _OWN}
        columns["false_alarm_area"][~fake] = (a[~fake] > ATTENTION_THRESHOLD).mean(axis=1)
        for name, values in self._against_mask(a[annotated], m[annotated]).items():
            columns[name][annotated] = values
        for name, column in columns.items():
            self._sums[name] += float(np.nansum(column))
            self._counts[name] += int(np.sum(~np.isnan(column)))
        return columns

    def _against_mask(self, a: Array, m: Array) -> dict[str, Array]:
        """Metrics of annotated fakes; a and m are (B, pixels) and no mask is empty."""
        predicted = a > ATTENTION_THRESHOLD
        hits = np.sum(predicted * m, axis=1)
        sizes = predicted.sum(axis=1) + m.sum(axis=1)
        peak = a == a.max(axis=1, keepdims=True)
        energy = a.sum(axis=1)

        levels = levels_of(a)
        cell = (np.arange(len(a))[:, None] * 2 + m.astype(np.int64)) * HISTOGRAM_BINS + levels
        counted = np.bincount(cell.ravel(), minlength=len(a) * 2 * HISTOGRAM_BINS)
        histograms = counted.reshape(len(a), 2, HISTOGRAM_BINS)
        self._histogram += histograms.sum(axis=0)
        return {
            "iou": hits / (sizes - hits),
            "f1": 2 * hits / sizes,
            "pixel_auroc": _histogram_auroc(histograms),
            "pointing": np.sum(peak * m, axis=1) / peak.sum(axis=1),
            "energy_inside": np.divide(np.sum(a * m, axis=1), energy, out=np.zeros(len(a)), where=energy > 0),
        }

    def result(self) -> dict[str, float]:
        """What was seen so far.

        Returns:
            The mean over images of each of `FAKE_COLUMNS` and `REAL_COLUMNS` (NaN if it applied to none); besides
            `pooled_pixel_auroc`, over all pixels of all annotated fakes together (it also asks for one scale
            of attention across images), and the counts `annotated_fakes` and `reals`.
        """
        means = {name: self._sums[name] / count if count else float("nan") for name, count in self._counts.items()}
        return {
            **means,
            "pooled_pixel_auroc": float(_histogram_auroc(self._histogram[None])[0]),
            "annotated_fakes": self._counts["iou"],
            "reals": self._counts["false_alarm_area"],
        }


def _histogram_auroc(histograms: NDArray[np.int64]) -> Array:
    """Return the AUROC (B,) of histograms (B, 2, bins) of untouched and of forged pixels, NaN where a kind is missing.

    Bins rise with attention; a pair within one bin counts one half.
    """
    untouched, forged = (histograms[:, kind].astype(np.float64) for kind in (0, 1))
    below = untouched.cumsum(axis=1) - untouched
    won = np.sum(forged * (below + untouched / 2), axis=1)
    pairs = forged.sum(axis=1) * untouched.sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(histograms), np.nan), where=pairs > 0)
