"""What is chosen on validation data alone: temperature and threshold of the scores, the level of the attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from lae_tf.errors import LAEError

ATTENTION_LEVELS = expit(np.linspace(-5.0, 5.0, 101))
LARGEST_FALSE_ALARM = 0.1  # share of the pixels of real images


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return T > 0 that minimises the cross-entropy of sigmoid(logits / T) (arXiv 1706.04599).

    Args:
        logits: (N,) float.
        labels: (N,) in {0, 1}.

    Returns:
        T in [0.05, 20]. Where validation is separated perfectly the best T would be 0; then it is 1.
    """
    if logits[labels == 1].min() > logits[labels == 0].max():
        return 1.0
    signed = np.where(labels == 1, logits, -logits)

    def cross_entropy(log_t: float) -> float:
        return float(np.mean(np.logaddexp(0.0, -signed / np.exp(log_t))))

    return float(np.exp(minimize_scalar(cross_entropy, bounds=np.log([0.05, 20.0]), method="bounded").x))


def decision_threshold(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Return the score from which an image is more likely fake than real, if both kinds are equally frequent.

    It is where a logistic regression of the label on the logit is 1/2, real and fake images having half of the weight
    each. The level of the highest balanced accuracy would depend on the few images next to it alone: from one half of
    a validation set to another it varies three times as much (docs/evidence.md).

    Args:
        logits: (N,) float64.
        labels: (N,) in {0, 1}, of both kinds.
        temperature: T of the score sigmoid(logit / T).

    Returns:
        A float32 number that parts the float32 scores as the regression parts the logits. Where logits separate the
        kinds it lies in the middle of the gap, and between their means where fakes do not have the higher ones.
    """
    boundary = _equal_odds(logits, labels)
    scores, threshold = (expit(np.float32(values / temperature)) for values in (logits, boundary))
    below = scores[logits < boundary]
    # Scores crowd below 1: of two that differ, the lower must not reach the threshold by rounding.
    return float(min(1.0, max(threshold, np.nextafter(below.max(), np.float32(np.inf))) if len(below) else threshold))


def _equal_odds(logits: np.ndarray, labels: np.ndarray) -> float:
    fakes, reals = logits[labels == 1], logits[labels == 0]
    if fakes.min() > reals.max():
        return float((fakes.min() + reals.max()) / 2)
    middle, spread = (fakes.mean() + reals.mean()) / 2, logits.std()
    if spread == 0:
        return float(middle)
    x = (logits - middle) / spread
    weights = np.where(labels == 1, 0.5 / len(fakes), 0.5 / len(reals))
    # As in Platt's scaling (1999) the targets are not quite 0 and 1, here alike for both kinds: slopes stay finite.
    shy = 1 / (min(len(fakes), len(reals)) + 2)
    targets = np.where(labels == 1, 1 - shy, shy)

    def cross_entropy(line: np.ndarray) -> tuple[float, np.ndarray]:
        z = line[0] * x + line[1]
        errors = weights * (expit(z) - targets)
        return float(weights @ (np.logaddexp(0.0, z) - targets * z)), np.array([errors @ x, errors.sum()])

    bounds = [(1e-2, None), (None, None)]
    slope, offset = minimize(cross_entropy, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12).x
    return float(middle - spread * offset / slope)


def threshold_at_fpr(scores: np.ndarray, labels: np.ndarray, rate: float) -> float:
    """Return the lowest threshold at which at most ``rate`` of the real images are called fake."""
    reals = np.sort(scores[labels == 0])[::-1]
    allowed = int(np.floor(rate * len(reals)))
    return float(np.nextafter(reals[min(allowed, len(reals) - 1)], reals.dtype.type(np.inf)))


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


def calibrate_model(model: Any, batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Calibrate a model on batches of the pipeline, store the result in it, and return it.

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
    decision = {**calibrate(np.concatenate(logits), np.concatenate(labels)), "attention_level": level.result()}
    model.calibration.temperature.assign(decision["temperature"])
    model.calibration.threshold.assign(decision["threshold"])
    model.attention_scale.level.assign(decision["attention_level"])
    return decision


def calibrate(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return temperature, threshold (of the score) and, for information, thresholds at fixed FPR.

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
    temperature = fit_temperature(logits, labels)
    # In float32, as the model computes them: a threshold between two scores has to exist there too.
    scores = expit((logits / temperature).astype(np.float32))
    return {
        "temperature": temperature,
        "threshold": decision_threshold(logits, labels, temperature),
        "rule": "equal odds of real and fake by logistic regression on validation",
        "threshold_at_1pct_fpr": threshold_at_fpr(scores, labels, 0.01),
        "threshold_at_5pct_fpr": threshold_at_fpr(scores, labels, 0.05),
        "validation_images": len(labels),
    }
