"""How the experts of a model share an image: chosen on validation, where nothing is trained any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from lae_tf.model.experts import ask_apart
from lae_tf.model.head import EvidenceHead
from lae_tf.training.calibrate import DEGRADED_FALSE_ALARMS, Platt, are_stored, fit_platt, threshold_at_fpr

LARGEST_SHARES = np.linspace(0.3, 1.0, 8)
READINESS = np.linspace(0.0, 8.0, 9)
_FEWEST = 20  # degraded images of a kind, below which the rate is not known
_LOOKS_DEGRADED = 0.5


class FittedMixture(NamedTuple):
    """What was chosen, by name, and the scale of the scores that goes with it."""

    numbers: dict[str, float]
    scale: Platt | None = None


def fit_mixture(model: Any, batches: Iterable[dict[str, Any]], copies: bool = False) -> FittedMixture:
    """Choose how the experts share an image, and what is withheld from degraded ones, and store it in the model (ours).

    Of ``LARGEST_SHARES`` and ``READINESS`` those are taken with which the logits, calibrated on the same images, have
    the lowest cross-entropy, both labels having half of the weight each. Where the fine expert tells more of stored
    images it gets them nearly alone, elsewhere both tell; degraded copies in validation keep it from those.

    Images that look degraded get a boundary of their own, which ``DEGRADED_FALSE_ALARMS`` of validation's real ones
    among them exceed, but none below that of stored images, and the slope that is best with it. At equal odds many
    more would be called fake, since the kinds overlap far more than those of stored images. Fewer than 20 of a kind
    show no rate.

    Args:
        model: LAE, or another one; those without two experts, or with a head that is not linear, stay as they are.
        batches: of validation.
        copies: whether their second half are degraded copies of the first.

    Returns:
        ``largest_share``, ``readiness``, ``flattened`` and ``withheld``, none where nothing was chosen; and the scale
        of the images as they were stored, None where degraded ones have no scale of their own.
    """
    mixture = getattr(model, "mixture", None)
    if mixture is None or not isinstance(model.head, EvidenceHead):
        return FittedMixture({})
    parts: list[tuple[np.ndarray, ...]] = []
    for batch in batches:
        fine, robust, gate = ask_apart(model.encoder, batch["image"])
        evidence = (np.asarray(model.head.evidence(features)) for features in (fine, robust))
        parts.append((*evidence, np.asarray(gate), np.asarray(batch["label"])[:, 0]))
    fine, robust, gate, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(np.unique(labels)) < 2:
        return FittedMixture({})  # the calibration says so

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
    chosen = {"largest_share": round(float(share), 6), "readiness": float(ready), "flattened": 0.0, "withheld": 0.0}
    scale = None
    if copies and np.isfinite(best):  # else the calibration says that training has diverged
        logits, stored, degraded = logits_of(share, ready), are_stored(len(labels)), expit(-(gate[:, 0] + ready))
        part = ~stored & (degraded > _LOOKS_DEGRADED)
        if min(np.count_nonzero(labels[part] == kind) for kind in (0, 1)) >= _FEWEST:
            scale = fit_platt(logits[stored], labels[stored])
            chosen.update(_scale_of_degraded(logits[part], labels[part], degraded[part], scale))
    mixture.assign(**chosen)
    return FittedMixture(chosen, scale)


def _scale_of_degraded(logits: np.ndarray, labels: np.ndarray, degraded: np.ndarray, stored: Platt) -> dict[str, float]:
    """Return what brings the logits (N,) of images that look degraded to the scale of stored ones."""
    level = threshold_at_fpr(logits, labels, DEGRADED_FALSE_ALARMS)
    own = fit_platt(logits, labels, max(level, stored.boundary))
    # Rounded, so that weights are the same on machines whose kernels are not.
    flattened = round(max(0.0, 1 - stored.temperature / own.temperature), 4)
    excess = (logits - degraded * flattened * logits - stored.boundary) / degraded
    withheld = max(threshold_at_fpr(excess, labels, DEGRADED_FALSE_ALARMS), -flattened * stored.boundary)
    return {"flattened": flattened, "withheld": round(withheld, 4)}
