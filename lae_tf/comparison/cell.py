"""One cell in a process of its own: train one model with one seed, score the test images, measure robustness."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from lae_tf.comparison.learning_rate import at_rate, best_rate, choose_rate
from lae_tf.comparison.peers import build_peer, peer_class
from lae_tf.comparison.records import RESULT, ROBUSTNESS, SCORES, SETTINGS, VALIDATION
from lae_tf.comparison.train_peer import Calibrated, train_peer
from lae_tf.config.sections import Config
from lae_tf.data.ingestion import decodable
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset, with_degraded
from lae_tf.data.views import WHOLE_VIEWS
from lae_tf.errors import LAEError
from lae_tf.evaluation.degraded import CLEAN, score_degraded
from lae_tf.evaluation.position import position_prior
from lae_tf.evaluation.scoring import Conditions, example_rows, score_manifest, squares
from lae_tf.files.atomic import write_text
from lae_tf.files.locking import locked
from lae_tf.forge.degradations import DEGRADATIONS
from lae_tf.runtime.allocator import keep_freed_memory
from lae_tf.runtime.environment import describe
from lae_tf.training.calibrate import scale_of
from lae_tf.training.run import Run
from lae_tf.training.stages import train
from lae_tf.training.training_data import describe_data, training_manifest

REQUEST, PANELS = "cell.json", "panels.npz"
SOFTWARE = ("lae_tf", "python", "tensorflow", "keras")
TIMED_BATCHES = 10
FORGED = "(made on the fly)"  # in place of a method's name


def lock_of(folder: Path) -> AbstractContextManager[None]:
    """Return the lock that the process of a cell holds; it lies beside the cell's folder.

    Raises:
        LAEError: on entering it, where another process holds it.
    """
    refusal = f"{folder.name} is being run by another process; wait for it, or end it."
    return locked(folder.parent / f".{folder.name}.lock", refusal)


def run_cell(
    folder: Path, peer: str | None, config: Config, robustness_images: int, rate_trial: dict[str, int] | None = None
) -> None:
    """Train, score and measure; ``result.json`` is written last and says that the cell is finished.

    Test images are read after training only; the threshold comes from validation.

    Args:
        folder: of the cell.
        peer: name of a peer, or None for LAE.
        config: of the cell.
        robustness_images: test images for the degradations; 0 leaves them out.
        rate_trial: ``epochs`` and ``seed`` of the trainings that choose a peer's learning rate; None leaves it at its
            own.
    """
    tried: dict[str, float] = {}
    if peer:
        config = at_rate(config, config.pretrain.learning_rate * peer_class(peer).rate_share)
        if rate_trial:
            tried = _rates_tried(folder, peer, config, rate_trial)
            config = at_rate(config, best_rate(tried))
    keras.utils.set_random_seed(config.seed)
    start = time.perf_counter()
    model, decision, scored = _train_peer(peer, config) if peer else _train_own(config)
    seconds = time.perf_counter() - start

    whole = Manifest.read(config.data.manifest)
    test = whole.select(split="test")
    cache = Run(config.output).image_cache
    batch_size = config.data.batch_size
    readable = decodable(test, cache, progress=False)
    conditions = Conditions(position_prior(training_manifest(config), config.data.image_size), seed=config.seed)
    frame, localisation = score_manifest(model, test, cache, batch_size, "test", conditions)
    if not np.isfinite(frame["logit"]).all():
        raise LAEError("a test image has no finite logit: training has diverged. Lower the learning rate.")
    frame["path"] = test.relative_paths()  # so that cells still compare after the data moved
    frame["score"] = _calibrated(frame["logit"], decision)
    write_text(folder / SCORES, frame.to_csv(index=False))
    forged = config.data.self_forged > 0 or (peer is not None and model.reals_alone)
    in_parts = config.data.view not in WHOLE_VIEWS
    validation = (
        scored[["label", "degraded", "logit"]] if in_parts else _validation_logits(model, config, cache, forged)
    )
    write_text(folder / VALIDATION, validation.to_csv(index=False))
    _write_panels(folder / PANELS, model, readable, frame)
    if robustness_images:
        chosen = _balanced(test, robustness_images)

        def score(name: str) -> pd.DataFrame:
            harsher = conditions._replace(degradation=name)
            scored, _ = score_manifest(model, chosen, cache, batch_size, name, harsher)
            return scored.assign(path=chosen.relative_paths(), score=_calibrated(scored["logit"], decision))

        frames = score_degraded(score(CLEAN), tuple(DEGRADATIONS), score)
        degraded = pd.concat([frame.assign(degradation=name) for name, frame in frames.items()], ignore_index=True)
        write_text(folder / ROBUSTNESS, degraded.to_csv(index=False))

    data = describe_data(config, training_manifest(config))
    result = {
        **{name: decision[name] for name in ("boundary", "temperature", "threshold")},
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "learning_rate": config.pretrain.learning_rate,
        "rates_tried": tried,
        "train_seconds": seconds,
        "images_per_second": _images_per_second(model, readable, batch_size),
        "mask_budget": data["mask_budget"] if peer is None or model.uses_masks else 0.0,
        "data": data["sha256"],
        "software": {name: version for name, version in describe().items() if name in SOFTWARE},
        "localisation": {k: None if np.isnan(v) else v for k, v in localisation.items()},
    }
    write_text(folder / RESULT, json.dumps(result, indent=2))


def _rates_tried(folder: Path, peer: str, config: Config, trial: dict[str, int]) -> dict[str, float]:
    """Return what each learning rate of a peer came to; the comparison's folder keeps it for the other seeds."""
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    stages = {
        "pretrain": config.pretrain.model_copy(update={"epochs": trial["epochs"]}),
        "align": config.align.model_copy(update={"epochs": 0}),
    }
    short = config.model_copy(update={"seed": trial["seed"], **stages})
    file = folder.parents[1] / "rates" / f"{peer}.json"
    return choose_rate(peer, short, file, {**settings, "seed": trial["seed"]})


def _train_own(config: Config) -> Calibrated:
    run = train(config, resume=True)
    return Calibrated(run.load_model(), run.require_json("calibration.json"), pd.read_csv(run.validation_scores))


def _train_peer(name: str, config: Config) -> Calibrated:
    return train_peer(build_peer(name, config.data.image_size, config.data.view), config)


def _validation_logits(model: keras.Model, config: Config, cache: Path, forged: bool) -> pd.DataFrame:
    """Return columns path, label, method, degraded, logit: other rules for thresholds can be tried without training."""
    validation = training_manifest(config).select(split="val")
    readable = decodable(validation, cache, progress=False)
    forge_seed = config.seed if forged else None
    batches = evaluation_dataset(readable, model.preprocessor, config.data.batch_size, forge_seed)
    if config.augment.degrade:
        batches = with_degraded(batches, batches, config.seed)
    columns = [(np.asarray(model.predict_on_batch(batch["image"])["logit"]), batch["label"]) for batch in batches]
    logits, labels = (np.concatenate(values)[:, 0] for values in zip(*columns, strict=True))
    frame = pd.DataFrame({"path": validation.relative_paths(), "label": 0, "method": validation.frame["method"]})
    if forged:
        sources = frame[~validation.is_fake]
        frame = pd.concat([frame, sources.assign(method=FORGED)], ignore_index=True)
    views = (False, True) if config.augment.degrade else (False,)
    frame = pd.concat([frame.assign(degraded=degraded) for degraded in views], ignore_index=True)
    # A forgery of a uniform image changed nothing: its label is "real".
    return frame.assign(label=labels.astype(int), logit=logits.astype(np.float64))


def _calibrated(logits: Any, decision: dict[str, Any]) -> Any:
    """Return scores rounded as the model rounds them, which the threshold relies on, in float64 for files."""
    return scale_of(decision).scores(logits).astype(np.float64)


def _images_per_second(model: keras.Model, test: Manifest, batch_size: int) -> float:
    """Return the rate of prediction alone, without decoding, on one batch again and again."""
    images = next(iter(evaluation_dataset(test, model.preprocessor, batch_size)))["image"]
    model.predict_on_batch(images)  # may trace the graph, which is not to be timed
    start = time.perf_counter()
    for _ in range(TIMED_BATCHES):
        model.predict_on_batch(images)
    return TIMED_BATCHES * len(images) / (time.perf_counter() - start)


def _write_panels(path: Path, model: keras.Model, test: Manifest, frame: pd.DataFrame) -> None:
    """Keep a few images with this model's attention: uint8 maps, and nothing that needs pickling."""
    rows = example_rows(frame)
    images, masks, attention = [], [], []
    for image, mask, seen in squares(model, test.take(rows)):
        images.append(image)
        masks.append(mask)
        if seen is not None:
            attention.append(seen)
    arrays = {"images": np.stack(images), "masks": np.stack(masks)}
    if attention:
        arrays["attention"] = np.stack(attention)
    levels = {name: np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8) for name, values in arrays.items()}
    np.savez_compressed(path, rows=np.array(rows), **levels)


def _balanced(test: Manifest, count: int) -> Manifest:
    """Return half real and half fake images, evenly spread over the manifest."""
    rows: list[int] = []
    for part in (np.flatnonzero(test.is_fake), np.flatnonzero(~test.is_fake)):
        rows += part[np.unique(np.linspace(0, len(part) - 1, min(len(part), count // 2)).round().astype(int))].tolist()
    return test.take(rows)


def main() -> None:
    """Run the cell that a JSON file describes; the comparison starts this as ``python -m``."""
    folder = Path(sys.argv[1])
    keep_freed_memory()
    try:
        with lock_of(folder):
            request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
            config = Config.parse(request["config"], str(folder))
            run_cell(folder, request["peer"], config, request["robustness_images"], request["rate_trial"])
    except LAEError as error:
        sys.exit(f"Error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
