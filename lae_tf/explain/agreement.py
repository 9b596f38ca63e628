"""Does an explanation point at the forged region? Only images with a known, non-empty mask can tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lae_tf.evaluation.localisation import LocalisationMeter

AGREEMENT = ("pixel_auroc", "best_iou", "pointing", "energy_inside")


def agreement(importance: NDArray[np.float32], mask: NDArray[np.uint8]) -> dict[str, float]:
    """Compare a map with the mask of a fake.

    Args:
        importance: (H, W) in [0, 1].
        mask: (H, W) in {0, 1}, 1 where forged, with at least one forged pixel.

    Returns:
        ``pixel_auroc``, ``pointing`` and ``energy_inside`` as ``LocalisationMeter`` defines them, and ``best_iou``,
        see :func:`best_iou`. All are high where the map agrees.
    """
    found = LocalisationMeter().update(importance[None], mask[None], [1])
    measured = {name: float(column[0]) for name, column in found.items() if name in AGREEMENT}
    return {**measured, "best_iou": best_iou(importance, mask)}


def best_iou(importance: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Return the highest IoU of {importance >= t} with the mask over all thresholds t.

    The threshold is chosen in hindsight for each map, so that methods without a scale of their own can be compared;
    it says what a map could give, not what it gives at a fixed threshold.
    """
    order = np.argsort(-importance.ravel(), kind="stable")
    values, forged = importance.ravel()[order], mask.ravel()[order].astype(np.int64)
    hits = forged.cumsum()
    sizes = np.arange(1, values.size + 1)
    # Pixels of one value come in together: a threshold lies where the value changes.
    ends = np.append(values[1:] != values[:-1], True)
    return float((hits / (sizes + forged.sum() - hits))[ends].max())
