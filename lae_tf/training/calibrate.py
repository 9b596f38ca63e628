"""What is chosen on validation data alone: slope and bias of the scores, bounds of verdicts, level of attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from lae_tf.config.sections import CalibrationConfig
from lae_tf.errors import LAEError
from lae_tf.metrics.verdict import ConformalBounds, conformal_bounds

ATTENTION_LEVELS = expit(np.linspace(-5.0, 5.0, 101))
LARGEST_FALSE_ALARM = 0.1  # share of the pixels of real images
ERROR_RATE = CalibrationConfig().error_rate
DEGRADED_FALSE_ALARMS = 0.05  # share of the real images that look degraded, where these have a scale of their own
_FLATTEST = 1e-2  # slope for logits in units of their deviation
_STEEPEST = 1e-30  # temperature by which a float32 logit can be divided
_RESOLUTION = 2.0**-21  # of calibrated logits about 0: what tells two float32 scores apart with room to spare


class Platt(NamedTuple):
    """Scores from logits s: sigmoid((s - boundary) / temperature), with the slope 1 / temperature > 0.

    Attributes:
        boundary: the logit that scores 0.5, a float32 number.
        temperature: > 0.
    """

    boundary: float = 0.0
    temperature: float = 1.0

    def scores(self, logits: Any) -> np.ndarray:
        """Return float32 scores of logits, computed as ``Calibration`` computes them."""
        centred = np.asarray(logits, np.float32) - np.float32(self.boundary)
        return expit(centred / np.float32(self.temperature))


def are_stored(images: int) -> np.ndarray:
    """Return which images of validation are as they were stored, bool (N,), where degraded copies of them follow."""
    return np.arange(images) < images // 2


def fit_platt(logits: np.ndarray, labels: np.ndarray, boundary: float | None = None) -> Platt:
    """Fit slope and bias by logistic regression of the label on the logit, both kinds having half of the weight each.

    So 0.5 is the score at which an image is as likely fake as real, if both kinds are equally frequent. The level of
    the highest balanced accuracy would depend on the few images next to it alone: from one half of a validation set to
    another it varies three times as much (docs/results/evidence.md).

    As in Platt's scaling (1999) the targets are not quite 0 and 1, here alike for both kinds, so that the slope stays
    finite. Where logits separate the kinds the boundary lies in the middle of the gap, and between their means, with
    a slope that makes next to nothing of them, where fakes do not have the higher ones. Equal logits score 0.5.

    Args:
        logits: (N,) float64, of float32 numbers.
        labels: (N,) in {0, 1}, of both kinds.
        boundary: to keep, so that only the slope is fitted.

    Returns:
        The fit. Logits at or above the regression's boundary score at least 0.5 in float32; those below it less,
        unless float32 scores cannot tell them from one at the boundary.
    """
    if np.ptp(logits) == 0:
        return Platt(float(np.float32(logits[0] if boundary is None else boundary)))
    fakes, reals = logits[labels == 1], logits[labels == 0]
    separated = fakes.min() > reals.max()
    middle = (fakes.min() + reals.max()) / 2 if separated else (fakes.mean() + reals.mean()) / 2
    if boundary is not None:
        middle = boundary
    spread = logits.std()
    x = (logits - middle) / spread
    weights = np.where(labels == 1, 0.5 / len(fakes), 0.5 / len(reals))
    shy = 1 / (min(len(fakes), len(reals)) + 2)
    targets = np.where(labels == 1, 1 - shy, shy)

    def cross_entropy(line: np.ndarray) -> tuple[float, np.ndarray]:
        z = line[0] * x + line[1]
        errors = weights * (expit(z) - targets)
        return float(weights @ (np.logaddexp(0.0, z) - targets * z)), np.array([errors @ x, errors.sum()])

    line_bounds = [(_FLATTEST, None), (0.0, 0.0) if separated or boundary is not None else (None, None)]
    slope, offset = minimize(cross_entropy, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=line_bounds, tol=1e-12).x
    temperature = max(float(spread / slope), _STEEPEST)
    return Platt(_parting(float(middle - spread * offset / slope), logits, temperature), temperature)


def _parting(boundary: float, logits: np.ndarray, temperature: float) -> float:
    """Return the float32 number next to a boundary that parts the scores of the logits as it parts the logits."""
    below, above = logits[logits < boundary], logits[logits >= boundary]
    if len(below):
        boundary = max(boundary, below.max() + _RESOLUTION * temperature)
    if len(above):
        boundary = min(boundary, above.min())
    rounded = np.float32(boundary)
    return float(rounded if float(rounded) >= boundary else np.nextafter(rounded, np.float32(np.inf)))


def threshold_at_fpr(scores: np.ndarray, labels: np.ndarray, rate: float) -> float:
    """Return a threshold at which as many real images are called fake as may be, at most ``rate`` of them.

    It lies half way between two of their scores, or logits, so that no rounding of one adds to them.
    """
    reals = np.sort(scores[labels == 0])[::-1]
    allowed = int(rate * len(reals) + 1e-9)
    highest = reals[min(allowed, len(reals) - 1)]
    above = reals[reals > highest]
    next_higher = above.min() if len(above) else max(1, highest)
    return float(max((highest + next_higher) / 2, np.nextafter(highest, reals.dtype.type(np.inf))))


class AttentionLevel:
    """Finds the attention above which a pixel is best called forged, in one pass and constant memory (ours).

    Of ``ATTENTION_LEVELS`` it is the one with the highest IoU over all pixels of all images together, those of real
    images included, among the levels that at most ``LARGEST_FALSE_ALARM`` of the real images' pixels exceed.
    """

    def __init__(self) -> None:
        # By how many of the levels a pixel exceeds: of real images, of untouched and of forged pixels of fakes.
        self._counts = np.zeros((3, len(ATTENTION_LEVELS) + 1), np.int64)

    def update(self, attention: np.ndarray, batch: dict[str, Any]) -> None:
        """Take attention (B, S, S) in [0, 1] on a batch of the pipeline; fakes whose mask is not known are left out."""
        labels, known = (np.asarray(batch[name])[:, 0] == 1 for name in ("label", "mask_weight"))
        forged = np.asarray(batch["mask"])[..., 0] > 0.5
        kind = np.where(labels[:, None, None], 1 + forged, 0)[known]
        exceeded = np.searchsorted(ATTENTION_LEVELS, attention[known], side="left")
        cell = kind * self._counts.shape[1] + exceeded
        self._counts += np.bincount(cell.ravel(), minlength=self._counts.size).reshape(self._counts.shape)

    def result(self) -> float:
        """Return the level in (0, 1), the middle one of equally good ones; 0.5 where no known mask is hit."""
        above = self._counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        reals, _, forged = self._counts.sum(axis=1)
        iou = above[2] / np.maximum(1, forged + above[0] + above[1])
        iou[above[0] > LARGEST_FALSE_ALARM * reals] = 0
        best = np.flatnonzero(iou >= iou.max() - 1e-12)
        return float(ATTENTION_LEVELS[best[len(best) // 2]]) if iou.max() > 0 else 0.5


def calibrate_model(
    model: Any, batches: Iterable[dict[str, Any]], error_rate: float = ERROR_RATE, scale: Platt | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Calibrate a model on batches of the pipeline, and store the result in it.

    Args:
        model: with a ``Calibration`` and an ``AttentionScale``.
        batches: of validation.
        error_rate: of the verdicts, in (0, 1).
        scale: of the scores, where it is known already.

    Returns:
        The decision, see :func:`calibrate`, with the level of the attention; and one row per image of validation with
        label (1 = fake), logit and calibrated score.

    Raises:
        LAEError: validation has only one class, or a logit is not finite.
    """
    logits, labels, level = [], [], AttentionLevel()
    model.attention_scale.level.assign(0.5)
    for batch in batches:
        outputs = model.predict_on_batch(batch["image"])
        logits.append(np.asarray(outputs["logit"])[:, 0])
        labels.append(np.asarray(batch["label"])[:, 0].astype(int))
        if "attention" in outputs:
            level.update(np.asarray(outputs["attention"]), batch)
    images = pd.DataFrame({"label": np.concatenate(labels), "logit": np.concatenate(logits)})
    chosen = calibrate(images["logit"].to_numpy(), images["label"].to_numpy(), error_rate, scale)
    decision = {**chosen, "attention_level": level.result()}
    store(model, decision)
    return decision, images.assign(score=scale_of(decision).scores(images["logit"]))


def store(model: Any, decision: dict[str, Any]) -> None:
    """Store a decision in a model, with the level of its attention."""
    for name in ("boundary", "temperature", "threshold", *ConformalBounds._fields):
        getattr(model.calibration, name).assign(decision[name])
    model.attention_scale.level.assign(decision["attention_level"])


def calibrate(
    logits: np.ndarray, labels: np.ndarray, error_rate: float = ERROR_RATE, scale: Platt | None = None
) -> dict[str, Any]:
    """Return what a decision takes and what it rests on.

    That is boundary and temperature of :class:`Platt`, the threshold of the score, 0.5, and the bounds of verdicts,
    :class:`lae_tf.metrics.verdict.ConformalBounds`, at a rate of errors. These go by the order of the logits, so that
    the fit of the scores on the same images does no harm to them.

    The scale is fitted to these images, unless that of those as they were stored is given, to which the logits of
    images that look degraded were brought (:func:`lae_tf.training.mixing.fit_mixture`).

    For information, thresholds at two rates of false alarms stand beside it; None where real images are too few.

    Raises:
        LAEError: validation has only one class, or a logit is not finite.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if not np.isfinite(logits).all():
        raise LAEError(
            f"{int((~np.isfinite(logits)).sum())} of {len(logits)} validation images have no finite logit: training "
            "has diverged. Lower the learning rate."
        )
    if len(np.unique(labels)) < 2:
        raise LAEError("validation needs real and fake images to choose a threshold; found only one kind.")
    # The other level is withheld in the logits themselves.
    degraded = (
        "" if scale is None else f"; {100 * DEGRADED_FALSE_ALARMS:g} % false alarms where an image looks degraded"
    )
    scale, reals = scale or fit_platt(logits, labels), int((labels == 0).sum())
    scores = scale.scores(logits)
    return {
        **scale._asdict(),
        "threshold": 0.5,
        "rule": f"equal odds of real and fake by logistic regression on validation{degraded}",
        **conformal_bounds(scores, labels, error_rate)._asdict(),
        # Below one image a rate is not known.
        "threshold_at_1pct_fpr": threshold_at_fpr(scores, labels, 0.01) if reals >= 100 else None,
        "threshold_at_5pct_fpr": threshold_at_fpr(scores, labels, 0.05) if reals >= 20 else None,
        "validation_images": len(labels),
        "validation_reals": reals,
    }


def scale_of(decision: dict[str, Any]) -> Platt:
    """Return the scale of a stored decision; those of older versions have no boundary but 0."""
    return Platt(decision.get("boundary", 0.0), decision["temperature"])
