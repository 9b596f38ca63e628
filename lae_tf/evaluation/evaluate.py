"""Evaluation of a run on manifests: seen and unseen manipulations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError, LAEError
from lae_tf.evaluation.degraded import degradation_table, score_degraded, with_false_alarms
from lae_tf.evaluation.overlap import check_overlap
from lae_tf.evaluation.position import Array, position_prior
from lae_tf.evaluation.scoring import Conditions, score_manifest
from lae_tf.evaluation.tables import evaluation_table, method_statistic
from lae_tf.metrics.decision import MODELS_OWN, Threshold
from lae_tf.metrics.verdict import ConformalBounds, verdicts_of
from lae_tf.model.lae import LAE
from lae_tf.training.run import Run
from lae_tf.training.training_data import training_manifest


@dataclass(frozen=True)
class Evaluation:
    """One run on one set of images.

    Attributes:
        frame: one row per image, see ``scoring.score_manifest``, with its verdict.
        table: one row per method and level, see ``tables.evaluation_table``.
        localisation: means over the images and the pooled pixel AUROC.
        degraded: of ``degraded.degradation_table``; None where degradations were not asked for.
        no_prior: why there is no position prior; "" where there is one.
        threshold: of the decision.
        threshold_from: where it came from.
        bounds: of the verdicts.
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
    degraded: pd.DataFrame | None
    no_prior: str
    threshold: float
    threshold_from: str
    bounds: ConformalBounds
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
    degradations: Sequence[str] = (),
) -> Evaluation:
    """Score one split of one or several manifests with a trained run.

    Args:
        run: the trained run.
        manifests: what to score.
        split: of them.
        batch_size: images a step.
        threshold: in place of the model's.
        degradations: names of ``lae_tf.forge.degradations.DEGRADATIONS``, under each of which the images are scored
            anew.

    Raises:
        LAEError: the split is empty, or holds images that the run was trained or calibrated on.
    """
    manifest, cautions = gather(manifests, split)
    trained = _trained_on(run)
    if split == "test" and trained is not None:
        cautions += check_overlap(manifest.frame, trained.frame)
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
    prior, no_prior = _prior(run, trained, model)
    conditions = Conditions(prior)
    frame, localisation = score_manifest(model, manifest, run.image_cache, batch_size, conditions=conditions)
    threshold = threshold or Threshold(float(model.calibration.threshold), MODELS_OWN)
    bounds = model.calibration.bounds
    seed = run.config.seed

    def judged(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(verdict=verdicts_of(frame["score"], threshold.value, bounds))

    frame = judged(frame)
    table = evaluation_table(frame, threshold.value, seen, seed=seed)

    def score(name: str) -> pd.DataFrame:
        harsher = conditions._replace(degradation=name, seed=seed)
        return judged(score_manifest(model, manifest, run.image_cache, batch_size, name, harsher)[0])

    degraded = None
    if degradations:
        frames = score_degraded(frame, degradations, score)
        frames = {name: with_false_alarms(scores, threshold.value) for name, scores in frames.items()}
        degraded = degradation_table(frames, method_statistic(threshold.value, seen), seen, seed=seed)
    return Evaluation(
        frame=frame,
        table=table,
        localisation=localisation,
        degraded=degraded,
        no_prior=no_prior,
        threshold=threshold.value,
        threshold_from=threshold.source,
        bounds=bounds,
        seen=seen,
        manifest=manifest,
        files=tuple(map(str, manifests)),
        split=split,
        overlap_checked=split == "test" and trained is not None,
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


def _trained_on(run: Run) -> Manifest | None:
    """Return what the run was trained and calibrated on; None where it cannot be read any more."""
    try:
        return training_manifest(run.config)
    except LAEError:
        return None


def _prior(run: Run, trained: Manifest | None, model: LAE) -> tuple[Array | None, str]:
    """Return the position prior of the run's masks, or why there is none."""
    if trained is None:
        return None, f"There is no position prior: {run.config.data.manifest} cannot be read any more."
    try:
        prior = position_prior(trained, model.image_size, model.view)
    except ImageError as error:
        return None, f"There is no position prior: {error}"
    return prior, "" if prior is not None else "There is no position prior: training had no masks."
