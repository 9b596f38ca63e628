"""Evaluation of a run on manifests: seen and unseen manipulations side by side, as a table and as a page."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lae_tf.data.ingestion import ingest
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.errors import LAEError
from lae_tf.evaluation import panels, plots
from lae_tf.evaluation.report import Picture, Section, evaluation_sections, write_report, write_text
from lae_tf.evaluation.scoring import example_rows, score_manifest
from lae_tf.evaluation.tables import (
    csv_table,
    evaluation_table,
    json_table,
    markdown_table,
)
from lae_tf.model.lae import LAE
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
        seen: methods that training used.
        manifest: what was scored.
        overlap_checked: whether test images could be looked for among the training images; they could not where the
            training manifest is no longer.
    """

    frame: pd.DataFrame
    table: pd.DataFrame
    localisation: dict[str, float]
    threshold: float
    seen: tuple[str, ...]
    manifest: Manifest
    overlap_checked: bool

    def summary(self, name: str, level: str = "image") -> pd.Series | None:
        """Return one row of the table by its method or summary name, None where there is none."""
        rows = self.table[(self.table["method"] == name) & (self.table["level"] == level)]
        return None if rows.empty else rows.iloc[0]


def evaluate_run(run: Run, manifests: Sequence[str | Path], split: str = "test", batch_size: int = 32) -> Evaluation:
    """Score one split of one or several manifests with a trained run.

    Raises:
        LAEError: the split is empty, or holds images that the run was trained or calibrated on.
    """
    manifest = gather(run, manifests, split)
    model = run.load_model()
    frame, meter = score_manifest(model, manifest, run.image_cache, batch_size)
    seen = tuple(run.read_json("data.json")["methods"])
    threshold = float(model.calibration.threshold)
    table = evaluation_table(frame, threshold, seen, seed=run.config.seed)
    checked = split == "test" and Path(run.config.data.manifest).is_file()
    return Evaluation(frame, table, meter.result(), threshold, seen, manifest, checked)


def gather(run: Run, manifests: Sequence[str | Path], split: str) -> Manifest:
    """Join one split of several manifests; an image that stands in two of them counts once.

    Raises:
        LAEError: as :func:`evaluate_run`.
    """
    parts = [Manifest.read(path).select(split=split) for path in manifests]
    frame = pd.concat([part.frame for part in parts]).drop_duplicates("path").reset_index(drop=True)
    if frame.empty:
        raise LAEError(f"no images in split '{split}' of {', '.join(map(str, manifests))}.")
    if split == "test" and Path(run.config.data.manifest).is_file():
        leaked = frame.loc[frame["path"].isin(training_manifest(run.config).frame["path"]), "path"]
        if len(leaked):
            raise LAEError(
                f"{len(leaked)} test images were used in training, the first is {leaked.iloc[0]}; "
                "numbers on them would mean nothing. Remove them from the manifest's test split."
            )
    return Manifest(frame, parts[0].root)


def write_evaluation(run: Run, evaluation: Evaluation, folder: Path, title: str = "") -> Path:
    """Write predictions.csv, evaluation.csv, .json and .md, and report.html; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "predictions.csv", evaluation.frame.to_csv(index=False))
    write_text(folder / "evaluation.csv", csv_table(evaluation.table))
    write_text(folder / "evaluation.md", markdown_table(evaluation.table))
    record = {
        "threshold": evaluation.threshold,
        "seen": evaluation.seen,
        "overlap_checked": evaluation.overlap_checked,
        "localisation": {name: None if np.isnan(value) else value for name, value in evaluation.localisation.items()},
        "table": json.loads(json_table(evaluation.table)),
    }
    write_text(folder / "evaluation.json", json.dumps(record, indent=2))
    data = run.read_json("data.json")
    environment = run.read_json("environment.json")
    return write_report(
        folder / "report.html",
        title or f"Evaluation of {run.path.name}",
        report_sections(run, evaluation),
        subtitle=f"Trained on {', '.join(evaluation.seen)}; masks for {100 * data['mask_budget']:.2f} % of the images",
        provenance={
            "command": shlex.join(["lae-tf", "evaluate", str(run.path), "MANIFEST"]),
            "seed": str(run.config.seed),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
            "stack": f"{environment['stack']} (TensorFlow {environment['tensorflow']}, Keras {environment['keras']})",
            "data": f"{data['sha256'][:16]}",
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
    sections = evaluation_sections(evaluation.table)
    separation = [
        Picture(
            plots.png(plots.roc_curves(curves, dashed=unseen)),
            "ROC curves; unseen methods are dashed.",
            "ROC curve of each manipulation with its AUROC",
        ),
        Picture(
            plots.png(plots.score_histogram(histograms, reals["score"], evaluation.threshold)),
            "Scores of fakes per method, real images in grey, and the threshold chosen on validation.",
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
    caption = "Input, reconstruction, attention and mask of test images chosen at even distances, not by result."
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
