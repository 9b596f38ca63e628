"""An evaluation's table as people and programs read it: text for a terminal, Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lae_tf.evaluation.localisation import FAKE_COLUMNS, POSITION_COLUMNS, REAL_COLUMNS
from lae_tf.metrics.abstention import ABSTENTION_METRICS
from lae_tf.metrics.names import TITLES

DETECTION_SHOWN = ("accuracy", "auroc", "average_precision", "eer", "tpr_at_1pct_fpr", "tpr_at_5pct_fpr")
# What a person is shown, as tables that fit a terminal; the files hold everything.
_SHOWN = (
    DETECTION_SHOWN,
    ("pixel_auroc", *POSITION_COLUMNS),
    (*(name for name in FAKE_COLUMNS if name != "pixel_auroc"), *REAL_COLUMNS),
    ABSTENTION_METRICS,
)
_SHOWN_WITH_INTERVAL = ("accuracy", "auroc")


def format_table(table: pd.DataFrame) -> str:
    """Aligned text for a terminal: detection, then, where there are any, pixel AUROCs and the rest of localisation.

    Shows the main metrics, accuracy and AUROC with their intervals; undefined values are "-". Rows that rest on too
    few groups for an interval are named at the end.
    """
    left = len(_descriptions(table))
    blocks = [aligned(header, body, left) for header, body in _blocks(table)]
    return "\n\n".join([*blocks, *_remarks(table)])


def aligned(header: Sequence[str], body: Sequence[Sequence[str]], left: int) -> str:
    """Return columns of equal width, the first ``left`` of them flush left, with a rule below the header."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, ["-" * width for width in widths], *body)
    )
    return "\n".join(lines)


def markdown_table(table: pd.DataFrame) -> str:
    """The same blocks as `format_table`, as Markdown tables."""
    left = len(_descriptions(table))
    blocks = []
    for header, body in _blocks(table):
        rule = [":--" if i < left else "--:" for i in range(len(header))]
        lines = ([cell.replace("|", r"\|") for cell in line] for line in (header, rule, *body))
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*blocks, *_remarks(table)]) + "\n"


def csv_table(table: pd.DataFrame) -> str:
    """All columns as CSV; an undefined value is an empty cell."""
    return table.to_csv(index=False, lineterminator="\n")


def json_table(table: pd.DataFrame) -> str:
    """All columns as a JSON list with one object per row; an undefined value is null."""
    return table.to_json(orient="records", indent=2, double_precision=15, force_ascii=False) + "\n"


def _descriptions(table: pd.DataFrame) -> list[str]:
    return ["split", "level", "method", "seen"][0 if table["split"].nunique() > 1 else 1 :]


def _blocks(table: pd.DataFrame) -> list[tuple[list[str], list[list[str]]]]:
    """Header and body of each block that has something to show, without rows that have nothing."""
    names = [*_descriptions(table), "reals", "fakes"]
    blocks = []
    for family in _SHOWN:
        shown = [name for name in family if name in table and table[name].notna().any()]
        if shown:
            body = [
                [str(row[name]) for name in names] + [_cell(row, metric) for metric in shown]
                for row in table[table[shown].notna().any(axis=1)].to_dict("records")
            ]
            blocks.append(([*names, *(TITLES[metric] for metric in shown)], body))
    return blocks


def _remarks(table: pd.DataFrame) -> list[str]:
    """Say which rows have no interval, and why, if there are any."""
    without = table[table["no_interval"] != ""].drop_duplicates(["split", "method"])
    if without.empty:
        return []
    reasons: dict[str, list[str]] = {}
    for row in without.itertuples():
        reasons.setdefault(row.no_interval, []).append(row.method)
    return ["\n".join(f"{reason} (10 are needed): {', '.join(rows)}." for reason, rows in reasons.items())]


def _cell(row: dict[Any, Any], metric: str) -> str:
    value, low, high = (row[metric + end] for end in ("", "_low", "_high"))
    if metric in _SHOWN_WITH_INTERVAL and not np.isnan(low):
        return f"{number(value)} [{number(low)}, {number(high)}]"
    return number(value)


def number(value: float) -> str:
    """Write a value with three digits, "-" where it is undefined."""
    return "-" if np.isnan(value) else f"{value:.3f}"
