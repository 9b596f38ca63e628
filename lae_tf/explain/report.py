"""Files of an explanation: a panel per image, tables, and one page that says which method to trust."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lae_tf.explain.explaining import Explanation, summarise
from lae_tf.explain.faithfulness import STEPS
from lae_tf.explain.methods import CONTROL
from lae_tf.explain.panels import TITLES, example, panel
from lae_tf.explain.squares import on_image
from lae_tf.files.atomic import write_bytes, write_text
from lae_tf.images.files import write_png
from lae_tf.predict.evidence import overlay_on_file
from lae_tf.report.page import Card, Example, Picture, Section, Table, write_report
from lae_tf.report.plots import COLOURS, GREY, png

EXAMPLES_ON_PAGE = 40
CHANCE = 0.05  # highest p of a method that is named as the most faithful, corrected for how many are compared
_HEADINGS = {
    "insertion_auc": "insertion AUC ↑",
    "deletion_auc": "deletion AUC ↓",
    "faithfulness": "faithfulness ↑",
    "best_iou": "best IoU",
    "beats_random": "beats random",
    "p_value": "p by chance",
    "with_mask": "with mask",
}
_ABOUT = (
    "Faithfulness asks the model: squares are exchanged for a blurred copy in the order of their importance, and the "
    "score follows or it does not. Deletion AUC is the area under P(fake) while the most important squares go first; "
    "insertion AUC while they come first. Faithfulness is insertion minus deletion, so high is good. A random order is "
    "the control, beats random the share of images on which a method is more faithful than it, and p by chance how "
    "often a method that says nothing about the decision would do as well. The most faithful is named if that, times "
    "the number of methods, is at most 0.05.\n\n"
    "Agreement asks the mask, on images whose forged region is known: pixel AUROC, the IoU at the best threshold for "
    "each map, whether the peak lies inside (pointing), and the share of the map that lies inside (energy). A map can "
    "be faithful and yet miss the mask: then the model decides by something else than the forged region.\n\n"
    "The numbers compare methods on one model; they depend on the blur and are not comparable across models."
)


class ExplanationWriter:
    """Collects explanations into a folder: ``panels/NAME.png``, ``explanations.csv``, ``summary.csv``, ``report.html``,
    and, where they are wanted, ``overlays/METHOD/NAME.png``.

    Panels are written as they come; only numbers and the page's pictures stay in memory.

    Args:
        folder: made if it is missing.
        names: of the pictures, for every path.
    """

    def __init__(self, folder: Path, names: Mapping[str, str]):
        self.folder = folder
        self.names = names
        self._rows: list[dict[str, object]] = []
        self._examples: list[Example] = []
        self._curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def add(self, explanation: Explanation) -> Path:
        """Write the panel of one explained image and return its path."""
        path = self.folder / "panels" / self.names[explanation.prediction.path]
        write_bytes(path, png(panel(explanation)))
        self._rows += explanation.rows()
        for method, one in explanation.faithfulness.items():
            self._curves.setdefault(method, []).append((one.deletion, one.insertion))
        if len(self._examples) < EXAMPLES_ON_PAGE:
            self._examples.append(example(explanation))
        return path

    def add_overlays(self, explanation: Explanation, max_side: int | None) -> dict[str, str]:
        """Write each map over the image of the file, of its own size, and return the files by method.

        The map of a square lies at its place, and nothing elsewhere.

        Args:
            explanation: of one image.
            max_side: longest side of the overlays in pixels; None keeps the size of the file.

        Raises:
            ImageError: the image cannot be read any more.
        """
        prediction, files = explanation.prediction, {}
        path, square = prediction.path, prediction.square
        for method, one in explanation.maps.items():
            if square is not None and prediction.size is not None:
                one = on_image(one, square, prediction.size)
            file = self.folder / "overlays" / method / self.names[path]
            write_png(file, overlay_on_file(path, one, max_side))
            files[method] = str(file)
        return files

    def finish(self, title: str, provenance: Mapping[str, str]) -> pd.DataFrame:
        """Write tables and page; return the summary, one row per method."""
        table = pd.DataFrame(self._rows)
        summary = summarise(table)
        write_text(self.folder / "explanations.csv", table.to_csv(index=False))
        write_text(self.folder / "summary.csv", summary.to_csv(index=False))
        called_fake = table[table["label"] == "fake"]
        tables = [Table(_shown(summary), "Mean over all images, the most faithful first")]
        if 0 < len(called_fake) < len(table):
            tables.append(Table(_shown(summarise(called_fake)), "Mean over the images called fake"))
        curves = Picture.of(_curves(self._curves), _CURVES_CAPTION, "Mean deletion and insertion curves", wide=True)
        shown = f"{len(self._examples)} of {table['path'].nunique()} images; all are in the folder panels."
        sections = [
            Section("Which explanation to trust", _caution(table), cards=_cards(summary)),
            Section("Methods compared", _ABOUT, tables=tables, pictures=[curves]),
            Section("Images", shown, heat=_HEAT, examples=self._examples),
        ]
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        write_report(self.folder / "report.html", title, sections, provenance={**provenance, "date": date})
        return summary


_HEAT = "importance over the image in grey; blue outline: the forged region, where it is known"
_CURVES_CAPTION = "Mean P(fake) while the most important squares are blurred (left) or brought back (right)."


def _caution(table: pd.DataFrame) -> str:
    """Say so if blurring does not take away what the model finds, so that faithfulness has nothing to measure."""
    images = table.drop_duplicates("path")
    fake = int((images["baseline_label"] == "fake").sum())
    if 2 * fake < len(images):
        return ""
    return (
        f"Blurred copies of {fake} of {len(images)} images are called fake themselves: to this model blur is a "
        "forgery, so that deletion and insertion tell little. Trust the agreement with known masks (--masks) instead."
    )


def _cards(summary: pd.DataFrame) -> list[Card]:
    """Name the most faithful method, if chance alone would hardly be as good, and the one that agrees best."""
    judged = summary[summary["method"] != CONTROL]
    if judged.empty:
        return []
    best = judged.iloc[0]
    name, note = TITLES[best["method"]], f"faithfulness {_number(best['faithfulness'])}"
    if "beats_random" in judged:
        note += f", better than a random order on {100 * best['beats_random']:.0f} % of {best['images']} images"
        p = min(1.0, len(judged) * best["p_value"])  # Bonferroni: the best of several leads by chance more often
        if p > CHANCE:
            name, note = "none for certain", f"{name} leads: {note} (by chance alone: p = {p:.2f})"
    cards = [Card("Most faithful", name, note)]
    if "pixel_auroc" in judged and judged["pixel_auroc"].notna().any():
        best = judged.loc[judged["pixel_auroc"].idxmax()]
        note = f"pixel AUROC {_number(best['pixel_auroc'])} on {best['with_mask']} images with a mask"
        cards.append(Card("Agrees best with the masks", TITLES[best["method"]], note))
    return cards


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"


def _shown(summary: pd.DataFrame) -> pd.DataFrame:
    return summary.assign(method=summary["method"].map(TITLES)).rename(columns=_HEADINGS)


def _curves(curves: Mapping[str, Iterable[tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draw the mean deletion and insertion curve of each method."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    shares = np.linspace(0, 1, STEPS + 1)
    for axes, side, title in zip(figure.subplots(1, 2, sharey=True), (0, 1), ("deletion", "insertion"), strict=True):
        for number, (method, pairs) in enumerate(curves.items()):
            colour, style = (GREY, ":") if method == CONTROL else (COLOURS[number % len(COLOURS)], "-")
            mean = np.mean([pair[side] for pair in pairs], axis=0)
            axes.plot(shares, mean, color=colour, linestyle=style, label=TITLES[method])
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("share of the image")
        axes.set_ylim(-0.02, 1.02)
    figure.axes[0].set_ylabel("P(fake)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower center", ncols=4)
    return figure
