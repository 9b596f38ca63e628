"""What a study of selection says: means over seeds, paired differences to the baselines, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lae_tf.files.atomic import write_text
from lae_tf.metrics.detection import Interval
from lae_tf.report import plots
from lae_tf.report.page import Picture, Section, Table, write_report

NO_MASKS, ALL_MASKS = "no masks", "all masks"
BASELINES = (NO_MASKS, "random", "stratified")
MEASURES = {
    "seen_auroc": "seen AUROC",
    "worst_auroc": "AUROC of the worst seen method",
    "seen_matched_pixel_auroc": "seen matched pixel AUROC",
    "seen_pixel_auroc": "seen pixel AUROC",
    "seen_iou": "seen attention IoU",
    "seen_accuracy": "seen accuracy",
    "unseen_auroc": "unseen AUROC",
    "unseen_matched_pixel_auroc": "unseen matched pixel AUROC",
    "unseen_pixel_auroc": "unseen pixel AUROC",
    "unseen_iou": "unseen attention IoU",
    "unseen_accuracy": "unseen accuracy",
}
DRAWN = ("seen_matched_pixel_auroc", "seen_auroc", "worst_auroc", "unseen_matched_pixel_auroc", "unseen_auroc")


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each measure with a 95 % Student t interval, per strategy and share.

    Args:
        table: one row per seed, strategy and share, with ``masks``, ``share`` and the measures of ``MEASURES``.
    """
    rows = []
    for (strategy, _), cells in table.groupby(["strategy", "masks"], sort=False):
        row: dict[str, Any] = {"strategy": strategy, "masks": int(cells["masks"].iloc[0])}
        row |= {"share": cells["share"].iloc[0], "seeds": len(cells)}
        for measure in MEASURES:
            row |= _columns(measure, _mean(cells[measure]))
        rows.append(row)
    return pd.DataFrame(rows)


def paired_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return how much better each strategy is than each baseline at the same seed and number of masks.

    Args:
        table: as for :func:`summarise`.

    Returns:
        One row per strategy, masks and baseline: ``seeds`` and, of each measure, the mean of the differences with a
        95 % Student t interval. The baseline without masks has one cell a seed, which every budget is compared with.
    """
    rows = []
    for baseline in BASELINES:
        base = table[table["strategy"] == baseline]
        keys = ["seed"] if baseline == NO_MASKS else ["seed", "masks"]
        others = table[~table["strategy"].isin((baseline, NO_MASKS))]
        joined = others.merge(base[[*keys, *MEASURES]], on=keys, suffixes=("", "_of_baseline"))
        for (strategy, masks), cells in joined.groupby(["strategy", "masks"], sort=False):
            row = {"strategy": strategy, "masks": int(masks), "minus": baseline, "seeds": len(cells)}
            for measure in MEASURES:
                row |= _columns(measure, _mean(cells[measure] - cells[f"{measure}_of_baseline"]))
            rows.append(row)
    return pd.DataFrame(rows)


def masks_needed(summary: pd.DataFrame, measure: str) -> dict[str, float]:
    """Return with how many masks each strategy's mean reaches what ``random`` reaches with its largest budget.

    Between two budgets the mean is taken to lie on a line; NaN where it is never reached.

    Args:
        summary: of :func:`summarise`.
        measure: of ``MEASURES``.

    Returns:
        Masks by strategy; nothing where ``random`` was not studied.
    """
    base = summary[summary["strategy"] == "random"].sort_values("masks")
    none = summary[summary["strategy"] == NO_MASKS]
    if base.empty:
        return {}
    goal = float(base[measure].iloc[-1])
    needed = {}
    for strategy, rows in summary.groupby("strategy", sort=False):
        if strategy not in (NO_MASKS, ALL_MASKS):
            curve = pd.concat([none, rows]).sort_values("masks")
            needed[str(strategy)] = _first_reached(curve["masks"].to_numpy(), curve[measure].to_numpy(), goal)
    return needed


def write_study(folder: Path, table: pd.DataFrame, provenance: Mapping[str, str]) -> Path:
    """Write cells.csv, summary.csv, differences.csv and study.html; return the page's path.

    Args:
        folder: of the study.
        table: as for :func:`summarise`.
        provenance: shown at the end of the page.
    """
    summary, differences = summarise(table), paired_differences(table)
    for name, frame in (("cells", table), ("summary", summary), ("differences", differences)):
        write_text(folder / f"{name}.csv", frame.to_csv(index=False))
    pictures = []
    for measure in DRAWN:
        series: dict[str, dict[float, Interval]] = {}
        for _, row in summary.iterrows():
            point = Interval(row[measure], row[f"{measure}_low"], row[f"{measure}_high"])
            series.setdefault(row["strategy"], {})[100 * row["share"]] = point
        title = MEASURES[measure]
        figure = plots.lines_with_intervals(series, "% of training images with a mask", title)
        pictures.append(Picture.of(figure, f"{title} against the share of masks.", title))
    how = (
        "Each cell goes on from the same stage-1 model of its seed; that without masks was trained for as many epochs. "
        f"Mean over {table['seed'].nunique()} seeds with 95 % t intervals. Test images and unseen methods take no part "
        "in any choice."
    )
    paired = "The same seed and number of masks in both; an interval above 0 is a difference that seeds do not explain."
    sections = [
        Section("Against the share of masks", how, pictures=pictures),
        Section("Differences", paired, tables=[Table(_shown(differences), "Strategy minus baseline")]),
        Section("Masks needed", tables=[Table(_needed(summary), "Masks to reach what random reaches with most")]),
        Section("Table", tables=[Table(_shown(summary), "Cells")]),
    ]
    return write_report(folder / "study.html", "Selected against random masks", sections, provenance=provenance)


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each measure with its interval in one column."""
    shown = frame[[name for name in ("strategy", "masks", "share", "minus", "seeds") if name in frame]].copy()
    for measure in DRAWN:
        if measure in frame:
            columns = frame[[measure, f"{measure}_low", f"{measure}_high"]].to_numpy(float)
            shown[MEASURES[measure]] = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in columns]
    return shown


def _needed(summary: pd.DataFrame) -> pd.DataFrame:
    columns = {MEASURES[measure]: masks_needed(summary, measure) for measure in DRAWN}
    return pd.DataFrame(columns).rename_axis("strategy").reset_index()


def _first_reached(masks: np.ndarray, values: np.ndarray, goal: float) -> float:
    if values[0] >= goal:
        return float(masks[0])
    for left in range(len(masks) - 1):
        if values[left] < goal <= values[left + 1]:
            share = (goal - values[left]) / (values[left + 1] - values[left])
            return float(masks[left] + share * (masks[left + 1] - masks[left]))
    return float("nan")


def _mean(cells: pd.Series) -> Interval:
    """Return a mean with its 95 % Student t interval; NaN of the interval where there is one value."""
    values = cells.astype(float).dropna().to_numpy()
    mean = float(values.mean()) if len(values) else float("nan")
    half = float("nan")
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def _columns(measure: str, interval: Interval) -> dict[str, float]:
    mean, low, high = interval
    return {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
