"""One self-contained HTML page: no script, no font and no image from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from lae_tf.atomic import write_text
from lae_tf.evaluation.plots import data_uri
from lae_tf.evaluation.tables import DROP, SEEN_MEAN, SHOWN, SUMMARIES, TITLES, UNSEEN_MEAN

# Half is what guessing earns in these; the tint of a cell starts there.
_CHANCE_IS_HALF = ("accuracy", "balanced_accuracy", "auroc", "average_precision", "pixel_auroc")
_LOWER_IS_BETTER = ("eer", "false_alarm_area", "brier", "ece")


@dataclass(frozen=True)
class Card:
    """A headline number: what it is, the number as text, and one line below it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    A column ``x`` with companions ``x_low`` and ``x_high`` is shown as one cell with its interval, and known
    metrics are tinted by how good they are. The first column heads its row.
    """

    frame: pd.DataFrame
    caption: str


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption and a text for those who do not see it; a wide one takes the page's width."""

    png: bytes
    caption: str
    alt: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Part of a report, shown in the order of its fields. Blank lines separate paragraphs of the text."""

    heading: str = ""
    text: str = ""
    cards: Sequence[Card] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class _Cell:
    text: str
    interval: str = ""
    tint: float | None = None
    badge: bool = False
    is_number: bool = False


def write_report(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    provenance: Mapping[str, str] | None = None,
) -> Path:
    """Writes the page, all of it or nothing.

    Args:
        path: of the HTML file; its folder is made if need be.
        title, subtitle: head of the page.
        sections: from the answer down to the details.
        provenance: how to get these numbers again (command, seed, date, versions), shown at the end.

    Returns:
        The path.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lae_tf.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        provenance=provenance or {},
        data_uri=data_uri,
        rows_of=_rows,
    )
    write_text(path, page)
    return Path(path)


def evaluation_sections(table: pd.DataFrame) -> list[Section]:
    """The answer first, then the tables: sections of an `evaluation_table`, per split."""
    sections = []
    splits = list(dict.fromkeys(table["split"]))
    for split in splits:
        part = table[table["split"] == split]
        where = f" ({split})" if len(splits) > 1 else ""
        text = (
            "Each row takes the fakes of one manipulation together with all real images of the split. "
            "Below each value stands its 95 % bootstrap interval over groups. The stronger the tint, the "
            "better. Drop is the mean of the seen manipulations minus that of the unseen ones."
        )
        captions = {"image": "Each image by itself", "group": "Mean score over the images of a group"}
        detection = [
            Table(_shown(part[part["level"] == level], SHOWN[0]), caption)
            for level, caption in captions.items()
            if (part["level"] == level).any()
        ]
        if cards := _cards(part):
            sections.append(Section(f"Results{where}", cards=cards))
        sections.append(Section(f"Detection{where}", text, tables=detection))
        localisation = _shown(part[part["level"] == "image"], SHOWN[1])
        if any(name in localisation for name in SHOWN[1]):
            about = (
                "Attention against the mask, on fakes whose mask is known; the false-alarm area is the share "
                "of a real image that attention marks (lower is better)."
            )
            tables = [Table(localisation, "Mean over images")]
            sections.append(Section(f"Where the model looks{where}", about, tables=tables))
    return sections


def _cards(table: pd.DataFrame) -> list[Card]:
    rows = {row["method"]: row for row in table[table["level"] == "image"].to_dict("records")}
    wanted = [
        ("Accuracy, seen manipulations", SEEN_MEAN, "accuracy"),
        ("Accuracy, unseen manipulations", UNSEEN_MEAN, "accuracy"),
        ("Accuracy lost on unseen", DROP, "accuracy"),
        ("AUROC, seen", SEEN_MEAN, "auroc"),
        ("AUROC, unseen", UNSEEN_MEAN, "auroc"),
        ("Pixel AUROC of attention, unseen", UNSEEN_MEAN, "pixel_auroc"),
    ]
    cards = []
    for label, method, metric in wanted:
        row = rows.get(method, {})
        if not math.isnan(row.get(metric, math.nan)):
            low, high = row[f"{metric}_low"], row[f"{metric}_high"]
            cards.append(Card(label, f"{row[metric]:.3f}", f"{low:.3f} to {high:.3f} (95 %)"))
    return cards


def _shown(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Method, state, those metrics that are defined somewhere with their intervals, and the counts."""
    columns = ["method", "seen"]
    for name in metrics:
        if name in table and table[name].notna().any():
            columns += [name, f"{name}_low", f"{name}_high"]
    return table[[*columns, "reals", "fakes"]]


def _rows(frame: pd.DataFrame) -> dict[str, Any]:
    """A table's headings and cells as the template wants them."""
    companions = {f"{name}_{end}" for name in frame for end in ("low", "high")}
    names = [name for name in frame if name not in companions]
    rows = []
    for row in frame.to_dict("records"):
        is_summary = row[names[0]] in SUMMARIES
        cells = [_cell(row, name, tinted=row[names[0]] != DROP) for name in names]
        rows.append({"cells": cells, "is_summary": is_summary})
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in names]
    headings = [(TITLES.get(str(name), str(name)), number) for name, number in zip(names, numeric, strict=True)]
    return {"headings": headings, "rows": rows}


def _cell(row: Mapping[Any, Any], name: Any, tinted: bool) -> _Cell:
    value = row[name]
    if not isinstance(value, float):
        return _Cell(str(value), badge=name == "seen", is_number=isinstance(value, int))
    if math.isnan(value):
        return _Cell("–", is_number=True)
    interval = ""
    if f"{name}_low" in row:
        interval = f"{_number(row[f'{name}_low'])} to {_number(row[f'{name}_high'])}"
    return _Cell(_number(value), interval, _tint(name, value) if tinted else None, is_number=True)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def _tint(metric: str, value: float) -> float | None:
    """How good a value is, from 0 to 1; None for what is no known metric."""
    if metric not in TITLES:
        return None
    if metric in _CHANCE_IS_HALF:
        value = 2 * value - 1
    elif metric == "eer":
        value = 1 - 2 * value
    elif metric in _LOWER_IS_BETTER:
        value = 1 - value
    return round(min(1.0, max(0.0, value)), 3)
