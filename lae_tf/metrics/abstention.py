"""How often verdicts are unsure, and how right the others are: a detector that may abstain."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lae_tf.errors import LAEError
from lae_tf.metrics.detection import Array
from lae_tf.metrics.verdict import UNSURE

ABSTENTION_METRICS = ("unsure", "unsure_reals", "unsure_fakes", "accuracy_sure")


def abstention_statistic(frame: pd.DataFrame, weights: Array) -> dict[str, Array]:
    """A statistic (see :mod:`lae_tf.metrics.detection`) of verdicts, for any part of a table of images.

    Args:
        frame: one row per image with ``label`` (0 = real, 1 = fake) and ``verdict`` (real, fake or unsure).
        weights: (D, N) float64, zero or positive.

    Returns:
        unsure: share of the images whose verdict is unsure; ``unsure_reals`` and ``unsure_fakes``: of the real images
            and of the fakes among them.
        accuracy_sure: share of right verdicts among the others.

        (D,) each; NaN where there is nothing to take a share of.

    Raises:
        LAEError: a verdict is of another kind.
    """
    verdicts, is_fake = frame["verdict"], (frame["label"] == 1).to_numpy()
    if strange := sorted(set(verdicts) - {"real", "fake", UNSURE}, key=str):
        raise LAEError(f"the column 'verdict' must hold real, fake or unsure; found {strange[0]!r}")
    is_unsure = (verdicts == UNSURE).to_numpy()
    is_right = np.where(is_fake, verdicts == "fake", verdicts == "real")
    everything = np.ones(len(frame), bool)
    return {
        "unsure": _share(is_unsure, everything, weights),
        "unsure_reals": _share(is_unsure, ~is_fake, weights),
        "unsure_fakes": _share(is_unsure, is_fake, weights),
        "accuracy_sure": _share(is_right, ~is_unsure, weights),
    }


def _share(of: np.ndarray, among: np.ndarray, weights: Array) -> Array:
    total = weights @ among.astype(float)
    return np.divide(weights @ (of & among).astype(float), total, out=np.full(len(weights), np.nan), where=total > 0)
