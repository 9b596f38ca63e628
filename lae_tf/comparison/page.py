"""The comparison's files: tables as CSV, JSON and Markdown, and one HTML page with plots and heatmap panels."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lae_tf.comparison import compare
from lae_tf.comparison.cell import PANELS
from lae_tf.comparison.protocol import EARLIER, OWN, Cell, Protocol
from lae_tf.evaluation.localisation import POSITION_COLUMNS
from lae_tf.evaluation.page import ABOUT_POSITION
from lae_tf.files.atomic import write_text
from lae_tf.metrics.detection import Interval
from lae_tf.metrics.names import DROP, SEEN_MEAN, TITLES, UNSEEN_MEAN
from lae_tf.report import plots
from lae_tf.report.page import Card, Example, Picture, Section, Shot, Table, write_report
from lae_tf.report.panels import overlay

_COLUMNS = ("accuracy", "balanced_accuracy", "auroc", "eer")


class Comparison(NamedTuple):
    """What finished cells say.

    Attributes:
        outcomes: the finished seeds of each model.
        seen: methods that training used.
        table: of `compare.comparison_table`.
        paired: of `compare.differences`.
        best: the peer with the highest unseen accuracy, None where none is finished.
        costs: of `compare.costs`.
        robustness: of `compare.robustness_table`.
    """

    outcomes: Sequence[compare.Outcome]
    seen: Sequence[str]
    table: pd.DataFrame
    paired: pd.DataFrame
    best: str | None
    costs: pd.DataFrame
    robustness: pd.DataFrame


def write_comparison(protocol: Protocol, cells: Sequence[Cell], folder: Path) -> Path:
    """Write whatever the finished cells say; return the page's path."""
    outcomes = compare.gather(cells, folder)
    seen, seed = protocol.train_methods, protocol.seeds[0]
    constant = compare.always_real(outcomes)
    own, peers = ([outcome for outcome in outcomes if outcome.is_peer == kind] for kind in (False, True))
    table = compare.comparison_table([*own, *peers, *constant], seen, seed)
    best = compare.best_peer(table, outcomes)
    paired = compare.differences([*outcomes, *constant], seen, seed)
    cost = compare.costs(outcomes)
    robust = compare.robustness_table(outcomes, seen, seed)
    for name, frame in (("comparison", table), ("differences", paired), ("costs", cost), ("robustness", robust)):
        write_text(folder / f"{name}.csv", frame.to_csv(index=False))
    write_text(folder / "comparison.md", markdown(protocol, table, paired, best))
    software = _software(outcomes)
    record = {
        "title": protocol.title,
        "seen": protocol.train_methods,
        "seeds": protocol.seeds,
        "best_peer": best,
        "software": software,
        "table": json.loads(table.to_json(orient="records")),
        "differences": json.loads(paired.to_json(orient="records")),
        "costs": json.loads(cost.to_json(orient="records")),
        "robustness": json.loads(robust.to_json(orient="records")),
    }
    write_text(folder / "comparison.json", json.dumps(record, indent=2))
    finished = sorted({number for outcome in outcomes for number in outcome.results})
    return write_report(
        folder / "comparison.html",
        f"{protocol.title}: unseen manipulations",
        _sections(Comparison(outcomes, seen, table, paired, best, cost, robust), cells, folder),
        subtitle=f"Trained on {', '.join(seen)}; {len(outcomes)} models, seeds {', '.join(map(str, finished))}",
        provenance={
            "command": shlex.join(["lae-tf", *sys.argv[1:]]),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
            "cells made by": "; ".join(software),
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        },
    )


def _software(outcomes: Sequence[compare.Outcome]) -> list[str]:
    """Return the versions that the cells ran with, each once: numbers of two stacks or versions may differ."""
    known = [result.get("software") for outcome in outcomes for result in outcome.results.values()]
    said = {
        ", ".join(f"{name} {version}" for name, version in each.items()) if each else "not recorded" for each in known
    }
    return sorted(said)


def markdown(protocol: Protocol, table: pd.DataFrame, paired: pd.DataFrame, best: str | None) -> str:
    """Return the main table and the differences to the best peer, for a README."""
    others = {*protocol.train_methods, SEEN_MEAN, UNSEEN_MEAN, DROP}
    unseen_methods = ", ".join(method for method in dict.fromkeys(table["method"]) if method not in others)
    task = f"{protocol.title}: trained on {', '.join(protocol.train_methods)}; unseen {unseen_methods}"
    lines = [
        f"| {task} | seeds | seen acc. | unseen acc. | balanced | drop | unseen AUROC | unseen EER |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for model in table["model"].unique():
        rows = table[table["model"] == model].set_index("method")
        if UNSEEN_MEAN not in rows.index:
            continue
        unseen = rows.loc[UNSEEN_MEAN]
        cells = [
            f"{unseen['seeds']}",
            f"{100 * rows.loc[SEEN_MEAN, 'accuracy']:.1f}",
            _with_interval(100 * unseen[["accuracy", "accuracy_low", "accuracy_high"]], 1),
            f"{100 * unseen['balanced_accuracy']:.1f}",
            f"{100 * rows.loc[DROP, 'accuracy']:.1f}",
            _with_interval(unseen[["auroc", "auroc_low", "auroc_high"]], 3),
            f"{unseen['eer']:.3f}",
        ]
        name = f"**{model}**" if model == OWN else model
        lines.append(f"| {name} | {' | '.join(cells)} |")
    row = _difference(paired, best)
    if row is not None:
        lines += ["", f"LAE minus the best peer ({best}) in unseen accuracy: {_points(row)}."]
    row = _difference(paired, compare.ALWAYS_REAL)
    if row is not None:
        lines += ["", f"LAE minus calling every image real, in unseen accuracy: {_points(row)}."]
    return "\n".join(lines) + "\n"


def _with_interval(values: pd.Series, digits: int) -> str:
    value, low, high = (f"{number:.{digits}f}" for number in values)
    return value if values.isna().any() else f"{value} [{low}, {high}]"


def _difference(paired: pd.DataFrame, other: str | None) -> pd.Series | None:
    if other is None or paired.empty:
        return None
    rows = paired[(paired["model"] == f"{OWN} - {other}") & (paired["method"] == UNSEEN_MEAN)]
    return None if rows.empty else rows.iloc[0]


def _points(row: pd.Series) -> str:
    low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
    seeds = "1 shared seed" if row["seeds"] == 1 else f"{row['seeds']} shared seeds"
    interval = row["no_interval"] or f"95 % interval {low:+.1f} to {high:+.1f}"
    return f"{100 * row['accuracy']:+.1f} points ({interval}; {seeds})"


def _sections(said: Comparison, cells: Sequence[Cell], folder: Path) -> list[Section]:
    outcomes, seen, table, paired, best, cost, robust = said
    unseen = table[table["method"] == UNSEEN_MEAN]
    cards = []
    own = unseen[unseen["model"] == OWN]
    if len(own):
        row = own.iloc[0]
        cards.append(Card("LAE, unseen accuracy", f"{row['accuracy']:.3f}", f"AUROC {row['auroc']:.3f}"))
    if best is not None:
        row = unseen[unseen["model"] == best].iloc[0]
        cards.append(Card(f"Best peer: {best}", f"{row['accuracy']:.3f}", f"AUROC {row['auroc']:.3f}"))
    difference = _difference(paired, best)
    if difference is not None:
        cards.append(Card("LAE minus best peer, accuracy", f"{difference['accuracy']:+.3f}", _points(difference)))
    how = (
        "Accuracy at the threshold that each model chose on validation; AUROC and EER need none. Means over seeds; "
        "the 95 % intervals come from a bootstrap over groups and seeds, at the test set's ratio of fakes to real "
        "images, and with one seed know nothing of how much starts differ. Below ten groups there is no interval. "
        f"'{compare.ALWAYS_REAL}' is no model, but the accuracy of that one answer."
    )
    if table["model"].str.endswith(f"({EARLIER})").any():
        how += (
            f" Those of '{EARLIER}' were trained before, under another protocol: without the free forgeries, the "
            "degradations and the choice of a learning rate that the others had."
        )
    if best is not None:
        how += " The best peer is picked on the test images, in its own favour."
    bars = {
        str(model): {
            str(row["method"]): Interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"])
            for _, row in part.iterrows()
            if row["method"] != DROP
        }
        for model, part in table.groupby("model", sort=False)
    }
    figure = plots.bars_with_intervals(bars, "accuracy")
    summary = [
        Table(_narrow(table[table["method"] == name], _COLUMNS).drop(columns="method"), f"{name} of every model")
        for name in (UNSEEN_MEAN, SEEN_MEAN)
        if (table["method"] == name).any()
    ]
    pictures = [Picture.of(figure, "Accuracy.", "Accuracy of all models", wide=True)]
    drop = table[table["method"] == DROP]
    if len(drop):
        lost = {
            row["model"]: Interval(*row[["accuracy", "accuracy_low", "accuracy_high"]]) for _, row in drop.iterrows()
        }
        figure = plots.bars_with_intervals({"drop": lost}, "accuracy, seen minus unseen")
        pictures.append(Picture.of(figure, "Drop: what a model loses on unseen methods.", "Drop of all models"))
        narrow = _as_differences(_narrow(drop, _COLUMNS)).drop(columns="method")
        summary.append(Table(narrow, "drop: seen mean minus unseen mean"))
    sections = [
        Section("Result", how, cards=cards, tables=summary),
        Section("Each method", pictures=pictures),
        Section("ROC curves", pictures=_roc_pictures(outcomes, seen)),
    ]
    if len(paired):
        about = "Paired by image, by group draw and by seed: above zero LAE is better (EER: below zero)."
        means = paired[paired["method"].isin([UNSEEN_MEAN, SEEN_MEAN])]
        sections.append(Section("LAE against each", about, tables=[Table(_as_differences(means), "Differences")]))
    shown = ("iou", "pixel_auroc", *POSITION_COLUMNS, "pointing", "energy_inside")
    metrics = [name for name in shown if name in table]
    if metrics:
        about = ABOUT_POSITION if "prior_pixel_auroc" in metrics else ""
        located = table[table[metrics].notna().any(axis=1) & (table["method"] != DROP)]
        sections.append(
            Section("Where they look", about, tables=[Table(_narrow(located, metrics), "Attention against masks")])
        )
    if len(robust):
        sections.append(_robustness_section(robust))
    if examples := _panels(outcomes, cells, folder):
        about = "Test images chosen at even distances, not by result."
        heat = "attention of each model that localises, over the image in grey"
        sections.append(Section("The same images for all", about, heat=heat, examples=examples))
    details = table[~table["method"].isin([SEEN_MEAN, UNSEEN_MEAN, DROP])]
    sections.append(
        Section("Details", tables=[Table(_narrow(details, _COLUMNS), "Every method"), Table(cost, "Costs")])
    )
    return sections


_ROBUSTNESS = (
    "Seen and unseen fakes and as many real images, each degraded at its own size; the threshold stays where "
    "validation put it. The shift is how far the degradation moves the logit of real images."
)


def _narrow(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    columns = ["model", "method", "seeds", "no_interval"]
    for name in metrics:
        columns += [name, f"{name}_low", f"{name}_high"]
    return table[columns].reset_index(drop=True)


def _as_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Rename the metrics: the report tints what it knows as a metric, and a difference is none."""
    ends = ("", "_low", "_high")
    return table.rename(columns={f"{name}{end}": f"Δ {TITLES[name]}{end}" for name in _COLUMNS for end in ends})


def _roc_pictures(outcomes: Sequence[compare.Outcome], seen: Sequence[str]) -> list[Picture]:
    """One ROC plot per kind of method, the first seed of each model."""
    pictures = []
    for title, is_seen in (("unseen methods", False), ("seen methods", True)):
        curves = {}
        for outcome in outcomes:
            frame = outcome.frame[outcome.frame["seed"] == outcome.frame["seed"].iloc[0]]
            part = frame[(frame["label"] == 0) | (frame["method"].isin(list(seen)) == is_seen)]
            if part["label"].nunique() == 2:
                curves[outcome.model] = (part["label"], part["score"])
        if curves:
            figure = plots.roc_curves(curves)
            pictures.append(Picture.of(figure, f"ROC on {title}, first seed.", f"ROC curves on {title}"))
    return pictures


def _robustness_section(robust: pd.DataFrame) -> Section:
    """Return what each degradation does to unseen fakes and to real images: a table and two plots."""
    unseen = robust[robust["method"] == UNSEEN_MEAN]
    pictures = []
    for metric in ("auroc", "false_alarms"):
        curves = {
            str(model): {
                str(row["degradation"]): Interval(*(row[f"{metric}{end}"] for end in ("", "_low", "_high")))
                for _, row in part.iterrows()
            }
            for model, part in unseen.groupby("model", sort=False)
        }
        title = "unseen mean, AUROC" if metric == "auroc" else "real images called fake"
        figure = plots.dots_with_intervals(curves, title)
        caption = f"{title[:1].upper()}{title[1:]}, under each degradation."
        pictures.append(Picture.of(figure, caption, f"{title} of all models by degradation"))
    columns = ["degradation", "model", "no_interval"]
    for name in ("auroc", "accuracy", "matched_pixel_auroc", "false_alarms", "logit_shift"):
        if name in unseen and unseen[name].notna().any():
            columns += [name, f"{name}_low", f"{name}_high"]
    table = Table(unseen[columns], f"{UNSEEN_MEAN} under each degradation", sortable=True)
    return Section("Robustness", _ROBUSTNESS, tables=[table], pictures=pictures)


def _panels(outcomes: Sequence[compare.Outcome], cells: Sequence[Cell], folder: Path) -> list[Example]:
    """Show the kept images with the attention of every model that localises, from its first seed."""
    maps: dict[str, np.ndarray] = {}
    images = masks = rows = None
    for outcome in outcomes:
        first = min(outcome.results)
        cell = next(c for c in cells if c.shown == outcome.model and c.seed == first)
        kept = folder / "cells" / cell.name / PANELS
        if not kept.is_file():
            continue  # published cells hold no images
        with np.load(kept, allow_pickle=False) as arrays:
            if "attention" not in arrays:
                continue
            images, masks, rows = arrays["images"], arrays["masks"], arrays["rows"]
            maps[outcome.model] = arrays["attention"] / 255.0
    if images is None or masks is None or rows is None:
        return []
    frame = outcomes[0].frame
    examples = []
    for i, row in enumerate(rows):
        shots = [Shot.of(images[i], "input"), Shot.of(masks[i], "mask")]
        shots += [Shot.of(overlay(images[i] / 255.0, attention[i]), model) for model, attention in maps.items()]
        examples.append(Example(shots, frame["method"].iloc[row] or "real"))
    return examples
