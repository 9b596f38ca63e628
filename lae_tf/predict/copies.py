"""Mildly degraded copies of an image: a verdict that does not outlast them is unsure (our definition)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lae_tf.metrics.decision import label_of
from lae_tf.metrics.verdict import UNSURE

COPIES = ("jpeg-90", "scale-3/4")
"""Names of what is done to the copies, from ``DEGRADATIONS``."""


def degraded_copies(image: np.ndarray) -> list[np.ndarray]:
    """Return an image as JPEG 90 and scaled to 3/4 and back, in the order of ``COPIES``.

    Args:
        image: uint8 (H, W, 3), RGB, in its own size: before it is resized for a model.
    """
    from lae_tf.forge.degradations import DEGRADATIONS  # with all of forging, which a plain score does not wait for

    rng = np.random.default_rng(0)  # nothing is drawn from it: neither copy is random
    return [DEGRADATIONS[name](image, rng) for name in COPIES]


def verdict_among_copies(verdict: str, score: float, copies: Iterable[float], threshold: float) -> str:
    """Return the verdict of an image, or ``unsure`` where the label of a copy is another.

    Args:
        verdict, score: of the image.
        copies: scores of its copies.
        threshold: of the labels.
    """
    label = label_of(score, threshold)
    return verdict if all(label_of(copy, threshold) == label for copy in copies) else UNSURE
