"""How the experts of a model share an image: chosen on validation, where nothing is trained any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from lae_tf.model.experts import ask_apart
from lae_tf.model.head import EvidenceHead
from lae_tf.training.calibrate import Platt, are_stored, fit_platt

LARGEST_SHARES = np.linspace(0.3, 1.0, 8)
READINESS = np.linspace(0.0, 8.0, 9)
DEGRADED_FALSE_ALARMS = 0.05
_FEWEST_REALS = 20  # below which the rate is not known
_SURELY = 0.5  # degraded, of the two that the gate tells apart


class Fitted(NamedTuple):
    """What was chosen, by name, and the scale of the scores that goes with it."""

    numbers: dict[str, float]
    scale: Platt | None = None


def fit_mixture(model: Any, batches: Iterable[dict[str, Any]], copies: bool = False) -> Fitted:
    """Choose how the experts share an image, and what is withheld from degraded ones, and store it in the model (ours).

    Of ``LARGEST_SHARES`` and ``READINESS`` those are taken with which the logits, calibrated on the same images, have
    the lowest cross-entropy, both labels having half of the weight each. Where the fine expert tells more of stored
    images it gets them nearly alone, elsewhere both tell; degraded copies in validation keep it from those.

    Images that look degraded get a boundary of their own, which ``DEGRADED_FALSE_ALARMS`` of validation's real ones
    among them exceed, and the slope that is best with it. At equal odds many more would be called fake, since the
    kinds overlap far more than those of stored images.

    Args:
        model: LAE, or another one; those without two experts, or with a head that is not linear, stay as they are.
        batches: of validation.
        copies: whether their second half are degraded copies of the first.

    Returns:
        ``largest_share``, ``readiness``, ``flattened`` and ``withheld``, none where nothing was chosen; and the scale
        of the images as they were stored, None where they are not told from their copies.
    """
    mixture = getattr(model, "mixture", None)
    if mixture is None or not isinstance(model.head, EvidenceHead):
        return Fitted({})
    parts: list[tuple[np.ndarray, ...]] = []
    for batch in batches:
        fine, robust, gate = ask_apart(model.encoder, batch["image"])
        evidence = (np.asarray(model.head.evidence(features)) for features in (fine, robust))
        parts.append((*evidence, np.asarray(gate), np.asarray(batch["label"])[:, 0]))
    fine, robust, gate, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(np.unique(labels)) < 2:
        return Fitted({})  # the calibration says so

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
    chosen, scale = {"largest_share": round(float(share), 6), "readiness": float(ready)}, None
    tempered = {"flattened": 0.0, "withheld": 0.0}
    if copies and np.isfinite(best):  # else the calibration says that training has diverged
        logits, stored = logits_of(share, ready), are_stored(len(labels))
        scale = fit_platt(logits[stored], labels[stored])
        degraded = expit(-(gate[:, 0] + ready))
        copied = ~stored & (degraded > _SURELY)
        tempered.update(_tempered(logits[copied], labels[copied], degraded[copied], scale))
    mixture.assign(**chosen, **tempered)
    return Fitted({**chosen, **tempered}, scale)


def _tempered(logits: np.ndarray, labels: np.ndarray, degraded: np.ndarray, scale: Platt) -> dict[str, float]:
    """Return what brings the logits (N,) of images that look degraded to the scale of stored ones."""
    reals = labels == 0
    if reals.sum() < _FEWEST_REALS or reals.all():
        return {}
    level = _level(logits[reals])
    flattened = max(0.0, 1 - scale.temperature / fit_platt(logits, labels, level).temperature)
    excess = (logits - degraded * flattened * logits - scale.boundary) / degraded
    return {"flattened": flattened, "withheld": max(0.0, _level(excess[reals]))}


def _level(values: np.ndarray) -> float:
    """Return what ``DEGRADED_FALSE_ALARMS`` of the values exceed."""
    highest = np.sort(values)[::-1]
    allowed = int(DEGRADED_FALSE_ALARMS * len(highest))
    return float(highest[allowed - 1] + highest[allowed]) / 2
