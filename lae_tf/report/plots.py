"""Figures of an evaluation, drawn without pyplot and therefore without global state.

Series are told apart by the colours of Okabe and Ito, chosen for colour-blind readers, and by line style.
Figures are narrow (under six inches), so that their text stays readable on a phone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc, roc_curve

from lae_tf.metrics.detection import Interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#1A1A1A")
GREY, INK = "#6B6B6B", "#262626"  # text in either is legible on white
WIDTH = 5.6


def png(figure: Figure, dpi: int = 144, transparent: bool = False) -> bytes:
    """Encodes a figure as PNG, on white or on transparent ground."""
    buffer = io.BytesIO()
    options = {"transparent": True} if transparent else {"facecolor": "white"}
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, **options)
    return buffer.getvalue()


def data_uri(image: bytes) -> str:
    """A PNG as text that an HTML page can carry within itself."""
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")


def roc_curves(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], dashed: Collection[str] = ()) -> Figure:
    """ROC curves with their AUROC in the legend.

    Args:
        curves: name to (labels, scores), each (N,). A curve without both classes is listed, not drawn.
        dashed: names to draw dashed, for example the unseen manipulations.
    """
    figure, (axes,) = _figure(WIDTH, 4.6)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for i, (name, (labels, scores)) in enumerate(curves.items()):
        style: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": "--" if name in dashed else _line(i),
        }
        if len(np.unique(np.asarray(labels))) < 2:
            axes.plot([], [], label=_plain(f"{name}: one class only"), **style)
            continue
        fpr, tpr, _ = roc_curve(labels, scores)
        axes.plot(fpr, tpr, label=_plain(f"{name}: {auc(fpr, tpr):.3f}"), linewidth=1.8, **style)
    axes.set(xlabel="false positive rate (reals called fake)", ylabel="true positive rate (fakes called fake)")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    if curves:
        axes.legend(loc="lower right", frameon=False, title="AUROC", fontsize=9, title_fontsize=9)
    return figure


def training_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """What training did, epoch by epoch: the loss, its terms, and the metrics on validation data.

    Args:
        history: one mapping per epoch in order, with ``stage``, ``loss``, ``val_loss``, terms that end in
            ``_loss`` and any other ``val_...`` (taken as a metric). Missing, null and NaN entries are left
            out; ``epoch`` may start again with each stage.
    """
    names = list(dict.fromkeys(name for row in history for name in row if _numbers(history, name).any()))
    terms = [name for name in names if name.endswith("_loss") and name != "val_loss"]
    scores = [name for name in names if name.startswith("val_") and not name.endswith("_loss")]
    panels: dict[str, list[str]] = {
        "loss": [name for name in ("loss", "val_loss") if name in names],
        "terms of the loss": terms,
        "validation": scores,
    }
    panels = {title: shown for title, shown in panels.items() if shown}
    figure, all_axes = _figure(WIDTH, 0.6 + 2.1 * max(1, len(panels)), rows=max(1, len(panels)), sharex=True)
    epochs = np.arange(1, len(history) + 1)
    for axes, (title, shown) in zip(all_axes, panels.items(), strict=False):
        bases = list(dict.fromkeys(name.removeprefix("val_") for name in shown))
        for name in shown:
            values = _values(history, name)
            axes.plot(
                epochs,
                values,
                label=_plain(name.removesuffix("_loss") if title.startswith("terms") else name),
                color=COLOURS[bases.index(name.removeprefix("val_")) % len(COLOURS)],
                linestyle="--" if name.startswith("val_") and title != "validation" else "-",
                marker="." if len(history) < 40 else None,
            )
        axes.set_title(title, loc="right", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _mark_stages(all_axes, [str(row.get("stage", "")) for row in history])
    all_axes[-1].set_xlabel("epoch")
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def score_histogram(scores: Mapping[str, ArrayLike], reals: ArrayLike, threshold: float) -> Figure:
    """Scores of each manipulation's fakes above those of the real images, with the threshold.

    Args:
        scores: method to scores in [0, 1] of its fakes.
        reals: scores of the real images, repeated in grey in every row.
        threshold: of the decision.
    """
    figure, all_axes = _figure(WIDTH, 0.7 + 1.15 * max(1, len(scores)), rows=max(1, len(scores)), sharex=True)
    bins = np.linspace(0, 1, 41)
    for i, axes in enumerate(all_axes):
        _shares(axes, reals, bins, GREY)
        if i < len(scores):
            name, values = list(scores.items())[i]
            _shares(axes, values, bins, COLOURS[i % len(COLOURS)])
            axes.set_title(_plain(name), loc="left", fontsize=9, color=COLOURS[i % len(COLOURS)], weight="bold", pad=2)
        axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
        axes.set(yticks=[], xlim=(0, 1))
    all_axes[0].set_title("real images", loc="right", fontsize=9, color=GREY, weight="bold", pad=2)
    all_axes[-1].set_xlabel(f"score, P(fake); dashed: threshold {threshold:.3f}")
    return figure


def bars_with_intervals(series: Mapping[str, Mapping[str, Interval]], ylabel: str) -> Figure:
    """Grouped bars with their intervals as whiskers.

    Args:
        series: name of a series (one colour) to category (place on the axis) to value. A category that a
            series lacks, or whose value is NaN, stays free.
        ylabel: what is measured, on an axis that starts at 0.
    """
    categories = list(dict.fromkeys(category for values in series.values() for category in values))
    figure, (axes,) = _figure(max(WIDTH, 0.9 + 0.32 * len(categories) * len(series)), 3.6)
    width = 0.8 / max(1, len(series))
    for i, (name, values) in enumerate(series.items()):
        places = np.arange(len(categories)) + (i - (len(series) - 1) / 2) * width
        bars = np.array([values.get(c, Interval(np.nan, np.nan, np.nan)) for c in categories]).reshape(-1, 3)
        # A percentile interval may miss its value by a little; a whisker cannot have negative length.
        whiskers = np.maximum(0, [bars[:, 0] - bars[:, 1], bars[:, 2] - bars[:, 0]])
        hatch = None if i < len(COLOURS) else "///"
        axes.bar(
            places,
            bars[:, 0],
            width * 0.92,
            color=COLOURS[i % len(COLOURS)],
            hatch=hatch,
            edgecolor="white" if hatch else None,
            label=_plain(name),
        )
        axes.errorbar(places, bars[:, 0], whiskers, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axes.set_xticks(range(len(categories)), [_plain(c) for c in categories], rotation=30, ha="right", fontsize=9)
    axes.set_ylabel(ylabel)
    if len(series) > 1:
        figure.legend(frameon=False, loc="outside upper left", ncols=min(4, len(series)), fontsize=9)
    return figure


def lines_with_intervals(series: Mapping[str, Mapping[float, Interval]], xlabel: str, ylabel: str) -> Figure:
    """Lines with their intervals as whiskers; a series of one point is drawn as a marker.

    Args:
        series: name to position on the x axis to value. Missing intervals (NaN) are left out.
        xlabel: what the axis shows; zero and large values share it on a symmetric logarithmic scale.
        ylabel: what is measured.
    """
    figure, (axes,) = _figure(WIDTH, 3.8)
    for i, (name, values) in enumerate(series.items()):
        points = np.array([(x, *values[x]) for x in sorted(values)], dtype=float).reshape(-1, 4)
        whiskers = np.nan_to_num(np.maximum(0, [points[:, 1] - points[:, 2], points[:, 3] - points[:, 1]]))
        axes.errorbar(
            points[:, 0],
            points[:, 1],
            whiskers,
            marker="o",
            markersize=4,
            capsize=2,
            elinewidth=1,
            color=COLOURS[i % len(COLOURS)],
            label=_plain(name),
        )
    axes.set_xscale("symlog", linthresh=1.0)
    ticks = sorted({x for values in series.values() for x in values})
    axes.set_xticks(ticks, [f"{x:.3g}" for x in ticks])
    axes.minorticks_off()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    figure.legend(frameon=False, loc="outside upper left", ncols=min(4, max(1, len(series))), fontsize=9)
    return figure


def dots_with_intervals(series: Mapping[str, Mapping[str, Interval]], xlabel: str) -> Figure:
    """Dots with their intervals as whiskers, categories below each other, such as degradations.

    Args:
        series: name of a series (one colour) to category to value. A category that a series lacks, or whose value is
            NaN, stays free.
        xlabel: what is measured; series are told apart by a legend if there are several.
    """
    categories = list(dict.fromkeys(category for values in series.values() for category in values))
    height = 0.9 + len(categories) * max(0.26, 0.09 * len(series))
    figure, (axes,) = _figure(WIDTH, height)
    step = 0.7 / max(1, len(series))
    for i, (name, values) in enumerate(series.items()):
        points = np.array([values.get(c, Interval(np.nan, np.nan, np.nan)) for c in categories]).reshape(-1, 3)
        # A percentile interval may miss its value by a little; a whisker cannot have negative length.
        whiskers = np.nan_to_num(np.maximum(0, [points[:, 0] - points[:, 1], points[:, 2] - points[:, 0]]))
        axes.errorbar(
            points[:, 0],
            np.arange(len(categories)) + (i - (len(series) - 1) / 2) * step,
            xerr=whiskers,
            fmt="o" if i < len(COLOURS) else "s",
            markersize=4,
            capsize=2,
            elinewidth=1,
            color=COLOURS[i % len(COLOURS)],
            label=_plain(name),
        )
    axes.set_yticks(range(len(categories)), [_plain(c) for c in categories])
    axes.invert_yaxis()
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_xlabel(xlabel)
    if len(series) > 1:
        figure.legend(frameon=False, loc="outside upper left", ncols=min(4, len(series)), fontsize=8)
    return figure


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    all_axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    return figure, all_axes


def _line(i: int) -> str:
    """Style of the i-th line: when the colours are used up, they come again with dashes and dots."""
    return "-" if i < len(COLOURS) else "-."


def _plain(text: str) -> str:
    """Names come from users: no mathematics between dollar signs, no hiding behind an underscore."""
    text = text.replace("$", r"\$")
    return f"\u200a{text}" if text.startswith("_") else text


def _values(history: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([row.get(name) if _is_number(row.get(name)) else np.nan for row in history], dtype=float)


def _numbers(history: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.bool_]:
    return np.isfinite(_values(history, name))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _mark_stages(all_axes: Sequence[Axes], stages: Sequence[str]) -> None:
    """A line where one stage ends and the next begins, with both names above the first panel."""
    starts = [i for i in range(1, len(stages)) if stages[i] != stages[i - 1]]
    for axes in all_axes:
        for i in starts:
            axes.axvline(i + 0.5, color=GREY, linewidth=0.8, linestyle=":")
    for i in starts:
        all_axes[0].annotate(
            _plain(f"{stages[i - 1]} | {stages[i]}"),
            (i + 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )


def _shares(axes: Axes, values: ArrayLike, bins: NDArray[np.float64], colour: str) -> None:
    flat = np.asarray(values, dtype=float)
    weights = np.full(flat.shape, 1 / max(1, flat.size))
    axes.hist(flat, bins=bins.tolist(), weights=weights, color=colour, alpha=0.55)
