"""The decision, chosen on validation data alone: a temperature for the scores and a threshold on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from lae_tf.errors import LAEError


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


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the threshold with the highest balanced accuracy of "score >= threshold is fake".

    Candidates lie midway between neighbouring scores; of equally good ones the middle one is taken.
    """
    values = np.unique(scores)
    above = np.nextafter(values, values.dtype.type(np.inf))
    midway = np.maximum((values[:-1] + values[1:]) / 2, above[:-1])
    candidates = np.concatenate([values[:1], midway, above[-1:]])
    fakes, reals = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    hits = 1.0 - np.searchsorted(fakes, candidates, side="left") / len(fakes)
    rejections = np.searchsorted(reals, candidates, side="left") / len(reals)
    balanced = (hits + rejections) / 2
    best = np.flatnonzero(balanced >= np.max(balanced) - 1e-12)
    return float(candidates[best[len(best) // 2]])


def threshold_at_fpr(scores: np.ndarray, labels: np.ndarray, rate: float) -> float:
    """Return the lowest threshold at which at most ``rate`` of the real images are called fake."""
    reals = np.sort(scores[labels == 0])[::-1]
    allowed = int(np.floor(rate * len(reals)))
    return float(np.nextafter(reals[min(allowed, len(reals) - 1)], reals.dtype.type(np.inf)))


def calibrate_on(model: Any, batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return :func:`calibrate` of a model's logits on batches of the pipeline (``image`` and ``label``)."""
    logits, labels = [], []
    for batch in batches:
        logits.append(np.asarray(model.predict_on_batch(batch["image"])["logit"])[:, 0])
        labels.append(np.asarray(batch["label"])[:, 0].astype(int))
    return calibrate(np.concatenate(logits), np.concatenate(labels))


def calibrate(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return temperature, threshold (best balanced accuracy) and, for information, thresholds at fixed FPR.

    Raises:
        LAEError: validation has only one class.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if len(np.unique(labels)) < 2:
        raise LAEError("validation needs real and fake images to choose a threshold; found only one kind.")
    temperature = fit_temperature(logits, labels)
    # In float32, as the model computes them: a threshold between two scores has to exist there too.
    scores = expit((logits / temperature).astype(np.float32))
    return {
        "temperature": temperature,
        "threshold": best_threshold(scores, labels),
        "rule": "highest balanced accuracy on validation",
        "threshold_at_1pct_fpr": threshold_at_fpr(scores, labels, 0.01),
        "threshold_at_5pct_fpr": threshold_at_fpr(scores, labels, 0.05),
        "validation_images": len(labels),
    }
