"""One self-contained HTML page: no script, no font and no image from elsewhere.

Every page of this package is made here, with one template and one style: light and dark, on a phone and on paper.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lae_tf.files.atomic import write_text
from lae_tf.metrics.names import DROP, SUMMARIES, TITLES
from lae_tf.report.panels import heat_colours
from lae_tf.report.plots import data_uri, png

NO_INTERVAL = "no_interval"
"""Column of a table: why a row has no intervals, shown below what heads the row."""

# Half is what guessing earns in these; the tint of a cell starts there.
_CHANCE_IS_HALF = (
    *("accuracy", "accuracy_sure", "balanced_accuracy", "auroc", "average_precision"),
    *("pixel_auroc", "matched_pixel_auroc"),
)
_LOWER_IS_BETTER = (
    *("eer", "false_alarm_area", "false_alarms", "brier", "ece"),
    *("unsure", "unsure_reals", "unsure_fakes"),
)
_NO_MERIT = ("prior_pixel_auroc", "logit_shift")  # of the data; better neither up nor down


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
    metrics are tinted by how good they are. The first column heads its row. A sortable table is sorted by a click on
    a heading, scrolls within the page, and is printed with its first rows alone.
    """

    frame: pd.DataFrame
    caption: str
    sortable: bool = False


@dataclass(frozen=True)
class Picture:
    """A plot as PNG with its caption and a text for those who do not see it; a wide one takes the page's width.

    In dark mode its lightness is inverted, so that its ground should be transparent (`Picture.of`) or white.
    """

    png: bytes
    caption: str
    alt: str
    wide: bool = False

    @classmethod
    def of(cls, figure: Figure, caption: str, alt: str, wide: bool = False) -> Picture:
        """Draw a figure on transparent ground."""
        return cls(png(figure, transparent=True), caption, alt, wide)


@dataclass(frozen=True)
class Shot:
    """An image as PNG, shown in its own colours, with a short caption; without one, a text stands in its place."""

    png: bytes | None
    caption: str = ""
    absent: str = ""

    @classmethod
    def of(cls, pixels: ArrayLike | None, caption: str = "", absent: str = "not known") -> Shot:
        """Encode (H, W, 3), (H, W, 1) or (H, W), uint8 or float in [0, 1]; None is said to be absent."""
        if pixels is None:
            return cls(None, caption, absent)
        values = np.asarray(pixels)
        if values.dtype != np.uint8:
            values = np.rint(255 * np.clip(values.astype(np.float64), 0, 1)).astype(np.uint8)
        if values.ndim == 3 and values.shape[2] == 3:
            values = cv2.cvtColor(values, cv2.COLOR_RGB2BGR)
        return cls(cv2.imencode(".png", values)[1].tobytes(), caption)


@dataclass(frozen=True)
class Example:
    """Images that belong together, side by side.

    Attributes:
        shots: from left to right.
        title: one line above them.
        note: one line below them, such as a path.
        tone: "right" or "wrong" marks what the title says; "" is neutral.
    """

    shots: Sequence[Shot]
    title: str = ""
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Section:
    """Part of a report.

    Attributes:
        heading: of the section.
        text: paragraphs, with blank lines between them.
        cards: headline numbers.
        tables: below them.
        pictures: plots, below the tables.
        code: a block of text whose lines stay as they are, below the paragraphs.
        links: names of files beside the page to their descriptions, below the paragraphs.
        heat: what the colours of the examples' heatmaps mean, beside the scale from 0 to 1; "" for no scale.
        examples: images, at the end.
    """

    heading: str = ""
    text: str = ""
    cards: Sequence[Card] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    code: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    heat: str = ""
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class _Cell:
    text: str
    interval: str = ""
    tint: float | None = None
    badge: bool = False
    is_number: bool = False
    order: float | None = None


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
        loader=jinja2.PackageLoader("lae_tf.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The one script of a page is allowed by its hash: what a file's name may smuggle in is not.
    sorts = any(table.sortable for section in sections for table in section.tables)
    script = environment.loader.get_source(environment, "sort.js")[0] if sorts and environment.loader else ""
    page = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        provenance=provenance or {},
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        heat_colours=heat_colours(),
        data_uri=data_uri,
        rows_of=_rows,
    )
    write_text(path, page)
    return Path(path)


def _rows(frame: pd.DataFrame) -> dict[str, Any]:
    """A table's headings and cells as the template wants them."""
    companions = {f"{name}_{end}" for name in frame for end in ("low", "high")} | {NO_INTERVAL}
    names = [name for name in frame if name not in companions]
    rows = []
    for row in frame.to_dict("records"):
        is_summary = row[names[0]] in SUMMARIES
        cells = [_cell(row, name, tinted=row[names[0]] != DROP) for name in names]
        cells[0] = replace(cells[0], interval=row.get(NO_INTERVAL, ""))
        rows.append({"cells": cells, "is_summary": is_summary})
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in names]
    headings = [(TITLES.get(str(name), str(name)), number) for name, number in zip(names, numeric, strict=True)]
    return {"headings": headings, "rows": rows}


def _cell(row: Mapping[Any, Any], name: Any, tinted: bool) -> _Cell:
    value = row[name]
    if not isinstance(value, float):
        number = isinstance(value, int) and not isinstance(value, bool)
        return _Cell(str(value), badge=name == "seen", is_number=number, order=value if number else None)
    if math.isnan(value):
        return _Cell("–", is_number=True)
    interval = ""
    if not math.isnan(row.get(f"{name}_low", math.nan)):
        interval = f"{_number(row[f'{name}_low'])} to {_number(row[f'{name}_high'])}"
    return _Cell(_number(value), interval, _tint(name, value) if tinted else None, is_number=True, order=value)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def _tint(metric: str, value: float) -> float | None:
    """How good a value is, from 0 to 1; None for what is no known metric of a model."""
    if metric not in TITLES or metric in _NO_MERIT:
        return None
    if metric in _CHANCE_IS_HALF:
        value = 2 * value - 1
    elif metric == "eer":
        value = 1 - 2 * value
    elif metric in _LOWER_IS_BETTER:
        value = 1 - value
    return round(min(1.0, max(0.0, value)), 3)
