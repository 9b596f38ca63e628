"""From finished cells to the comparison: one row per model and method, and LAE against the best peer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lae_tf.comparison.protocol import OWN, Cell
from lae_tf.comparison.records import Records
from lae_tf.evaluation.degraded import degradation_table, with_false_alarms
from lae_tf.evaluation.localisation import LOCALISATION_METRICS
from lae_tf.evaluation.tables import fewest_groups, method_statistic, without_weak_intervals
from lae_tf.metrics.detection import (
    Array,
    Statistic,
    bootstrap_intervals,
    paired_bootstrap,
    too_few,
)
from lae_tf.metrics.names import UNSEEN_MEAN

METRICS = ("accuracy", "balanced_accuracy", "auroc", "average_precision", "eer")


@dataclass(frozen=True)
class Outcome:
    """All finished seeds of one model.

    Attributes:
        model: its name, as tables show it.
        is_peer: whether LAE is compared with it (ablations are not peers).
        frame: the seeds' scores below each other, with a column ``seed``; ``path`` is unique through it.
        results: ``result.json`` of each seed.
        robustness: the seeds' scores under each degradation, as ``cell`` keeps them; or None.
    """

    model: str
    is_peer: bool
    frame: pd.DataFrame
    results: Mapping[int, dict[str, Any]]
    robustness: pd.DataFrame | None


def gather(cells: Sequence[Cell], folder: Path) -> list[Outcome]:
    """Read the finished cells, in the protocol's order of models."""
    records = Records(folder)
    outcomes = []
    for model in dict.fromkeys(cell.shown for cell in cells):
        frames, degraded, results = [], [], {}
        for cell in (c for c in cells if c.shown == model and c.name in records):
            record = records[cell.name]
            results[cell.seed] = record.result
            frame = record.tables["test"]
            frames.append(_of_seed(frame, cell.seed))
            robustness = record.tables.get("robustness")
            # Cells of older versions have other degradations, in severities, and no groups: these are left out.
            if robustness is not None and "severity" not in robustness:
                degraded.append(_of_seed(robustness, cell.seed))
        if frames:
            peer = next(c.peer for c in cells if c.shown == model)
            under = pd.concat(degraded, ignore_index=True) if degraded else None
            outcomes.append(Outcome(model, peer is not None, pd.concat(frames, ignore_index=True), results, under))
    return outcomes


def _of_seed(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return a cell's scores with every group named, and paths that no other seed has."""
    group = frame["group"].mask(frame["group"] == "", frame["path"])
    return frame.assign(group=group, path=f"{seed}:" + frame["path"], seed=seed)


def over_seeds(outcome: Outcome, seen: Collection[str], seed: int) -> Statistic:
    """Return the table's statistic as a mean over seeds, for a bootstrap over groups and seeds.

    Each seed has its own threshold. Besides the groups, whose draws are the caller's, every bootstrap draw takes
    as many seeds as there are, with replacement; models with the same seeds share these draws.
    """
    statistics = {s: method_statistic(result["threshold"], seen) for s, result in sorted(outcome.results.items())}
    rng = np.random.default_rng((seed, 7))

    def statistic(frame: pd.DataFrame, weights: Array) -> dict[Any, Array]:
        count = len(statistics)
        if (weights == 1).all():  # the estimate itself, not a draw
            shares = np.full((len(weights), count), 1 / count)
        else:
            shares = rng.multinomial(count, np.full(count, 1 / count), size=len(weights)) / count
        values: dict[Any, Array] = {}
        for i, (number, of_seed) in enumerate(statistics.items()):
            rows = np.flatnonzero(frame["seed"] == number)
            for name, value in of_seed(frame.iloc[rows].reset_index(drop=True), weights[:, rows]).items():
                # A seed that was not drawn must not make the mean undefined.
                part = np.where(shares[:, i] > 0, shares[:, i] * value, 0.0)
                values[name] = values.get(name, 0.0) + part
        return values

    return statistic


def comparison_table(outcomes: Sequence[Outcome], seen: Collection[str], seed: int, draws: int = 1000) -> pd.DataFrame:
    """Return one row per model and method (and seen mean, unseen mean, drop) with 95 % intervals.

    A row that rests on fewer than ten groups has NaN for bounds, and says so in ``no_interval``.
    """
    rows = []
    for outcome in outcomes:
        intervals = bootstrap_intervals(outcome.frame, over_seeds(outcome, seen, seed), seed=seed, draws=draws)
        intervals = without_weak_intervals(intervals, outcome.frame, seen)
        metrics = [*METRICS, *(name for name in LOCALISATION_METRICS if name in outcome.frame)]
        for method in dict.fromkeys(key[0] for key in intervals):  # type: ignore[index]
            row: dict[str, Any] = {"model": outcome.model, "method": method, "seeds": len(outcome.results)}
            row["no_interval"] = too_few(fewest_groups(outcome.frame, method, seen))
            for metric in metrics:
                value = intervals[method, metric]
                row |= {metric: value.value, f"{metric}_low": value.low, f"{metric}_high": value.high}
            rows.append(row)
    return pd.DataFrame(rows)


ALWAYS_REAL = "always real"


def always_real(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the answer "real" to every image, one that accuracy rewards where real images outnumber a method's fakes.

    It takes LAE's images, or without LAE those of the first model; nothing where no cell has finished.
    """
    if not outcomes:
        return []
    base = next((outcome for outcome in outcomes if outcome.model == OWN), outcomes[0])
    frame = base.frame.drop(columns=list(LOCALISATION_METRICS), errors="ignore").assign(score=0.0)
    results = {seed: {"threshold": 1.0} for seed in base.results}
    return [Outcome(ALWAYS_REAL, False, frame, results, None)]


def best_peer(table: pd.DataFrame, outcomes: Sequence[Outcome]) -> str | None:
    """Return the peer with the highest unseen accuracy on the test images: the hardest one to beat, in hindsight."""
    peers = {outcome.model for outcome in outcomes if outcome.is_peer}
    rows = table[(table["method"] == UNSEEN_MEAN) & table["model"].isin(peers)]
    return None if rows.empty else str(rows.loc[rows["accuracy"].idxmax(), "model"])


def differences(outcomes: Sequence[Outcome], seen: Collection[str], seed: int, draws: int = 1000) -> pd.DataFrame:
    """Return LAE minus every other model: paired by image, group draw and seed.

    Only seeds that both have count. Bounds and ``no_interval`` are those of `comparison_table`.
    """
    own = next((outcome for outcome in outcomes if outcome.model == OWN), None)
    rows = []
    for other in outcomes:
        if own is None or other is own:
            continue
        shared = sorted(set(own.results) & set(other.results))
        if not shared:
            continue
        ours, theirs = (_only(outcome, shared) for outcome in (own, other))
        paired = paired_bootstrap(
            (ours.frame, over_seeds(ours, seen, seed)),
            (theirs.frame, over_seeds(theirs, seen, seed)),
            seed=seed,
            draws=draws,
        )
        paired = without_weak_intervals(paired, ours.frame, seen)
        for method in dict.fromkeys(key[0] for key in paired):  # type: ignore[index]
            row: dict[str, Any] = {"model": f"{OWN} - {other.model}", "method": method, "seeds": len(shared)}
            row["no_interval"] = too_few(fewest_groups(ours.frame, method, seen))
            for metric in ("accuracy", "balanced_accuracy", "auroc", "eer"):
                value = paired[method, metric]
                row |= {metric: value.value, f"{metric}_low": value.low, f"{metric}_high": value.high}
            rows.append(row)
    return pd.DataFrame(rows)


def _only(outcome: Outcome, seeds: Sequence[int]) -> Outcome:
    frame = outcome.frame[outcome.frame["seed"].isin(seeds)].reset_index(drop=True)
    results = {s: outcome.results[s] for s in seeds}
    return Outcome(outcome.model, outcome.is_peer, frame, results, outcome.robustness)


def costs(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return each model's size, learning rate, training time, prediction rate, masks and pooled pixel AUROC.

    Means over seeds; cells of older versions do not know the learning rate.
    """
    rows = []
    for outcome in outcomes:
        results = list(outcome.results.values())
        pooled = [r["localisation"].get("pooled_pixel_auroc") for r in results]
        known = [value for value in pooled if value is not None]
        rows.append(
            {
                "model": outcome.model,
                "parameters": results[0]["parameters"],
                "learning rate": results[0].get("learning_rate", float("nan")),
                "training minutes": float(np.mean([r["train_seconds"] for r in results])) / 60,
                "predicted images/s": float(np.mean([r["images_per_second"] for r in results])),
                "masks %": 100 * float(np.mean([r["mask_budget"] for r in results])),
                "pooled pixel AUROC": float(np.mean(known)) if known else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def robustness_table(outcomes: Sequence[Outcome], seen: Collection[str], seed: int, draws: int = 1000) -> pd.DataFrame:
    """Return the rows of `degraded.degradation_table` for each model, means over its seeds and their own thresholds."""
    tables = []
    for outcome in outcomes:
        degraded = outcome.robustness
        if degraded is None:
            continue
        results = {number: result for number, result in outcome.results.items() if (degraded["seed"] == number).any()}
        scores = pd.concat(
            [with_false_alarms(degraded[degraded["seed"] == n], result["threshold"]) for n, result in results.items()]
        )
        for name, frame in scores.groupby("degradation", sort=False):
            # The statistic draws seeds as it goes: one of its own gives every degradation the same draws.
            statistic = over_seeds(replace(outcome, results=results), seen, seed)
            table = degradation_table({str(name): frame}, statistic, seen, seed=seed, draws=draws)
            tables.append(table.assign(model=outcome.model, seeds=len(results)))
    if not tables:
        return pd.DataFrame()
    whole = pd.concat(tables, ignore_index=True)
    return whole[["model", *whole.columns.drop("model")]]
