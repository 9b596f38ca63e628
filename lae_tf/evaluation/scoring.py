"""A model over a manifest, in one streaming pass: one row per image, and the attention against the masks."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from lae_tf.data.ingestion import decodable
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.evaluation.localisation import LocalisationMeter

EXAMPLES_PER_METHOD = 2


def example_rows(frame: pd.DataFrame) -> list[int]:
    """Return rows of a few images of each method and of the reals, fakes first, at even distances, not by result."""
    chosen: list[int] = []
    for _, part in frame.groupby(["label", "method"], sort=False):
        places = np.linspace(0, len(part) - 1, EXAMPLES_PER_METHOD + 2)[1:-1].round().astype(int)
        chosen += part.index[np.unique(places)].tolist()
    return sorted(chosen, key=lambda row: -frame["label"][row])


def score_manifest(
    model: keras.Model, manifest: Manifest, image_cache: Path, batch_size: int = 32, description: str = "evaluate"
) -> tuple[pd.DataFrame, LocalisationMeter]:
    """Score every image of a manifest; keeps numbers, never images.

    Args:
        model: LAE, or a model whose outputs have the same names; ``reconstruction`` and ``attention`` may be missing.
        manifest: what to score, masks included.
        image_cache: folder for copies of files that the graph cannot decode.
        batch_size: images a step.
        description: of the progress bar.

    Returns:
        A frame with the manifest's path, group, method and split, label (1 = fake), logit, score, and, where the
        model gives them, reconstruction_error (mean absolute) and the columns of ``LocalisationMeter``; and the
        meter.
    """
    readable = decodable(manifest, image_cache)
    meter = LocalisationMeter()
    rows: list[pd.DataFrame] = []
    with tqdm(total=len(manifest), desc=description, unit=" images", file=sys.stderr) as bar:
        for batch in evaluation_dataset(readable, model.preprocessor, batch_size):
            outputs = {name: np.asarray(value) for name, value in model.predict_on_batch(batch["image"]).items()}
            label = batch["label"].numpy()[:, 0]
            columns = {
                "label": label.astype(int),
                "logit": outputs["logit"][:, 0],
                "score": outputs["score"][:, 0],
            }
            if "reconstruction" in outputs:
                error = np.abs(batch["image"].numpy() - outputs["reconstruction"]).mean(axis=(1, 2, 3))
                columns["reconstruction_error"] = error
            if "attention" in outputs:
                known = batch["mask_weight"].numpy()[:, 0]
                attention = outputs["attention"].clip(0, 1)
                columns |= meter.update(attention, batch["mask"].numpy()[..., 0], label, known)
            rows.append(pd.DataFrame(columns))
            bar.update(len(label))
    identity = manifest.frame[["path", "group", "method", "split"]]
    return pd.concat([identity, pd.concat(rows, ignore_index=True)], axis=1), meter
