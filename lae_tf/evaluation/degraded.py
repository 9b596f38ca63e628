"""What survives what happens to pictures on their way: the same images scored under one degradation after another.

The threshold stays where validation put it, since nobody knows what a picture went through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import pandas as pd

from lae_tf.errors import UsageError
from lae_tf.evaluation.formats import aligned, number
from lae_tf.evaluation.tables import (
    DEGRADATION_METRICS,
    checked_scores,
    fewest_groups,
    state_of,
    without_weak_intervals,
)
from lae_tf.forge.degradations import DEGRADATIONS
from lae_tf.metrics.detection import Statistic, bootstrap_intervals, too_few
from lae_tf.metrics.names import DROP, SUMMARIES, TITLES

CLEAN = "none"
DEGRADED_METRICS = (
    *("auroc", "accuracy", "pixel_auroc", "matched_pixel_auroc"),
    *DEGRADATION_METRICS,
    *("unsure", "accuracy_sure"),
)
"""Columns of a `degradation_table`, as far as a model has them."""


def chosen_degradations(text: str) -> tuple[str, ...]:
    """Return the degradations that a comma list names, in the list's own order, ``none`` first and always.

    Args:
        text: names of ``DEGRADATIONS`` with commas between them, or ``all``.

    Raises:
        UsageError: an unknown name.
    """
    names = [name.strip() for name in text.split(",")]
    if names == ["all"]:
        return tuple(DEGRADATIONS)
    for name in names:
        if name not in DEGRADATIONS:
            raise UsageError(f"unknown degradation '{name}'; known are {', '.join(DEGRADATIONS)}, and all.")
    return tuple(name for name in DEGRADATIONS if name in (CLEAN, *names))


def score_degraded(
    clean: pd.DataFrame, degradations: Sequence[str], score: Callable[[str], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Score images under each degradation.

    Args:
        clean: the images as they are stored, see ``scoring.score_manifest``.
        degradations: names of ``DEGRADATIONS``.
        score: a name to such a frame of the same images, in the same order.

    Returns:
        Name to frame, each with ``logit_shift``: of real images the logit minus that of the image as it is stored,
        NaN for fakes.
    """
    frames = {name: clean if name == CLEAN else score(name) for name in degradations}
    reals = clean["label"] == 0
    return {
        name: frame.assign(logit_shift=(frame["logit"] - clean["logit"]).where(reals)) for name, frame in frames.items()
    }


def with_false_alarms(frame: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Add ``false_alarms``: of real images 1 where they are called fake, else 0; NaN for fakes."""
    called = (frame["score"] >= threshold).astype(float)
    return frame.assign(false_alarms=called.where(frame["label"] == 0))


def degradation_table(
    frames: Mapping[str, pd.DataFrame],
    statistic: Statistic,
    seen: Collection[str],
    *,
    seed: int,
    draws: int = 1000,
) -> pd.DataFrame:
    """Tabulate one model under one degradation after another.

    Args:
        frames: degradation to the frame of its scores, as ``tables.evaluation_table`` takes it, with
            ``DEGRADATION_METRICS`` where they are known.
        statistic: of ``tables.method_statistic``.
        seen: methods that training used.
        seed, draws: of the bootstrap over groups; all degradations share its draws.

    Returns:
        A row per degradation and method, seen mean and unseen mean: columns ``degradation``, ``method``, ``seen``,
        ``no_interval``, and each of `DEGRADED_METRICS` with ``_low`` and ``_high``. ``false_alarms`` (the share of
        real images called fake) and ``logit_shift`` (the mean of theirs) are of the real images alone, and so the
        same in all rows of a degradation.
    """
    rows = []
    for name, scores in frames.items():
        frame = checked_scores(scores)
        intervals = bootstrap_intervals(frame, statistic, seed=seed, draws=draws)
        intervals = without_weak_intervals(intervals, frame, seen)
        for method in dict.fromkeys(str(key[0]) for key in intervals):  # type: ignore[index]
            if method == DROP:
                continue
            row: dict[str, object] = {"degradation": name, "method": method, "seen": state_of(method, seen)}
            row["no_interval"] = too_few(fewest_groups(frame, method, seen))
            for metric in DEGRADED_METRICS:
                if (method, metric) in intervals:
                    value = intervals[method, metric]
                    row |= {metric: value.value, f"{metric}_low": value.low, f"{metric}_high": value.high}
            rows.append(row)
    return pd.DataFrame(rows)


def summary_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means of a `degradation_table`, or its only row each where real images stand alone."""
    means = table["method"].isin(SUMMARIES)
    return table[means] if means.any() else table


def format_degradations(table: pd.DataFrame) -> str:
    """Return the means as aligned text for a terminal; undefined values are "-"."""
    rows = summary_rows(table)
    shown = [name for name in DEGRADED_METRICS if name in rows and rows[name].notna().any()]
    header = ["degradation", "method", *(TITLES[name] for name in shown)]
    body = [
        [row["degradation"], row["method"], *(number(row[name]) for name in shown)] for row in rows.to_dict("records")
    ]
    return aligned(header, body, left=2)
