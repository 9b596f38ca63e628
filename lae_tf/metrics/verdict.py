"""Verdicts: real, fake, or unsure where validation says that the model cannot tell (docs/method.md)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lae_tf.metrics.decision import label_of

UNSURE = "unsure"


class ConformalBounds(NamedTuple):
    """What scores validation's images of each kind have, but for a share of them; :func:`conformal_bounds` finds it.

    A score below ``lowest_fake`` rules "fake" out, one above ``highest_real`` rules "real" out. The defaults lie
    outside of [0, 1] and rule both out everywhere, so that the verdict is the label: models of before this have them.

    Attributes:
        lowest_fake, highest_real: float32 numbers.
        error_rate: the share, alpha.
    """

    lowest_fake: float = 2.0
    highest_real: float = -1.0
    error_rate: float = 1.0


NO_BOUNDS = ConformalBounds()


def verdict_of(score: float, threshold: float, bounds: ConformalBounds) -> str:
    """Return the label where the other label is ruled out, else ``unsure``.

    As a score rises the verdict goes from ``real`` over ``unsure`` to ``fake``; at no threshold does it contradict the
    label.
    """
    label = label_of(score, threshold)
    is_sure = score > bounds.highest_real if label == "fake" else score < bounds.lowest_fake
    return label if is_sure else UNSURE


def verdicts_of(scores: ArrayLike, threshold: float, bounds: ConformalBounds) -> NDArray[np.str_]:
    """Return :func:`verdict_of` of scores (N,)."""
    scores = np.asarray(scores)
    is_fake = scores >= threshold
    is_sure = np.where(is_fake, scores > bounds.highest_real, scores < bounds.lowest_fake)
    return np.where(is_sure, np.where(is_fake, "fake", "real"), UNSURE)


def conformal_bounds(scores: ArrayLike, labels: ArrayLike, error_rate: float) -> ConformalBounds:
    """Return the bounds of split conformal prediction within each class (Vovk 2012; Sadinle, Lei and Wasserman 2019).

    With k = floor((n + 1) alpha), n the images of a kind, ``highest_real`` is the k-th highest score of a real image
    and ``lowest_fake`` the k-th lowest of a fake. If a new image is exchangeable with these of its kind, its own kind
    is ruled out with a probability of at most alpha. Where k is 0, since there are less than 1 / alpha - 1 images, no
    score rules the kind out: the bound is 1 or 0.

    Args:
        scores: (N,) float32 in [0, 1], of images that the model was not trained on.
        labels: (N,), 1 = fake, 0 = real.
        error_rate: alpha, in (0, 1).
    """
    scores, labels = np.asarray(scores, np.float32), np.asarray(labels)
    # Equal to the ceil((n + 1)(1 - alpha))-th lowest of n; 10 * 0.1 and its like must not lose a rank by rounding.
    fakes, reals = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])[::-1]
    fake_rank, real_rank = (min(len(kind), int((len(kind) + 1) * error_rate + 1e-9)) for kind in (fakes, reals))
    return ConformalBounds(
        lowest_fake=float(fakes[fake_rank - 1]) if fake_rank else 0.0,
        highest_real=float(reals[real_rank - 1]) if real_rank else 1.0,
        error_rate=error_rate,
    )
