"""The files of an evaluation: predictions, tables, and one page from the answer down to the worst errors."""

from __future__ import annotations

import datetime
import json
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lae_tf.evaluation.degradation_section import DEGRADATIONS_FILE, degradation_section
from lae_tf.evaluation.evaluate import Evaluation
from lae_tf.evaluation.examples import example, look_at
from lae_tf.evaluation.formats import DETECTION_SHOWN, csv_table, json_table, markdown_table
from lae_tf.evaluation.localisation import LOCALISATION_METRICS
from lae_tf.evaluation.scoring import example_rows
from lae_tf.files.atomic import write_text
from lae_tf.images.files import printable
from lae_tf.metrics.abstention import ABSTENTION_METRICS
from lae_tf.metrics.decision import MODELS_OWN
from lae_tf.metrics.names import DROP, SEEN_MEAN, UNSEEN_MEAN
from lae_tf.metrics.verdict import NO_BOUNDS
from lae_tf.report import plots
from lae_tf.report.page import Card, Picture, Section, Table, write_report
from lae_tf.training.records import read_record
from lae_tf.training.run import Run

PREDICTIONS = "predictions.csv"
WORST = 8
"""Real images, and fakes, in the gallery of the worst errors."""
LISTED = 2000
"""Predictions in the page's own table; the file holds all."""


def report_folder(run: Run, evaluation: Evaluation) -> Path:
    """Return the run's folder for a report: that of the same manifests, split and threshold, or the first free one."""
    name = "report" if evaluation.split == "test" else f"report-{evaluation.split}"
    number = 1
    while True:
        folder = run.path / (name if number == 1 else f"{name}-{number}")
        record = folder / "evaluation.json"
        if not record.is_file():
            return folder
        earlier = read_record(record, record.name)
        # Reports of older versions name neither.
        same_files = earlier.get("manifests") in (None, _absolute(evaluation.files))
        if same_files and earlier.get("threshold_from", MODELS_OWN) == evaluation.threshold_from:
            return folder
        number += 1


def _absolute(files: Sequence[str]) -> list[str]:
    return [os.path.abspath(file) for file in files]


def write_evaluation(run: Run, evaluation: Evaluation, folder: Path, title: str = "") -> Path:
    """Write predictions.csv, evaluation.csv, .json and .md, report.html, and degradations.csv if they were measured.

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PREDICTIONS, evaluation.frame.to_csv(index=False))
    write_text(folder / "evaluation.csv", csv_table(evaluation.table))
    write_text(folder / "evaluation.md", markdown_table(evaluation.table))
    degraded = evaluation.degraded
    if degraded is None:
        (folder / DEGRADATIONS_FILE).unlink(missing_ok=True)  # of an earlier evaluation
    else:
        write_text(folder / DEGRADATIONS_FILE, csv_table(degraded))
    record = {
        "threshold": evaluation.threshold,
        "threshold_from": evaluation.threshold_from,
        "bounds": evaluation.bounds._asdict(),
        "model_sha256": run.model_digest(),
        "seen": evaluation.seen,
        "manifests": _absolute(evaluation.files),
        "split": evaluation.split,
        "overlap_checked": evaluation.overlap_checked,
        "cautions": evaluation.cautions,
        "no_prior": evaluation.no_prior,
        "localisation": {name: None if np.isnan(value) else value for name, value in evaluation.localisation.items()},
        "table": json.loads(json_table(evaluation.table)),
        "degradations": None if degraded is None else json.loads(json_table(degraded)),
    }
    write_text(folder / "evaluation.json", json.dumps(record, indent=2))
    data = run.require_json("data.json")
    environment = run.require_json("environment.json")
    options = [] if evaluation.split == "test" else ["--split", evaluation.split]
    if evaluation.threshold_from != MODELS_OWN:
        options += ["--threshold", f"{evaluation.threshold:.9g}"]
    if degraded is not None:
        options += ["--degrade", ",".join(dict.fromkeys(degraded["degradation"]))]
    return write_report(
        folder / "report.html",
        title or f"Evaluation of {run.path.name}",
        report_sections(run, evaluation),
        subtitle=(
            f"{len(evaluation.frame)} images of the split '{evaluation.split}'; trained on "
            f"{', '.join(evaluation.seen)}; masks for {100 * data['mask_budget']:.2f} % of the training images"
        ),
        provenance={
            "command": shlex.join(["lae-tf", "evaluate", str(run.path), *evaluation.files, *options]),
            "seed": str(run.config.seed),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
            "stack": f"{environment['stack']} (TensorFlow {environment['tensorflow']}, Keras {environment['keras']})",
            "data": f"{evaluation.manifest.digest()[:16]}, trained on {data['sha256'][:16]}",
        },
    )


def report_sections(run: Run, evaluation: Evaluation) -> list[Section]:
    """Return the page from the answer down to the details."""
    frame = evaluation.frame
    reals = frame[frame["label"] == 0]
    curves, histograms = {}, {}
    for method, fakes in frame[frame["label"] == 1].groupby("method", sort=False):
        name = str(method)
        both = pd.concat([reals, fakes])
        curves[name] = (both["label"], both["score"])
        histograms[name] = fakes["score"]
    unseen = [name for name in curves if name not in evaluation.seen]
    sections = [Section("Read with care", "\n\n".join(evaluation.cautions))] if evaluation.cautions else []
    sections += evaluation_sections(evaluation.table, evaluation.no_prior)
    sections += verdict_sections(evaluation)
    separation = [
        Picture.of(
            plots.roc_curves(curves, dashed=unseen),
            "ROC curves; unseen methods are dashed.",
            "ROC curve of each manipulation with its AUROC",
        ),
        Picture.of(
            plots.score_histogram(histograms, reals["score"], evaluation.threshold),
            "Scores of fakes per method, real images in grey, and the threshold of the decision.",
            "Histogram of scores of each manipulation against real images",
        ),
    ]
    sections.append(Section("How well they separate", pictures=separation))
    if evaluation.degraded is not None:
        sections.append(degradation_section(evaluation.degraded, evaluation.threshold))
    history = run.read_metrics()
    if history:
        curve = Picture.of(plots.training_curves(history), "Training, epoch by epoch.", "Losses and metrics", True)
        sections.append(Section("Training", pictures=[curve]))
    return [*sections, *_image_sections(run, evaluation), _predictions(evaluation)]


_HEAT = "attention over the image in grey: the brighter, the more the decision rests on it"


def _image_sections(run: Run, evaluation: Evaluation) -> list[Section]:
    """Return the worst errors of each kind, and examples that were chosen without looking at the result."""
    alarms, missed = worst_rows(evaluation.frame)
    chosen = example_rows(evaluation.frame)
    rows = list(dict.fromkeys([*alarms, *missed, *chosen]))
    looks = look_at(run.load_model(), evaluation.manifest, rows, run.image_cache)
    seen = {row: example(one, evaluation.threshold) for row, one in zip(rows, looks, strict=True)}
    kinds = [
        ("Real images with the highest scores", alarms, "What makes the model call a real image fake?"),
        ("Fakes with the lowest scores", missed, "What does the model overlook?"),
        ("Examples", chosen, "Images chosen at even distances, not by result."),
    ]
    return [
        Section(heading, text, heat=_HEAT, examples=[seen[row] for row in chosen_rows])
        for heading, chosen_rows, text in kinds
        if chosen_rows
    ]


def worst_rows(frame: pd.DataFrame, count: int = WORST) -> tuple[list[int], list[int]]:
    """Return the rows of the real images with the highest scores and of the fakes with the lowest, worst first."""
    ordered = frame.sort_values("score", kind="stable")
    reals, fakes = (ordered.index[ordered["label"] == label] for label in (0, 1))
    return reals[::-1][:count].tolist(), fakes[:count].tolist()


def _predictions(evaluation: Evaluation) -> Section:
    """Return the table of single images, the worst first."""
    frame = evaluation.frame
    is_fake, called = frame["label"] == 1, frame["score"] >= evaluation.threshold
    table = pd.DataFrame(
        {
            "image": [printable(path) for path in evaluation.manifest.relative_paths()],
            "is": np.where(is_fake, "fake", "real"),
            "method": frame["method"],
            "group": frame["group"],
            "score": frame["score"].astype(float),
            "called": np.where(called, "fake", "real"),
            "verdict": frame["verdict"],
            "result": np.select([is_fake == called, is_fake], ["right", "missed"], "false alarm"),
            "error": np.abs(frame["label"] - frame["score"]).astype(float),
        }
    ).sort_values("error", ascending=False, kind="stable")
    shown = f"The {LISTED:,} of {len(table):,} images with the largest error" if len(table) > LISTED else "All images"
    return Section(
        "Every image",
        f"{shown}; error is how far the score is from 0 (real) or 1 (fake). A click on a heading sorts.",
        links={PREDICTIONS: "all predictions as CSV", "evaluation.csv": "the tables above as CSV"},
        tables=[Table(table.head(LISTED), "Predictions, the largest error first", sortable=True)],
    )


_LOCALISATION = (
    "Attention against the mask, on fakes whose mask is known; the false-alarm area is the share of a real image that "
    "attention marks (lower is better)."
)
ABOUT_POSITION = (
    "A pixel AUROC below the position prior, that of the mean training mask as one map for every image, says nothing. "
    "The matched pixel AUROC compares attention at forged pixels with attention at the same pixels of the real test "
    "images: 0.5 is a map that only knows where forgeries usually are."
)


def evaluation_sections(table: pd.DataFrame, no_prior: str = "") -> list[Section]:
    """The answer first, then the tables: sections of an `evaluation_table`, per split.

    Args:
        table: of an evaluation.
        no_prior: why there is no position prior, see `Evaluation`.
    """
    sections = []
    splits = list(dict.fromkeys(table["split"]))
    for split in splits:
        part = table[table["split"] == split]
        where = f" ({split})" if len(splits) > 1 else ""
        text = (
            "Each row takes the fakes of one manipulation together with all real images of the split. "
            "Below each value stands its 95 % bootstrap interval over groups, where there are at least ten. The "
            "stronger the tint, the better. Drop is the mean of the seen manipulations minus that of the unseen ones."
        )
        captions = {"image": "Each image by itself", "group": "Mean score over the images of a group"}
        detection = [
            Table(_shown(part[part["level"] == level], DETECTION_SHOWN), caption)
            for level, caption in captions.items()
            if (part["level"] == level).any()
        ]
        if cards := _cards(part):
            sections.append(Section(f"Results{where}", cards=cards))
        sections.append(Section(f"Detection{where}", text, tables=detection))
        localisation = _shown(part[part["level"] == "image"], LOCALISATION_METRICS)
        if any(name in localisation for name in LOCALISATION_METRICS):
            tables = [Table(localisation, "Mean over images")]
            about = f"{_LOCALISATION}\n\n{ABOUT_POSITION} {no_prior}".rstrip()
            sections.append(Section(f"Where the model looks{where}", about, tables=tables))
    return sections


def verdict_sections(evaluation: Evaluation) -> list[Section]:
    """How often the verdict is unsure, and how right the others are; nothing for a model that is never unsure."""
    bounds, threshold = evaluation.bounds, evaluation.threshold
    if bounds == NO_BOUNDS:
        return []
    rate = f"{100 * bounds.error_rate:.3g} %"
    text = (
        f"The verdict is real below {min(threshold, bounds.lowest_fake):.3f}, fake above "
        f"{max(threshold, bounds.highest_real):.3f}, and unsure between. Validation chose this so that of new images "
        f"like its own at most {rate} of the real ones are called fake, and at most {rate} of the fakes real; unseen "
        "manipulations are not like its own. Accuracy of the sure is the share of right verdicts among the others."
    )
    images = evaluation.table[evaluation.table["level"] == "image"]
    return [
        Section("Where it is unsure", text, tables=[Table(_shown(images, ABSTENTION_METRICS), "Each image by itself")])
    ]


def _cards(table: pd.DataFrame) -> list[Card]:
    rows = {row["method"]: row for row in table[table["level"] == "image"].to_dict("records")}
    wanted = [
        ("Accuracy, seen manipulations", SEEN_MEAN, "accuracy"),
        ("Accuracy, unseen manipulations", UNSEEN_MEAN, "accuracy"),
        ("Accuracy lost on unseen", DROP, "accuracy"),
        ("AUROC, seen", SEEN_MEAN, "auroc"),
        ("AUROC, unseen", UNSEEN_MEAN, "auroc"),
        ("Pixel AUROC of attention, unseen", UNSEEN_MEAN, "pixel_auroc"),
        ("Matched pixel AUROC, unseen", UNSEEN_MEAN, "matched_pixel_auroc"),
    ]
    if not math.isnan(rows.get(UNSEEN_MEAN, {}).get("matched_pixel_auroc", math.nan)):
        wanted.pop(-2)  # by itself it may say no more than where forgeries usually are
    cards = []
    for label, method, metric in wanted:
        row = rows.get(method, {})
        if not math.isnan(row.get(metric, math.nan)):
            low, high = row[f"{metric}_low"], row[f"{metric}_high"]
            note = row["no_interval"] if math.isnan(low) else f"{low:.3f} to {high:.3f} (95 %)"
            cards.append(Card(label, f"{row[metric]:.3f}", note))
    return cards


def _shown(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Method, state, those metrics that are defined somewhere with their intervals, and the counts."""
    columns = ["method", "no_interval", "seen"]
    for name in metrics:
        if name in table and table[name].notna().any():
            columns += [name, f"{name}_low", f"{name}_high"]
    return table[[*columns, "reals", "fakes"]]
