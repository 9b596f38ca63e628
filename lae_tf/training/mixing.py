"""How the experts of a model share an image: chosen on validation, where nothing is trained any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import expit

from lae_tf.model.experts import ask_apart
from lae_tf.training.calibrate import are_stored, fit_platt

LARGEST_SHARES = np.linspace(0.3, 1.0, 8)
READINESS = np.linspace(0.0, 8.0, 9)
DEGRADED_FALSE_ALARMS = 0.05
_FEWEST_REALS = 20  # below which the rate is not known
_SURELY = 0.5  # degraded, of the two that the gate tells apart


def fit_mixture(model: Any, batches: Iterable[dict[str, Any]], copies: bool = False) -> dict[str, float]:
    """Choose how the experts share an image, and what is withheld from degraded ones, and store it in the model (ours).

    Of ``LARGEST_SHARES`` and ``READINESS`` those are taken with which the logits, calibrated on the same images, have
    the lowest cross-entropy, both labels having half of the weight each. Where the fine expert tells more of stored
    images it gets them nearly alone, elsewhere both tell; degraded copies in validation keep it from those.

    Degraded real images have higher logits than stored ones. So much is withheld from images that look degraded that
    of validation's real ones among these ``DEGRADED_FALSE_ALARMS`` stay at or above the boundary of stored images.

    Args:
        model: LAE, or another one; those without two experts, or with a head that is not linear, stay as they are.
        batches: of validation.
        copies: whether their second half are degraded copies of the first.

    Returns:
        ``largest_share``, ``readiness`` and ``withheld``; nothing where nothing was chosen.
    """
    mixture = getattr(model, "mixture", None)
    if mixture is None or model.hyperparameters.head == "split":
        return {}
    parts: list[tuple[np.ndarray, ...]] = []
    for batch in batches:
        fine, robust, gate = ask_apart(model.encoder, batch["image"])
        evidence = (np.asarray(model.head.evidence(features)) for features in (fine, robust))
        parts.append((*evidence, np.asarray(gate), np.asarray(batch["label"])[:, 0]))
    fine, robust, gate, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(np.unique(labels)) < 2:
        return {}  # the calibration says so

    def logits_of(largest_share: float, readiness: float) -> np.ndarray:
        share = np.float32(largest_share * expit(gate + readiness))[:, :, None]
        return np.asarray(model.head.pool(share * fine + (1 - share) * robust))[:, 0].astype(np.float64)

    def loss(largest_share: float, readiness: float) -> float:
        logits = logits_of(largest_share, readiness)
        if not np.isfinite(logits).all():
            return np.inf
        scale = fit_platt(logits, labels)
        against = np.where(labels == 1, -1, 1) * (logits - scale.boundary) / scale.temperature
        losses = np.logaddexp(0.0, against)
        return float(np.mean([losses[labels == label].mean() for label in (0, 1)]))

    best, share, ready = min((loss(share, ready), share, ready) for share in LARGEST_SHARES for ready in READINESS)
    withheld = 0.0
    if copies and np.isfinite(best):
        logits, stored = logits_of(share, ready), are_stored(len(labels))
        excess = logits - fit_platt(logits[stored], labels[stored]).boundary
        reals = ~stored & (labels == 0)
        withheld = _withheld(excess[reals], expit(-(gate[reals, 0] + ready)))
    chosen = {"largest_share": round(float(share), 6), "readiness": float(ready), "withheld": withheld}
    mixture.assign(**chosen)
    return chosen


def _withheld(excess: np.ndarray, degraded: np.ndarray) -> float:
    """Return what times ``degraded`` brings all but a few of the excesses over the boundary to below 0, >= 0."""
    needed = np.sort((excess / degraded)[degraded > _SURELY])[::-1]
    if len(needed) < _FEWEST_REALS:
        return 0.0
    allowed = int(DEGRADED_FALSE_ALARMS * len(needed))
    return max(0.0, float(needed[allowed - 1] + needed[allowed]) / 2)
