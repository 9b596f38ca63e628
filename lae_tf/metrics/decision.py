"""From a score to a label: the threshold, where it came from, and how a score is written beside its label."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lae_tf.errors import UsageError

MODELS_OWN = "model"


@dataclass(frozen=True)
class Threshold:
    """The score from which an image is called fake.

    Attributes:
        value: in [0, 1], or just above 1, which no score reaches.
        source: where it came from, in words: ``model``, or what was asked for.
    """

    value: float
    source: str


def given_threshold(value: float) -> Threshold:
    """Return a threshold that a person chose, rounded as scores are.

    Raises:
        UsageError: it is not in [0, 1].
    """
    if not 0 <= value <= 1:
        raise UsageError(f"the threshold is {value:g}; expected a score, from 0 to 1.")
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return Threshold(rounded, "--threshold")


def label_of(score: float, threshold: float) -> str:
    """Return ``fake`` where the score reaches the threshold, else ``real``."""
    return "fake" if score >= threshold else "real"


def score_text(score: float, threshold: float, digits: int = 4) -> str:
    """Write a score with so many digits that rounding does not take it to the other side of the threshold.

    Args:
        score: to write.
        threshold: of the decision.
        digits: after the point, at least.
    """
    text = f"{score:.{digits}f}"
    while label_of(float(text), threshold) != label_of(score, threshold):
        digits += 1
        text = f"{score:.{digits}f}"
    return text
