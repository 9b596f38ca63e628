"""The table of an evaluation: one row per manipulation, seen and unseen ones side by side, with intervals."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from lae_tf.errors import LAEError
from lae_tf.evaluation.localisation import LOCALISATION_METRICS
from lae_tf.metrics.abstention import ABSTENTION_METRICS, abstention_statistic
from lae_tf.metrics.detection import (
    DETECTION_METRICS,
    FEWEST_GROUPS,
    Array,
    Interval,
    Statistic,
    bootstrap_intervals,
    group_means,
    too_few,
    weighted_metrics,
)
from lae_tf.metrics.names import DROP, SEEN_MEAN, SUMMARIES, UNSEEN_MEAN

# Rows for fakes whose manipulation has no name, and for a split that has no fakes at all.
UNNAMED, REAL_ONLY = "(unnamed)", "(real only)"
LEVELS = ("image", "group")

# Of real images under a degradation, see ``lae_tf.evaluation.degraded``.
DEGRADATION_METRICS = ("false_alarms", "logit_shift")
# Columns of a frame whose mean over images a row shows, where it has them.
_AVERAGED = (*LOCALISATION_METRICS, *DEGRADATION_METRICS)

_REQUIRED = ("path", "label", "group", "method", "split", "score")


def evaluation_table(
    frame: pd.DataFrame,
    threshold: float,
    seen: Collection[str],
    *,
    seed: int,
    draws: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Tabulates one model on the images of one or more splits.

    A method's row takes that method's fakes together with all real images of the same split, pooled: its
    accuracy is the share of right decisions among them and so depends on how many there are of each
    (balanced_accuracy does not). The reals are the same in every row of a split, so rows are not independent;
    the summaries' intervals respect this, because all rows of a split share the bootstrap draws. Every draw is
    weighed to the row's own ratio of fakes to reals, which is the choice of whoever made the data and no matter of
    chance (ours). A draw without a method's fakes says nothing of it, nor of a mean that it belongs to.

    Args:
        frame: one row per image with path, label (0/1), group, method ("" for reals), split, score and any of
            `LOCALISATION_METRICS` as columns, NaN where one does not apply. An empty group means that the
            image stands alone. With a column ``verdict`` (real, fake or unsure) come `ABSTENTION_METRICS`, at the
            level of images alone, for which verdicts are made.
        threshold: of the decision, score >= threshold means fake. It serves both levels.
        seen: methods that training used.
        seed, draws, level: of the bootstrap over groups, see `bootstrap_intervals`.

    Returns:
        Columns ``split``, ``level`` ("image", or "group" after `group_means`), ``method``, ``seen`` ("seen",
        "unseen" or ""), the counts ``reals``, ``fakes``, ``groups``, the reason ``no_interval`` ("" where there
        are intervals), then for each metric its value and ``<metric>_low`` and ``<metric>_high``, both NaN where
        the value rests on fewer than ten groups, see `without_weak_intervals`.

        After a level's methods come "seen mean" and "unseen mean"
        (unweighted over methods, those left out where the metric is undefined) and "drop" (seen mean - unseen
        mean); each only if there is something to average.

    Raises:
        LAEError: a column is missing, or a score is NaN.
    """
    frame = checked_scores(frame)
    metrics = [*DETECTION_METRICS, *(name for name in LOCALISATION_METRICS if name in frame)]
    metrics += ABSTENTION_METRICS if "verdict" in frame else ()
    undefined = Interval(np.nan, np.nan, np.nan)
    rows: list[dict[str, Any]] = []
    for split, part in frame.groupby("split", sort=False):
        for name in LEVELS:
            units = part if name == "image" else group_means(part)
            intervals = bootstrap_intervals(
                units, method_statistic(threshold, seen), seed=seed, draws=draws, level=level
            )
            intervals = without_weak_intervals(intervals, units, seen)
            for method in dict.fromkeys(key[0] for key in intervals):  # type: ignore[index]
                row = {"split": split, "level": name, "method": method, **_counts(units, method, seen)}
                row["no_interval"] = too_few(fewest_groups(units, method, seen))
                for metric in metrics:
                    value = intervals.get((method, metric), undefined)
                    row |= {metric: value.value, f"{metric}_low": value.low, f"{metric}_high": value.high}
                rows.append(row)
    return pd.DataFrame(rows)


def checked_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of images with no name missing.

    Args:
        frame: as `evaluation_table` takes it.

    Returns:
        The same rows, numbered from 0: a fake without a method is ``UNNAMED``, a real image has none, and an image
        without a group is one by itself.

    Raises:
        LAEError: a column is missing, there is no row, a score is NaN, or a method has the name of a summary.
    """
    if missing := [name for name in _REQUIRED if name not in frame]:
        raise LAEError(
            f"the table of scores lacks {', '.join(missing)}; it needs {', '.join(_REQUIRED)}, one row per image"
        )
    if frame.empty:
        raise LAEError("the table of scores is empty; evaluate at least one image")
    frame = frame.reset_index(drop=True)
    if not frame["label"].isin([0, 1]).all():
        raise LAEError("the column 'label' must hold 0 (real) or 1 (fake)")
    if (bad := frame["score"].isna()).any():
        first = frame.loc[bad, "path"].iloc[0]
        raise LAEError(f"{bad.sum()} of {len(frame)} scores are NaN, the first for {first}")
    method = frame["method"].fillna("").astype(str)
    method = method.mask(method == "", UNNAMED).where(frame["label"] == 1, "")
    if taken := sorted(set(method) & {*SUMMARIES, REAL_ONLY}):
        raise LAEError(f"a manipulation cannot be named '{taken[0]}': the table uses that name for a summary")
    group = frame["group"].fillna("").astype(str)
    return frame.assign(method=method, group=group.mask(group == "", frame["path"].astype(str)))


def fewest_groups(frame: pd.DataFrame, row: str, seen: Collection[str], metric: str = "") -> int:
    """Count the groups that a row's intervals rest on.

    Args:
        frame: one row per image (or per group) with label, method and group.
        row: a method, or one of ``SUMMARIES``.
        seen: methods that training used.
        metric: counts the images where it is defined, if it is one of `LOCALISATION_METRICS` or `DEGRADATION_METRICS`.

    Returns:
        Of the real images or of the fakes, whichever come from fewer groups; for a summary, that of its methods
        with the fewest.
    """
    if row in SUMMARIES:
        sides = {SEEN_MEAN: (True,), UNSEEN_MEAN: (False,), DROP: (True, False)}[row]
        methods = [method for method in _methods(frame, seen) if (method in seen) in sides]
        counts = [fewest_groups(frame, method, seen, metric) for method in methods]
        return min(filter(None, counts), default=0)  # a method where a metric is defined nowhere is not in its mean
    images = frame[_members(frame, row)]
    if metric in _AVERAGED:
        images = images[images[metric].notna()]
    return int(images.groupby("label")["group"].nunique().min()) if len(images) else 0


def without_weak_intervals(
    intervals: Mapping[Hashable, Interval], frame: pd.DataFrame, seen: Collection[str]
) -> dict[Hashable, Interval]:
    """Take the bounds away that rest on fewer than ``FEWEST_GROUPS`` groups.

    Args:
        intervals: by pairs (method or summary, metric), as a bootstrap of `method_statistic` gives them.
        frame: that they were drawn from.
        seen: methods that training used.
    """
    kept: dict[Hashable, Interval] = {}
    for name, interval in intervals.items():
        row, metric = cast("tuple[str, str]", name)
        is_weak = fewest_groups(frame, row, seen, metric) < FEWEST_GROUPS
        kept[name] = Interval(interval.value, np.nan, np.nan) if is_weak else interval
    return kept


def method_statistic(threshold: float, seen: Collection[str]) -> Statistic:
    """The rows of `evaluation_table` as a statistic: names are pairs (method or summary, metric).

    It serves `paired_bootstrap` too: two models' difference in ("unseen mean", "accuracy") and its interval.
    """

    def statistic(frame: pd.DataFrame, weights: Array) -> dict[tuple[str, str], Array]:
        labels = frame["label"].to_numpy(dtype=float)
        scores = frame["score"].to_numpy(dtype=float)
        methods = _methods(frame, seen)
        # The frame as it is comes first: it tells what is undefined in every draw.
        weights = np.vstack([np.ones(len(frame)), weights])
        rows: dict[str, dict[str, Array]] = {}
        for method in methods:
            chosen = np.flatnonzero(_members(frame, method))
            among = _at_own_ratio(labels[chosen], weights[:, chosen])
            rows[method] = weighted_metrics(labels[chosen], scores[chosen], threshold, among)
            if "verdict" in frame:
                rows[method] |= abstention_statistic(frame.iloc[chosen], among)
            for name in _AVERAGED:
                if name in frame:
                    rows[method][name] = _weighted_mean(frame[name].to_numpy(dtype=float)[chosen], among)
        known, unknown = ([row for m, row in rows.items() if (m in seen) is side] for side in (True, False))
        if methods != [REAL_ONLY]:
            if known:
                rows[SEEN_MEAN] = _mean_row(known)
            if unknown:
                rows[UNSEEN_MEAN] = _mean_row(unknown)
            if known and unknown:
                rows[DROP] = {m: v - rows[UNSEEN_MEAN][m] for m, v in rows[SEEN_MEAN].items()}
        return {(method, name): values[1:] for method, row in rows.items() for name, values in row.items()}

    return statistic


def _methods(frame: pd.DataFrame, seen: Collection[str]) -> list[str]:
    """The manipulations of a split, seen ones first."""
    names = frame.loc[frame["label"] == 1, "method"].unique()
    return sorted(names, key=lambda name: (name not in seen, name)) or [REAL_ONLY]


def _members(frame: pd.DataFrame, method: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return ((frame["label"] == 0) | (frame["method"] == method)).to_numpy()


def state_of(method: str, seen: Collection[str]) -> str:
    """Return "seen", "unseen" or "" for the row of a method or summary."""
    if method in SUMMARIES:
        return {SEEN_MEAN: "seen", UNSEEN_MEAN: "unseen", DROP: ""}[method]
    return "" if method == REAL_ONLY else "seen" if method in seen else "unseen"


def _counts(units: pd.DataFrame, method: str, seen: Collection[str]) -> dict[str, Any]:
    """How many reals, fakes and groups a row rests on, at its level."""
    fakes = units["label"] == 1
    state = state_of(method, seen)
    if method not in SUMMARIES:
        fakes &= units["method"] == method
    elif state:
        fakes &= units["method"].isin(list(seen)) == (state == "seen")
    reals = units["label"] == 0
    groups = units.loc[reals | fakes, "group"].nunique()
    return {"seen": state, "reals": int(reals.sum()), "fakes": int(fakes.sum()), "groups": int(groups)}


def _at_own_ratio(labels: Array, weights: Array) -> Array:
    """Scale each draw's fakes and reals to as many as the first weighting has; a draw that lacks one of them to NaN."""
    scaled = np.empty_like(weights)
    for label in (0, 1):
        of_class = labels == label
        counts = weights[:, of_class].sum(axis=1)
        scale = np.divide(counts[0], counts, out=np.full(len(weights), np.nan), where=counts > 0)
        scaled[:, of_class] = weights[:, of_class] * scale[:, None]
    return scaled


def _weighted_mean(values: Array, weights: Array) -> Array:
    defined = ~np.isnan(values)
    total = weights[:, defined].sum(axis=1)
    summed = weights[:, defined] @ values[defined]
    return np.divide(summed, total, out=np.full(len(weights), np.nan), where=total > 0)


def _mean_row(rows: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Unweighted mean over methods, leaving out a method where the metric is undefined on the frame as it is."""
    means = {}
    for name in rows[0]:
        values = np.stack([row[name] for row in rows])
        defined = values[~np.isnan(values[:, 0])]
        means[name] = defined.mean(axis=0) if len(defined) else values[0]
    return means
