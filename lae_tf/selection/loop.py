"""The unattended study on data whose masks are known: select, reveal, align, evaluate, for strategies and seeds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from lae_tf.config.sections import Config
from lae_tf.data.ingestion import decodable
from lae_tf.data.manifest import Manifest
from lae_tf.errors import UsageError
from lae_tf.evaluation.evaluate import evaluate_run
from lae_tf.files.atomic import write_text
from lae_tf.files.json_files import read_object
from lae_tf.metrics.names import SEEN_MEAN, UNSEEN_MEAN
from lae_tf.selection.budget import masks_of
from lae_tf.selection.choosing import Criteria, choose
from lae_tf.selection.strategies import get_strategy
from lae_tf.selection.study_tables import ALL_MASKS, NO_MASKS, write_study
from lae_tf.training.records import STAGES_FILE
from lae_tf.training.run import Run, differences
from lae_tf.training.stages import best_checkpoint, train
from lae_tf.training.training_data import training_manifest


@dataclass(frozen=True)
class Study:
    """What to run.

    Attributes:
        config: of training; its manifest holds all masks, which the study hides and reveals: ``data.mask_share`` has
            no say in it.
        folder: of the study's results.
        shares: cumulative share of training images with a mask after each round, increasing.
        strategies: names.
        seeds: each gives a stage-1 model of its own.
    """

    config: Config
    folder: Path
    shares: tuple[float, ...]
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]


def run_study(study: Study) -> pd.DataFrame:
    """Run every cell that is not finished yet, and write the table, the plot and the page.

    Returns:
        One row per seed, strategy and share, with the measures of ``MEASURES``.

    Raises:
        UsageError: unknown strategy, a strategy or seed named twice, shares that do not increase, a manifest without
            masks, or a folder with another study.
    """
    data = study.config.data.model_copy(update={"mask_share": None})
    study = replace(study, config=study.config.model_copy(update={"data": data}))
    for name in study.strategies:
        get_strategy(name)
    for values in (study.strategies, study.seeds):
        repeated = [value for value in values if values.count(value) > 1]
        if repeated:
            raise UsageError(f"'{repeated[0]}' is named twice, and would count as two results.")
    if list(study.shares) != sorted(set(study.shares)) or not all(0 < share <= 1 for share in study.shares):
        raise UsageError(f"budgets must increase and lie in (0, 100 %]; found {study.shares}.")
    oracle = training_manifest(study.config)
    if not (oracle.mask_state == "annotated").any():
        raise UsageError(
            f"{study.config.data.manifest}: no masks to reveal; --oracle needs data whose masks are known."
        )
    _require_same(study, oracle)
    rows: list[dict[str, Any]] = []
    for seed in study.seeds:
        base = _train(study, seed, "pretrain", reveal=np.zeros(0, int), after=None)
        rows.append(_measure(study, _train_without_masks(study, seed), seed, NO_MASKS, 0))
        for strategy in study.strategies:
            rows += _rounds(study, base, seed, strategy)
        everything = np.flatnonzero(_selectable(oracle))
        full = _train(study, seed, ALL_MASKS, everything, after=base)
        rows.append(_measure(study, full, seed, ALL_MASKS, len(everything)))
    table = pd.DataFrame(rows)
    provenance = {"seeds": ", ".join(map(str, study.seeds)), "manifest": study.config.data.manifest}
    write_study(study.folder, table, provenance)
    return table


def _require_same(study: Study, oracle: Manifest) -> None:
    """Refuse a folder whose cells are of other settings or data; seeds and strategies may be added."""
    config = study.config.model_dump(mode="json", exclude={"seed": True, "output": True, "data": {"manifest"}})
    settings = {**config, "budgets": list(study.shares), "data_sha256": oracle.digest()}
    record = study.folder / "study.json"
    if record.is_file():
        changed = differences(read_object(record), settings)
        if changed:
            raise UsageError(
                f"{study.folder} holds a study with other settings ({'; '.join(changed)}); restore them, or choose "
                "another output."
            )
    write_text(record, json.dumps(settings, indent=2))


def _rounds(study: Study, base: Run, seed: int, strategy: str) -> list[dict[str, Any]]:
    oracle = training_manifest(study.config)
    in_train = int((oracle.frame["split"] == "train").sum())
    revealed = np.zeros(0, int)
    run, rows = base, []
    for number, share in enumerate(study.shares, start=1):
        name = f"{strategy}-{number}"
        record = study.folder / f"seed-{seed}" / name / "revealed.csv"
        if record.exists():
            revealed = np.loadtxt(record, dtype=int, ndmin=1)
        else:
            wanted = masks_of(share, in_train) - len(revealed)
            # Near-duplicates are not skipped: strategies are compared at exactly the same number of masks. The baseline
            # is drawn from all images alike, whatever their groups.
            per_group = in_train if strategy == "random" else None
            criteria = Criteria(strategy, seed, per_group, similarity=None, batch_size=study.config.data.batch_size)
            revealed = np.concatenate([revealed, _choose(study, run, oracle, revealed, wanted, criteria)])
            write_text(record, "".join(f"{row}\n" for row in revealed))
        run = _train(study, seed, name, revealed, after=run)
        rows.append(_measure(study, run, seed, strategy, len(revealed)))
    return rows


def _choose(
    study: Study, run: Run, oracle: Manifest, revealed: np.ndarray, count: int, criteria: Criteria
) -> np.ndarray:
    """Return rows of the oracle's manifest that a strategy picks, seeing only the masks revealed so far."""
    rows = np.flatnonzero((oracle.frame["split"] == "train").to_numpy())
    visible = _reveal(oracle, revealed)
    part = visible.take(rows)
    part = decodable(part, study.folder / "image_cache", progress=False)
    unlabelled, known = part.mask_state == "unlabelled", _selectable(oracle)[rows]
    unknown = frozenset(part.frame["path"][unlabelled & ~known])  # the oracle has no mask to reveal
    choice = choose(run.load_model(), part, count, criteria, unknown)
    candidate_rows = rows[unlabelled & known]
    return candidate_rows[choice.rows]


def _selectable(manifest: Manifest) -> np.ndarray:
    return (manifest.mask_state == "annotated") & (manifest.frame["split"] == "train").to_numpy()


def _reveal(oracle: Manifest, rows: np.ndarray) -> Manifest:
    """Hide all masks of training fakes but those of the given rows; validation keeps its masks for measuring."""
    frame = oracle.frame.copy()
    hidden = _selectable(oracle)
    hidden[rows] = False
    frame.loc[hidden, "mask"] = ""
    return Manifest(frame, oracle.root)


def _train(study: Study, seed: int, name: str, reveal: np.ndarray, after: Run | None) -> Run:
    """Train one cell, going on from the weights of another, and resume it where it was killed."""
    folder = study.folder / f"seed-{seed}" / name.replace(" ", "-")
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _reveal(training_manifest(study.config), reveal).write(manifest)
    data = study.config.data.model_copy(update={"manifest": str(manifest.resolve())})
    config = study.config.model_copy(update={"seed": seed, "output": str(folder / "run"), "data": data})
    run = Run(config.output)
    if after is not None and run.read_json(STAGES_FILE) is None:
        finished = after.read_json(STAGES_FILE)
        last = finished[-1]["stage"]
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(best_checkpoint(after, last), best_checkpoint(run, last))
        run.write_json(STAGES_FILE, finished)
    if not run.model_path.exists():
        train(config, resume=True)
        keras.backend.clear_session()
    return run


def _train_without_masks(study: Study, seed: int) -> Run:
    """Train for as many epochs as both stages have, so that the others' lead is that of masks and not of time."""
    config = study.config
    longer = config.pretrain.model_copy(update={"epochs": config.pretrain.epochs + config.align.epochs})
    alone = replace(study, config=config.model_copy(update={"pretrain": longer}))
    return _train(alone, seed, NO_MASKS, np.zeros(0, int), after=None)


def _measure(study: Study, run: Run, seed: int, strategy: str, masks: int) -> dict[str, Any]:
    """Evaluate a cell once; the result is kept beside it."""
    record = run.read_json("study.json")
    if record is None:
        evaluation = evaluate_run(run, [study.config.data.manifest], batch_size=study.config.data.batch_size)
        record = {"seed": seed, "strategy": strategy, "masks": masks}
        counts = run.require_json("data.json")["counts"]["train"]
        record["share"] = masks / (counts["real"] + counts["fake"])
        for prefix, name in (("seen", SEEN_MEAN), ("unseen", UNSEEN_MEAN)):
            row = evaluation.summary(name)
            for measure in ("accuracy", "auroc", "iou", "pixel_auroc", "matched_pixel_auroc"):
                value = float("nan") if row is None else float(row.get(measure, np.nan))
                record[f"{prefix}_{measure}"] = None if np.isnan(value) else value
        methods = evaluation.table[(evaluation.table["level"] == "image") & (evaluation.table["seen"] == "seen")]
        record["worst_auroc"] = None if methods.empty else float(methods["auroc"].min())
        run.write_json("study.json", record)
    return record
