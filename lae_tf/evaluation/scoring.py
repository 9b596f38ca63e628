"""A model over a manifest, in one streaming pass: one row per image, and the attention against the masks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from lae_tf.data.ingestion import decodable
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.evaluation.localisation import POSITION_COLUMNS, LocalisationMeter
from lae_tf.evaluation.position import Array, PositionMeter
from lae_tf.forge.degradations import DEGRADATIONS

EXAMPLES_PER_METHOD = 2


class Conditions(NamedTuple):
    """What images are scored under, and what their attention is held against.

    Attributes:
        prior: (S, S) of :func:`~lae_tf.evaluation.position.position_prior`; None where there is none.
        degradation: a name of ``lae_tf.forge.degradations.DEGRADATIONS``, which each image goes through at its own
            size.
        seed: of what is random in the degradation; each image draws on its own.
    """

    prior: Array | None = None
    degradation: str = "none"
    seed: int = 0

    @property
    def degrade(self) -> Callable[[np.ndarray, int], np.ndarray] | None:
        """What ``evaluation_dataset`` does to images; None where they stay as they are stored."""
        if self.degradation == "none":
            return None
        change, seed = DEGRADATIONS[self.degradation], self.seed
        return lambda image, place: change(image, np.random.default_rng((seed, int(place))))


AS_STORED = Conditions()


def example_rows(frame: pd.DataFrame) -> list[int]:
    """Return rows of a few images of each method and of the reals, fakes first, at even distances, not by result."""
    chosen: list[int] = []
    for _, part in frame.groupby(["label", "method"], sort=False):
        places = np.linspace(0, len(part) - 1, EXAMPLES_PER_METHOD + 2)[1:-1].round().astype(int)
        chosen += part.index[np.unique(places)].tolist()
    return sorted(chosen, key=lambda row: -frame["label"][row])


def score_manifest(
    model: keras.Model,
    manifest: Manifest,
    image_cache: Path,
    batch_size: int = 32,
    description: str = "evaluate",
    conditions: Conditions = AS_STORED,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Score every image of a manifest; keeps numbers, never images.

    Args:
        model: LAE, or a model whose outputs have the same names; ``reconstruction`` and ``attention`` may be missing.
        manifest: what to score, masks included.
        image_cache: folder for copies of files that the graph cannot decode.
        batch_size: images a step.
        description: of the progress bar.
        conditions: see there.

    Returns:
        A frame with the manifest's path, group, method and split, label (1 = fake), logit, score, and, where the
        model gives them, reconstruction_error (mean absolute) and ``LOCALISATION_METRICS``; and the means of these,
        with what ``LocalisationMeter`` adds.
    """
    # Real images first, which the fakes' attention is held against.
    order = np.argsort(manifest.is_fake, kind="stable")
    readable = decodable(manifest, image_cache, progress=conditions.degradation == "none").take(order)
    meter = LocalisationMeter()
    position = PositionMeter(conditions.prior, int((~manifest.is_fake).sum()))
    rows: list[pd.DataFrame] = []
    batches = evaluation_dataset(readable, model.preprocessor, batch_size, degrade=conditions.degrade)
    with tqdm(total=len(manifest), desc=description, unit=" images", file=sys.stderr) as bar:
        for batch in batches:
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
                truth = (batch["mask"].numpy()[..., 0], label, batch["mask_weight"].numpy()[:, 0])
                attention = outputs["attention"].clip(0, 1)
                columns |= meter.update(attention, *truth) | position.update(attention, *truth)
            rows.append(pd.DataFrame(columns))
            bar.update(len(label))
    scored = pd.concat(rows, ignore_index=True).iloc[np.argsort(order)].reset_index(drop=True)
    frame = pd.concat([manifest.frame[["path", "group", "method", "split"]], scored], axis=1)
    means = {name: float(frame[name].mean()) for name in POSITION_COLUMNS if name in frame}
    return frame, {**meter.result(), **means}
