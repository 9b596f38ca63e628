"""Whether labels can be told from what has nothing to do with forging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from lae_tf.audit.findings import Finding, finding
from lae_tf.metrics.detection import Interval, bootstrap_intervals, too_few, weighted_metrics

LIMIT = 0.65
"""AUROC from which a give-away is reported, if its interval excludes 0.5. Our choice."""

_FEWEST = 20  # images of each label, and of a method
_FEWEST_GROUPS = 5
_MOST = 5_000  # images that the classifier sees
_FOLDS = 5
_DRAWS = 400
ALL_FAKES = "all fakes"


@dataclass(frozen=True)
class Kind:
    """A kind of give-away: the columns of the facts that make it up, how grave it is, and what to do."""

    features: tuple[str, ...]
    severity: Literal["fault", "warning"]
    advice: str


_SAVE_ALIKE = "Save real and fake images in one and the same way, the real ones through the same program"
KINDS: Mapping[str, Kind] = {
    "file size": Kind(
        ("bytes", "bytes_per_pixel"),
        "warning",
        "Never feed it to a detector. Forgeries may simply compress otherwise, lossless PNG above all.",
    ),
    "file format": Kind(("is_jpeg", "is_png", "progressive", "subsampling", "exif", "icc"), "fault", f"{_SAVE_ALIKE}."),
    "JPEG tables": Kind(
        ("jpeg_quality", "luma_dc", "chroma_sum", "tables"),
        "fault",
        f"{_SAVE_ALIKE} and with the same quality: its traces are in the pixels.",
    ),
    "dimensions": Kind(
        ("width", "height", "aspect", "pixels"),
        "fault",
        "Cut or scale real and fake images to the same sizes: resizing them for the network leaves other traces.",
    ),
    "compression traces": Kind(
        ("blockiness",),
        "fault",
        f"{_SAVE_ALIKE}: some were JPEG of another quality, whatever their files are now.",
    ),
    "colour": Kind(
        ("red", "green", "blue", "saturation", "contrast"),
        "warning",
        "Make sure that real and fake images show the same kinds of scenes; edits of whole images may do it by "
        "themselves.",
    ),
    "sharpness": Kind(
        ("laplacian", "gradient", "noise"),
        "warning",
        "Make sure that real and fake images have one history of scaling and compression; forging may also do this by "
        "itself.",
    ),
}


@dataclass(frozen=True)
class Predictability:
    """How well one kind of give-away tells fakes from real images.

    Attributes:
        kind: a key of ``KINDS``.
        fakes: a method's name, or ``all fakes``.
        auroc: of a classifier on images of groups that it was not fitted on, with an interval over groups; 95 % for
            all rows together (Bonferroni).
        strongest: the feature that ranks labels best by itself.
        medians: of that feature in fakes and in real images.
        groups: of the fakes or of the real images, whichever are fewer.
    """

    kind: str
    fakes: str
    auroc: Interval
    strongest: str
    medians: tuple[float, float]
    groups: int

    @property
    def shown(self) -> Interval:
        """The AUROC, its bounds NaN where there are too few groups for an interval."""
        return Interval(self.auroc.value, np.nan, np.nan) if too_few(self.groups) else self.auroc

    @property
    def tells(self) -> bool:
        """Whether this is a give-away."""
        return self.auroc.value >= LIMIT and self.auroc.low > 0.5


def measure_giveaways(facts: pd.DataFrame, seed: int = 0) -> list[Predictability]:
    """Fit a small decision tree on each kind of give-away, cross-validated by group.

    Args:
        facts: of ``read_facts``; of more than 5,000 images so many are drawn at random.
        seed: of the draw, the folds, the trees and the bootstrap.

    Returns:
        One entry per kind for all fakes together, and one for each method with at least 20 images. Nothing where
        there are fewer than 20 images or 5 groups of a label.
    """
    table = facts.sample(_MOST, random_state=seed).reset_index(drop=True) if len(facts) > _MOST else facts
    fake = (table["label"] == "fake").to_numpy()
    if min(fake.sum(), (~fake).sum()) < _FEWEST or table.groupby(fake)["group"].nunique().min() < _FEWEST_GROUPS:
        return []
    numbers = table.loc[fake, "method"].value_counts()
    members = {ALL_FAKES: np.ones(len(table), bool)}
    if len(numbers) > 1:
        for method in sorted(numbers[numbers >= _FEWEST].index):
            members[method] = ~fake | (table["method"] == method).to_numpy()
    level = 1 - 0.05 / (len(KINDS) * len(members))
    measured = []
    for name, kind in KINDS.items():
        scores = _out_of_fold(table, list(kind.features), fake, seed)
        for fakes, rows in members.items():
            part = pd.DataFrame({"group": table["group"], "fake": fake.astype(float), "score": scores})[rows]
            auroc = Interval(0.5, 0.5, 0.5)
            if np.ptp(scores) > 0:
                auroc = bootstrap_intervals(part, _auroc, seed=seed, draws=_DRAWS, level=level)["auroc"]
            strongest = max(kind.features, key=lambda f: abs(roc_auc_score(fake[rows], table[f][rows]) - 0.5))
            values = table[strongest].to_numpy(float)
            medians = (float(np.median(values[rows & fake])), float(np.median(values[rows & ~fake])))
            groups = int(part.groupby("fake")["group"].nunique().min())
            measured.append(Predictability(name, fakes, auroc, strongest, medians, groups))
    return measured


def check_giveaways(measured: list[Predictability]) -> list[Finding]:
    """Report each kind by which labels can be told: for all fakes, or else for the methods concerned."""
    found = []
    for name, kind in KINDS.items():
        telling = [one for one in measured if one.kind == name and one.tells]
        overall = [one for one in telling if one.fakes == ALL_FAKES]
        for one in overall or telling:
            whom = "Labels are" if one.fakes == ALL_FAKES else f"Images of {one.fakes} are"
            interval = too_few(one.groups) or f"{one.auroc.low:.2f} to {one.auroc.high:.2f}"
            message = (
                f"{whom} predictable from {name} alone: AUROC {one.auroc.value:.2f} ({interval}), most by "
                f"{one.strongest} (median {one.medians[0]:.4g} in fakes, {one.medians[1]:.4g} in real images). "
                f"{kind.advice}"
            )
            found.append(finding(kind.severity, "give-aways", message))
    return found


def _auroc(frame: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    labels, scores = frame["fake"].to_numpy(float), frame["score"].to_numpy(float)
    return {"auroc": weighted_metrics(labels, scores, 0.5, weights)["auroc"]}


def _out_of_fold(table: pd.DataFrame, features: list[str], fake: np.ndarray, seed: int) -> np.ndarray:
    values = table[features].to_numpy(np.float32)
    scores = np.full(len(table), 0.5)
    if (values == values[0]).all():
        return scores
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for rest, held_out in folds.split(values, fake, table["group"]):
        if fake[rest].all() or not fake[rest].any():
            continue
        tree = DecisionTreeClassifier(
            max_depth=3, min_samples_leaf=max(5, len(rest) // 50), class_weight="balanced", random_state=seed
        )
        scores[held_out] = tree.fit(values[rest], fake[rest]).predict_proba(values[held_out])[:, 1]
    return scores
