"""The end of a training: calibrated on validation, saved, and held against the run that it began with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from lae_tf.config.sections import Config
from lae_tf.data.ingestion import decodable
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import cached
from lae_tf.errors import LAEError
from lae_tf.files.atomic import write_text
from lae_tf.model.lae import LAE
from lae_tf.training.calibrate import are_stored, calibrate_model
from lae_tf.training.callbacks import save_model
from lae_tf.training.fine_tuning import RECORD, compare_with_start, forgotten, source_of
from lae_tf.training.mixing import fit_mixture
from lae_tf.training.run import Run
from lae_tf.training.training_data import seen_parts, training_manifest, validation_dataset
from lae_tf.training.window_calibration import calibrate_windows


def finish(run: Run, config: Config, model: LAE, validation: Manifest, images: Manifest) -> None:
    """Calibrate the model on validation, keep what validation scored, and save the model.

    Args:
        run: of the model.
        config: of the run.
        model: with the weights of its best epoch.
        validation: what the model is shown of the validation images.
        images: the images themselves.
    """
    kept = run.image_cache / "calibration"
    # It is gone through twice.
    batches = cached(validation_dataset(validation, model, config), len(validation), config.data.image_size)
    decision, scored = calibrate_in_view(model, batches, images, config, kept)
    write_text(run.validation_scores, scored.to_csv(index=False))
    run.write_json("calibration.json", decision)
    save_model(model, run.model_path)
    shutil.rmtree(kept, ignore_errors=True)


def calibrate_in_view(
    model: Any, batches: tf.data.Dataset, images: Manifest, config: Config, kept: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Calibrate LAE, or a peer, on what it is shown of validation; in windows on the photographs themselves.

    Args:
        model: with the weights of its best epoch.
        batches: what it is shown of the validation images.
        images: the images themselves.
        config: of the run.
        kept: folder for what a stopped calibration goes on from.

    Returns:
        The decision, and what validation scored, with ``degraded`` where training degrades images.
    """
    copies = bool(config.augment.degrade)
    # Windows of one photograph look degraded or not, each for itself, and are held against each other: on one scale.
    mixture, scale = fit_mixture(model, batches, copies and model.view != "windows")
    decision, scored = calibrate_model(model, batches, config.calibration.error_rate, scale)
    if copies:
        scored["degraded"] = ~are_stored(len(scored))
    if model.view == "windows":
        decision, scored = calibrate_windows(model, images, config, decision["attention_level"], kept)
    return {**decision, **mixture}, scored


def look_back(run: Run, config: Config, validation: Manifest) -> None:
    """Score the model, and the one that it began with, on the validation images of both runs, and record it."""
    digest, recorded = run.model_digest(), run.read_json(RECORD)
    if recorded is not None and recorded["model_sha256"] == digest:
        return
    start = source_of(config.start)
    models = start.load(), run.load_model()
    problem, old = "", None
    if start.run is None:
        problem = f"the preset {start.name} keeps no validation images to look back at"
    else:
        settings = Run.open(start.run).config
        try:
            # An earlier run's images may have been moved or changed since.
            earlier = decodable(training_manifest(settings).select(split="val"), run.image_cache)
            earlier = seen_parts(run, settings, earlier)
            old = compare_with_start(models, validation_dataset(earlier, models[1], settings))
        except (LAEError, OSError) as error:
            problem = f"the earlier run's images cannot be read ({str(error).partition(chr(10))[0]})"
    new = compare_with_start(models, validation_dataset(validation, models[1], config))
    facts: dict[str, Any] = {"old_validation": old, "old_validation_problem": problem, "new_validation": new}
    about = {"run": start.name, "tune": config.start.tune, "model_sha256": digest}
    run.write_json(RECORD, {**about, **facts, "forgotten": forgotten(old)})
