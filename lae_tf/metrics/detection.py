"""Detection metrics of one threshold and of all thresholds, with bootstrap intervals over groups.

A *statistic* here is a function ``statistic(frame, weights)`` of a per-image table and a weight matrix of
shape (draws, images); it returns one array of shape (draws,) per name. A bootstrap draw is then nothing but
a row of integer weights (how often an image's group was drawn), and a thousand draws are computed together
on scores that are sorted once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lae_tf.errors import LAEError

Array = NDArray[np.float64]
Statistic = Callable[[pd.DataFrame, Array], Mapping[Any, Array]]

DETECTION_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "auroc",
    "average_precision",
    "eer",
    "tpr_at_1pct_fpr",
    "tpr_at_5pct_fpr",
    "brier",
    "ece",
)

FEWEST_GROUPS = 10
"""With fewer groups a percentile bootstrap is far too narrow (ours): no interval is given then."""

CALIBRATION_BINS = 15
# Bounds the memory of a bootstrap: draws are computed in portions of this many weights (8 bytes each).
WEIGHTS_AT_ONCE = 1_000_000


class Interval(NamedTuple):
    """A value on the data as it is, and its bootstrap interval. NaN where undefined."""

    value: float
    low: float
    high: float


def too_few(groups: int) -> str:
    """Say why there is no interval; empty where there is one."""
    return "" if groups >= FEWEST_GROUPS else f"{groups} group{'s' * (groups != 1)}, too few for an interval"


def detection_metrics(labels: ArrayLike, scores: ArrayLike, threshold: float) -> dict[str, float]:
    """Scores a binary detector; class 1 is "fake", and an image is called fake where score >= threshold.

    Args:
        labels: (N,), 0 = real, 1 = fake.
        scores: (N,), P(fake) or any number that grows with it; infinities are allowed, NaN is not.
        threshold: of the decision, chosen elsewhere and never on these data.

    Returns:
        accuracy: share of right decisions, both classes pooled.
        balanced_accuracy: mean of sensitivity (share of fakes called fake) and specificity (share of reals
            called real), both given too.
        auroc: exact area under the ROC curve; a tie between a fake and a real counts one half.
        average_precision: step-wise sum over recall, as scikit-learn defines it.
        eer: equal error rate, where false positive rate = false negative rate. The ROC curve is read as
            straight lines between its corners (one per distinct score); no convex hull is taken.
        tpr_at_1pct_fpr, tpr_at_5pct_fpr: largest sensitivity of any threshold whose false positive rate
            is at most 1 % or 5 %. Not interpolated: below 100 (20) reals it means "without any false alarm".
        brier: mean squared error of the score as a probability.
        ece: expected calibration error over 15 bins of equal width on [0, 1].

        NaN marks what is undefined: everything for no images; what needs both classes when one is
        missing; brier and ece when a score lies outside [0, 1].

    Raises:
        LAEError: shapes differ, a label is not 0 or 1, a score or the threshold is NaN.
    """
    labels, scores = _checked(labels, scores, threshold)
    metrics = weighted_metrics(labels, scores, threshold, np.ones((1, len(labels))))
    return {name: float(values[0]) for name, values in metrics.items()}


def weighted_metrics(labels: Array, scores: Array, threshold: float, weights: Array) -> dict[str, Array]:
    """`detection_metrics` for many weightings of the same images at once.

    Args:
        labels: (N,) float64, 0 or 1.
        scores: (N,) float64, no NaN.
        threshold: of the decision.
        weights: (D, N) float64, zero or positive; an integer k means that the image is there k times.

    Returns:
        One (D,) array for each of `DETECTION_METRICS`.
    """
    fake, called_fake = labels == 1, scores >= threshold
    total = weights.sum(axis=1)
    fakes = weights @ labels
    reals = total - fakes
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity = (weights @ (fake & called_fake).astype(float)) / fakes
        specificity = (weights @ (~fake & ~called_fake).astype(float)) / reals
        metrics = {
            "accuracy": (weights @ (fake == called_fake).astype(float)) / total,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            **_ranking_metrics(labels, scores, weights),
            **_calibration_metrics(labels, scores, weights, total),
        }
    return metrics


def _ranking_metrics(labels: Array, scores: Array, weights: Array) -> dict[str, Array]:
    order = np.argsort(-scores, kind="stable")
    # A corner of the ROC curve lies after each run of equal scores; the first one is the origin.
    changes = np.append(scores[order][1:] != scores[order][:-1], True)[: len(order)]
    corners = np.flatnonzero(changes)
    fake_weights = weights[:, order]
    real_weights = fake_weights * (1 - labels[order])
    fake_weights *= labels[order]
    start = np.zeros((len(weights), 1))
    caught = np.hstack([start, fake_weights.cumsum(axis=1)[:, corners]])
    alarms = np.hstack([start, real_weights.cumsum(axis=1)[:, corners]])
    tpr, fpr = caught / caught[:, -1:], alarms / alarms[:, -1:]
    tpr_steps, fpr_steps = np.diff(tpr), np.diff(fpr)

    called = caught[:, 1:] + alarms[:, 1:]
    precision = np.divide(caught[:, 1:], called, out=np.zeros_like(called), where=called > 0)
    # False positive rate minus false negative rate grows from -1 to 1; EER is where it passes zero.
    excess = fpr + tpr - 1
    after = np.argmax(excess >= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(excess, at, axis=1)[:, 0] for at in (before, after))
    fpr_low, fpr_high = (np.take_along_axis(fpr, at, axis=1)[:, 0] for at in (before, after))
    metrics = {
        "auroc": np.sum(fpr_steps * (tpr[:, 1:] + tpr[:, :-1]), axis=1) / 2,
        "average_precision": np.sum(tpr_steps * precision, axis=1),
        "eer": fpr_low + (fpr_high - fpr_low) * (-low / (high - low)),
        "tpr_at_1pct_fpr": np.where(fpr <= 0.01, tpr, 0).max(axis=1),
        "tpr_at_5pct_fpr": np.where(fpr <= 0.05, tpr, 0).max(axis=1),
    }
    both_classes = (caught[:, -1] > 0) & (alarms[:, -1] > 0)
    return {name: np.where(both_classes, values, np.nan) for name, values in metrics.items()}


def _calibration_metrics(labels: Array, scores: Array, weights: Array, total: Array) -> dict[str, Array]:
    if len(scores) == 0 or np.any((scores < 0) | (scores > 1)):
        undefined = np.full(len(weights), np.nan)
        return {"brier": undefined, "ece": undefined}
    gap = scores - labels
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    by_bin = np.zeros((len(scores), CALIBRATION_BINS))
    by_bin[np.arange(len(scores)), bins] = gap
    return {"brier": weights @ gap**2 / total, "ece": np.abs(weights @ by_bin).sum(axis=1) / total}


def group_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Averages the images of a group: the frames of a video, the tiles of a photograph.

    Args:
        frame: one row per image with the columns group, label, method and score. Every other column of
            numbers (logit, iou, ...) is averaged too, missing values left out.

    Returns:
        One row per (group, label, method), with a column ``images`` that counts what was averaged. The real
        and the manipulated images of one group stay apart.
    """
    keys = ["group", "label", "method"]
    numbers = [name for name in frame.select_dtypes(["number", "bool"]).columns if name not in keys]
    grouped = frame.groupby(keys, sort=True, dropna=False)
    means = grouped[numbers].mean()
    means["images"] = grouped.size()
    return means.reset_index()


def bootstrap_intervals(
    frame: pd.DataFrame, statistic: Statistic, *, seed: int, draws: int = 1000, level: float = 0.95
) -> dict[Hashable, Interval]:
    """Percentile bootstrap over groups.

    Each draw takes as many groups as there are, with replacement, and a group comes with all its images:
    frames of one video are no independent evidence. A draw in which a value is undefined (one class
    missing) is left out of that value's interval.

    Args:
        frame: one row per image (or per group) with a column ``group`` and what the statistic reads.
        statistic: see the module's description.
        seed: the same seed and groups give the same draws, whatever the statistic is.
        draws: number of resamplings.
        level: share of the draws inside the interval, in (0, 1).

    Returns:
        For each name of the statistic the value on the frame itself and its interval.
    """
    drawn = _draw(frame, statistic, seed, draws)
    return _intervals(statistic(frame, np.ones((1, len(frame)))), drawn, level)


def paired_bootstrap(
    first: tuple[pd.DataFrame, Statistic],
    second: tuple[pd.DataFrame, Statistic],
    *,
    seed: int,
    draws: int = 1000,
    level: float = 0.95,
) -> dict[Hashable, Interval]:
    """Interval of the difference first - second of two models on the same images, both under the same draws.

    Args:
        first, second: of each model a per-image table with the columns path, label, group and what its statistic
            reads, in any order of rows; and that statistic, since each model has its own threshold.
        seed, draws, level: as in `bootstrap_intervals`.

    Returns:
        The difference and its interval, for each name that both statistics give.

    Raises:
        LAEError: the frames do not describe the same images.
    """
    (frame_a, statistic_a), (frame_b, statistic_b) = first, second
    a, b = (frame.sort_values("path", ignore_index=True) for frame in (frame_a, frame_b))
    for column in ("path", "label", "group"):
        if not np.array_equal(a[column].to_numpy(), b[column].to_numpy()):
            raise LAEError(
                f"a paired comparison needs the same images: the column '{column}' differs between the two "
                f"models ({len(a)} and {len(b)} rows); evaluate both on the same manifest"
            )
    if a["path"].duplicated().any():
        raise LAEError("a paired comparison needs every path once; evaluate each image once")
    points_a, points_b = (s(f, np.ones((1, len(f)))) for f, s in ((a, statistic_a), (b, statistic_b)))
    draws_a, draws_b = _draw(a, statistic_a, seed, draws), _draw(b, statistic_b, seed, draws)
    shared = [name for name in points_a if name in points_b]
    return _intervals(
        {name: points_a[name] - points_b[name] for name in shared},
        {name: draws_a[name] - draws_b[name] for name in shared},
        level,
    )


def _draw(frame: pd.DataFrame, statistic: Statistic, seed: int, draws: int) -> dict[Hashable, Array]:
    """Evaluates the statistic on each draw, in portions that keep the memory bounded."""
    groups, names = pd.factorize(frame["group"], sort=True)
    if (groups < 0).any():
        raise LAEError("the column 'group' is empty in some rows; a bootstrap over groups needs all of them")
    count = len(names)
    rng = np.random.default_rng(seed)
    portion = max(1, WEIGHTS_AT_ONCE // max(1, len(frame)))
    parts: list[Mapping[Any, Array]] = []
    for start in range(0, draws, portion):
        size = min(portion, draws - start)
        counts = rng.multinomial(count, np.full(max(1, count), 1 / max(1, count)), size=size).astype(float)
        parts.append(statistic(frame, counts[:, groups]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _intervals(points: Mapping[Any, Array], drawn: Mapping[Any, Array], level: float) -> dict[Hashable, Interval]:
    intervals: dict[Hashable, Interval] = {}
    for name, point in points.items():
        defined = drawn[name][~np.isnan(drawn[name])]
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if len(defined) else (np.nan,) * 2
        intervals[name] = Interval(float(point[0]), float(low), float(high))
    return intervals


def _checked(labels: ArrayLike, scores: ArrayLike, threshold: float) -> tuple[Array, Array]:
    checked_labels, checked_scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if checked_labels.ndim != 1 or checked_labels.shape != checked_scores.shape:
        raise LAEError(
            f"labels and scores must be two lists of equal length, found the shapes {checked_labels.shape} and "
            f"{checked_scores.shape}"
        )
    if not np.isin(checked_labels, (0, 1)).all():
        raise LAEError("labels must be 0 (real) or 1 (fake)")
    if missing := int(np.isnan(checked_scores).sum()):
        raise LAEError(
            f"{missing} of {len(checked_scores)} scores are NaN (the first is number "
            f"{int(np.argmax(np.isnan(checked_scores)))}); the model has diverged or an image was not scored"
        )
    if np.isnan(threshold):
        raise LAEError("the threshold is NaN; choose it on validation images of both classes")
    return checked_labels, checked_scores
