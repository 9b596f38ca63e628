"""How the experts of a model share an image: chosen on validation, where nothing is trained any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import expit

from lae_tf.model.experts import ask_apart
from lae_tf.training.calibrate import fit_platt

LARGEST_SHARES = np.linspace(0.3, 1.0, 8)
READINESS = np.linspace(0.0, 8.0, 9)


def fit_mixture(model: Any, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Choose how much the fine expert tells of an image, and how readily, and store it in the model (ours).

    Of ``LARGEST_SHARES`` and ``READINESS`` those are taken with which the logits, calibrated on the same images, have
    the lowest cross-entropy, both labels having half of the weight each. Where the fine expert tells more of stored
    images it gets them nearly alone, elsewhere both tell; degraded copies in validation keep it from those.

    Args:
        model: LAE, or another one; those without two experts, or with a head that is not linear, stay as they are.
        batches: of validation.

    Returns:
        ``largest_share`` and ``readiness``; nothing where nothing was chosen.
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

    def loss(largest_share: float, readiness: float) -> float:
        share = np.float32(largest_share * expit(gate + readiness))[:, :, None]
        logits = np.asarray(model.head.pool(share * fine + (1 - share) * robust))[:, 0].astype(np.float64)
        if not np.isfinite(logits).all():
            return np.inf
        scale = fit_platt(logits, labels)
        against = np.where(labels == 1, -1, 1) * (logits - scale.boundary) / scale.temperature
        losses = np.logaddexp(0.0, against)
        return float(np.mean([losses[labels == label].mean() for label in (0, 1)]))

    found = min((loss(share, ready), share, ready) for share in LARGEST_SHARES for ready in READINESS)
    chosen = {"largest_share": round(float(found[1]), 6), "readiness": float(found[2])}
    mixture.assign(**chosen)
    return chosen
