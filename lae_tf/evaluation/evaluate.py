"""Evaluation of a run on manifests: seen and unseen manipulations side by side, as a table and as a page."""

from __future__ import annotations

import datetime
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lae_tf.atomic import write_text
from lae_tf.data.ingestion import ingest
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.decision import MODELS_OWN, Threshold
from lae_tf.errors import LAEError
from lae_tf.evaluation import panels, plots
from lae_tf.evaluation.overlap import check_overlap
from lae_tf.evaluation.report import Picture, Section, evaluation_sections, write_report
from lae_tf.evaluation.scoring import example_rows, score_manifest
from lae_tf.evaluation.tables import (
    csv_table,
    evaluation_table,
    json_table,
    markdown_table,
)
from lae_tf.model.lae import LAE
from lae_tf.training.records import read_record
from lae_tf.training.run import Run
from lae_tf.training.stages import training_manifest


@dataclass(frozen=True)
class Evaluation:
    """One run on one set of images.

    Attributes:
        frame: one row per image, see ``scoring.score_manifest``.
        table: one row per method and level, see ``tables.evaluation_table``.
        localisation: means over the images and the pooled pixel AUROC.
        threshold: of the decision.
        threshold_from: where it came from.
        seen: methods that training used.
        manifest: what was scored.
        files: the manifests that it was read from.
        split: of them.
        overlap_checked: whether test images could be looked for among the training images; they could not where the
            training manifest can no longer be read.
        cautions: sentences on what the numbers cannot vouch for.
    """

    frame: pd.DataFrame
    table: pd.DataFrame
    localisation: dict[str, float]
    threshold: float
    threshold_from: str
    seen: tuple[str, ...]
    manifest: Manifest
    files: tuple[str, ...]
    split: str
    overlap_checked: bool
    cautions: tuple[str, ...]

    def summary(self, name: str, level: str = "image") -> pd.Series | None:
        """Return one row of the table by its method or summary name, None where there is none."""
        rows = self.table[(self.table["method"] == name) & (self.table["level"] == level)]
        return None if rows.empty else rows.iloc[0]


def evaluate_run(
    run: Run,
    manifests: Sequence[str | Path],
    split: str = "test",
    batch_size: int = 32,
    threshold: Threshold | None = None,
) -> Evaluation:
    """Score one split of one or several manifests with a trained run.

    Args:
        run: the trained run.
        manifests: what to score.
        split: of them.
        batch_size: images a step.
        threshold: in place of the model's.

    Raises:
        LAEError: the split is empty, or holds images that the run was trained or calibrated on.
    """
    manifest, cautions = gather(manifests, split)
    trained = _training_frame(run) if split == "test" else None
    if trained is not None:
        cautions += check_overlap(manifest.frame, trained)
    elif split == "test":
        cautions.append(
            f"{run.config.data.manifest} cannot be read any more, so that test images could not be looked for among "
            "those of training."
        )
    else:
        cautions.append(
            f"These are images of the split '{split}': on those that a run was trained or calibrated with, numbers say "
            "little about new ones."
        )
    seen = tuple(run.require_json("data.json")["methods"])
    model = run.load_model()
    frame, meter = score_manifest(model, manifest, run.image_cache, batch_size)
    threshold = threshold or Threshold(float(model.calibration.threshold), MODELS_OWN)
    table = evaluation_table(frame, threshold.value, seen, seed=run.config.seed)
    return Evaluation(
        frame=frame,
        table=table,
        localisation=meter.result(),
        threshold=threshold.value,
        threshold_from=threshold.source,
        seen=seen,
        manifest=manifest,
        files=tuple(map(str, manifests)),
        split=split,
        overlap_checked=trained is not None,
        cautions=tuple(cautions),
    )


def gather(manifests: Sequence[str | Path], split: str) -> tuple[Manifest, list[str]]:
    """Join one split of several manifests, and say what is doubtful about it.

    An image that stands in two of them counts once.

    Raises:
        LAEError: the split is empty.
    """
    parts = [Manifest.read(path).select(split=split) for path in manifests]
    whole = pd.concat([part.frame.assign(part=number) for number, part in enumerate(parts)])
    frame = whole.drop_duplicates("path").reset_index(drop=True)
    if frame.empty:
        raise LAEError(f"no images in split '{split}' of {', '.join(map(str, manifests))}.")
    named = frame[frame["group"] != ""].groupby("group", sort=False)["part"].nunique()
    shared = named.index[named > 1]
    cautions = []
    if len(shared):
        cautions.append(
            f"{len(shared)} groups, the first is '{shared[0]}', have images in several manifests and count as one "
            "each: intervals are wrong if they name different sources."
        )
    return Manifest(frame.drop(columns="part"), parts[0].root), cautions


def _training_frame(run: Run) -> pd.DataFrame | None:
    """Return the rows that the run was trained and calibrated on; None where they cannot be read any more."""
    try:
        return training_manifest(run.config).frame
    except LAEError:
        return None


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
    """Write predictions.csv, evaluation.csv, .json and .md, and report.html; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "predictions.csv", evaluation.frame.to_csv(index=False))
    write_text(folder / "evaluation.csv", csv_table(evaluation.table))
    write_text(folder / "evaluation.md", markdown_table(evaluation.table))
    record = {
        "threshold": evaluation.threshold,
        "threshold_from": evaluation.threshold_from,
        "model_sha256": run.model_digest(),
        "seen": evaluation.seen,
        "manifests": _absolute(evaluation.files),
        "split": evaluation.split,
        "overlap_checked": evaluation.overlap_checked,
        "cautions": evaluation.cautions,
        "localisation": {name: None if np.isnan(value) else value for name, value in evaluation.localisation.items()},
        "table": json.loads(json_table(evaluation.table)),
    }
    write_text(folder / "evaluation.json", json.dumps(record, indent=2))
    data = run.require_json("data.json")
    environment = run.require_json("environment.json")
    split = [] if evaluation.split == "test" else ["--split", evaluation.split]
    threshold = [] if evaluation.threshold_from == MODELS_OWN else ["--threshold", f"{evaluation.threshold:.9g}"]
    return write_report(
        folder / "report.html",
        title or f"Evaluation of {run.path.name}",
        report_sections(run, evaluation),
        subtitle=(
            f"{len(evaluation.frame)} images of the split '{evaluation.split}'; trained on "
            f"{', '.join(evaluation.seen)}; masks for {100 * data['mask_budget']:.2f} % of the training images"
        ),
        provenance={
            "command": shlex.join(["lae-tf", "evaluate", str(run.path), *evaluation.files, *split, *threshold]),
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
    sections += evaluation_sections(evaluation.table)
    separation = [
        Picture(
            plots.png(plots.roc_curves(curves, dashed=unseen)),
            "ROC curves; unseen methods are dashed.",
            "ROC curve of each manipulation with its AUROC",
        ),
        Picture(
            plots.png(plots.score_histogram(histograms, reals["score"], evaluation.threshold)),
            "Scores of fakes per method, real images in grey, and the threshold of the decision.",
            "Histogram of scores of each manipulation against real images",
        ),
    ]
    sections.append(Section("How well they separate", pictures=separation))
    history = run.read_metrics()
    if history:
        curve = Picture(
            plots.png(plots.training_curves(history)), "Training, epoch by epoch.", "Losses and metrics", True
        )
        sections.append(Section("Training", pictures=[curve]))
    rows = panel_rows(run.load_model(), evaluation, run.image_cache)
    figure = plots.png(panels.panel(rows, evaluation.threshold))
    caption = "Input, reconstruction, attention and mask of images chosen at even distances, not by result."
    sections.append(Section("Examples", pictures=[Picture(figure, caption, "Heatmap panels", wide=True)]))
    return sections


def panel_rows(model: LAE, evaluation: Evaluation, image_cache: Path) -> list[panels.PanelRow]:
    """Return panels of a few images of each method and of the reals, at even distances in the manifest."""
    chosen = example_rows(evaluation.frame)
    subset = Manifest(evaluation.manifest.frame.iloc[chosen].reset_index(drop=True), evaluation.manifest.root)
    decodable = subset.with_files(lambda files: ingest(files, image_cache, progress=False))
    rows: list[panels.PanelRow] = []
    for batch in evaluation_dataset(decodable, model.preprocessor, 16):
        outputs = {name: np.asarray(value) for name, value in model.predict_on_batch(batch["image"]).items()}
        for i in range(len(outputs["score"])):
            method = subset.frame["method"][len(rows)] or "real"
            rows.append(
                panels.PanelRow(
                    image=batch["image"][i].numpy(),
                    reconstruction=outputs["reconstruction"][i],
                    attention=outputs["attention"][i],
                    mask=batch["mask"][i, ..., 0].numpy() if batch["mask_weight"][i, 0] else None,
                    score=float(outputs["score"][i, 0]),
                    label=int(batch["label"][i, 0]),
                    name=method,
                )
            )
    return rows
