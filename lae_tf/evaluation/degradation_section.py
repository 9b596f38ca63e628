"""The part of an evaluation's page that says what survives what."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from lae_tf.evaluation.degraded import DEGRADED_METRICS, summary_rows
from lae_tf.metrics.detection import Interval
from lae_tf.report import plots
from lae_tf.report.page import Picture, Section, Table

DEGRADATIONS_FILE = "degradations.csv"

_ABOUT = (
    "The same images after what happens to pictures on their way, each at its own size, and brought back to it. The "
    "threshold stays at {threshold:.3f}, for nobody knows what a picture went through. False alarms are real images "
    "called fake, and the shift is how far the degradation moves their logit; both are of real images alone."
)


def degradation_section(table: pd.DataFrame, threshold: float) -> Section:
    """Return the table of degradations, and what they do to AUROC and to false alarms."""
    means = summary_rows(table)
    curves = {
        str(method): {row["degradation"]: _interval(row, "auroc") for row in part.to_dict("records")}
        for method, part in means.groupby("method", sort=False)
    }
    first = means.drop_duplicates("degradation")
    alarms = {row["degradation"]: _interval(row, "false_alarms") for row in first.to_dict("records")}
    pictures = [
        Picture.of(
            plots.dots_with_intervals({"real images": alarms}, f"real images called fake, threshold {threshold:.3f}"),
            "False alarms under each degradation.",
            "Dots with intervals: share of real images called fake by degradation",
        ),
    ]
    if means["auroc"].notna().any():
        figure = plots.dots_with_intervals(curves, "AUROC")
        alt = "Dots with intervals: AUROC of the means by degradation"
        pictures.insert(0, Picture.of(figure, "AUROC under each degradation.", alt))
    metrics = [name for name in DEGRADED_METRICS if name in table and table[name].notna().any()]
    columns = ["no_interval", *(f"{name}{end}" for name in metrics for end in ("", "_low", "_high"))]
    tables = [
        Table(part[["degradation", *columns]], str(method)) for method, part in means.groupby("method", sort=False)
    ]
    single = table.drop(means.index)
    if len(single):
        tables.append(Table(single[["degradation", "method", *columns]], "Every method", sortable=True))
    return Section(
        "What survives what",
        _ABOUT.format(threshold=threshold),
        links={DEGRADATIONS_FILE: "the same tables as CSV"},
        tables=tables,
        pictures=pictures,
    )


def _interval(row: Mapping[Hashable, Any], metric: str) -> Interval:
    return Interval(row[metric], row[f"{metric}_low"], row[f"{metric}_high"])
