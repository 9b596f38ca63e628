"""A model over a manifest, in one streaming pass: one row per image, and the attention against the masks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from lae_tf.data.ingestion import decodable
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.data.views import NO_FACE, WHOLE_VIEWS, look
from lae_tf.evaluation.localisation import POSITION_COLUMNS, LocalisationMeter
from lae_tf.evaluation.position import Array, PositionMeter
from lae_tf.forge.degradations import DEGRADATIONS
from lae_tf.images.files import read_image, read_mask_of

EXAMPLES_PER_METHOD = 2
_LONGEST_MAP = 2048  # pixels; of 64 megapixels the measures would take gigabytes

Columns = dict[str, np.ndarray]


class Maps(NamedTuple):
    """Attention and masks of a batch.

    Attributes:
        attention: (B, H, W) in [0, 1].
        mask: (B, H, W), 1 where forged.
        mask_known: (B,), 1 where the mask is known.
        squares: the same as (B, S, S), at places that images of all sizes share; None where they are that already.
    """

    attention: np.ndarray
    mask: np.ndarray
    mask_known: np.ndarray
    squares: Maps | None = None


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
    if getattr(model, "view", "whole") in WHOLE_VIEWS:
        scored_batches = _whole_images(model, readable, batch_size, conditions)
    else:
        scored_batches = _looks(model, readable, conditions)
    with tqdm(total=len(manifest), desc=description, unit=" images", file=sys.stderr) as bar:
        for columns, seen in scored_batches:
            if seen is not None:
                columns |= meter.update(seen.attention, seen.mask, columns["label"], seen.mask_known)
                squares = seen if seen.squares is None else seen.squares
                columns |= position.update(squares.attention, squares.mask, columns["label"], squares.mask_known)
            rows.append(pd.DataFrame(columns))
            bar.update(len(columns["label"]))
    scored = pd.concat(rows, ignore_index=True).iloc[np.argsort(order)].reset_index(drop=True)
    frame = pd.concat([manifest.frame[["path", "group", "method", "split"]], scored], axis=1)
    means = {name: float(frame[name].mean()) for name in POSITION_COLUMNS if name in frame}
    return frame, {**meter.result(), **means}


def _whole_images(
    model: keras.Model, manifest: Manifest, batch_size: int, conditions: Conditions
) -> Iterator[tuple[Columns, Maps | None]]:
    """Score images as one input each; maps are the model's own, in which the image may lie between its mirrors."""
    for batch in evaluation_dataset(manifest, model.preprocessor, batch_size, degrade=conditions.degrade):
        outputs = {name: np.asarray(value) for name, value in model.predict_on_batch(batch["image"]).items()}
        columns = {
            "label": batch["label"].numpy()[:, 0].astype(int),
            "logit": outputs["logit"][:, 0],
            "score": outputs["score"][:, 0],
        }
        if "reconstruction" in outputs:
            error = np.abs(batch["image"].numpy() - outputs["reconstruction"]).mean(axis=(1, 2, 3))
            columns["reconstruction_error"] = error
        maps = None
        if "attention" in outputs:
            mask, known = batch["mask"].numpy()[..., 0], batch["mask_weight"].numpy()[:, 0]
            maps = Maps(outputs["attention"].clip(0, 1), mask, known)
        yield columns, maps


def _looks(model: Any, manifest: Manifest, conditions: Conditions) -> Iterator[tuple[Columns, Maps | None]]:
    """Score images one by one in a view of parts; maps are of the image's own size, ``_LONGEST_MAP`` pixels at most.

    An image without a face counts as real: nothing in it is called fake.
    """
    columns_of = (manifest.frame["path"], manifest.is_fake, manifest.frame["mask"])
    for place, (path, is_fake, mask_path) in enumerate(zip(*columns_of, strict=True)):
        image = read_image(path)
        seen = look(model, image if conditions.degrade is None else conditions.degrade(image, place))
        logit = np.array([NO_FACE if np.isnan(seen.logit) else seen.logit], np.float32)
        columns = {
            "label": np.array([int(is_fake)]),
            "logit": logit,
            "score": np.asarray(model.calibration(logit)),
        }
        if not model.localises:
            yield columns, None
            continue
        share = min(1.0, _LONGEST_MAP / max(image.shape[:2]))
        height, width = (max(1, round(share * length)) for length in image.shape[:2])
        attention = cv2.resize(seen.attention, (width, height), interpolation=cv2.INTER_LINEAR)
        mask = read_mask_of(mask_path, (height, width)) if mask_path else np.zeros((height, width), np.uint8)
        known = np.array([not is_fake or bool(mask.any())])
        yield columns, Maps(attention[None], mask[None], known, _squares(attention, mask, known, model.image_size))


def squares(model: Any, manifest: Manifest) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Yield images, masks and attention as squares of the model's size, to be shown beside those of other models.

    Args:
        model: as of :func:`score_manifest`.
        manifest: of files that the graph can decode.

    Yields:
        Image float32 (S, S, 3) in [0, 1], mask (S, S) in {0, 1}, attention (S, S) in [0, 1], or None where the model
        does not localise. In a view of parts, without the image's aspect.
    """
    if getattr(model, "view", "whole") in WHOLE_VIEWS:
        for batch in evaluation_dataset(manifest, model.preprocessor, 16):
            attention = model.predict_on_batch(batch["image"]).get("attention")
            for place, (image, mask) in enumerate(zip(batch["image"].numpy(), batch["mask"].numpy(), strict=True)):
                yield image, mask[..., 0], None if attention is None else np.asarray(attention[place])
        return
    side = (model.image_size, model.image_size)
    for path, mask_path in zip(manifest.frame["path"], manifest.frame["mask"], strict=True):
        image = read_image(path)
        mask = read_mask_of(mask_path, image.shape[:2]) if mask_path else np.zeros(image.shape[:2], np.uint8)
        shown = cv2.resize(image, side, interpolation=cv2.INTER_AREA) / np.float32(255)
        attention = look(model, image).attention if model.localises else np.zeros(image.shape[:2], np.float32)
        maps = _squares(attention, mask, np.ones(1, bool), model.image_size)
        yield shown, maps.mask[0], maps.attention[0] if model.localises else None


def _squares(attention: np.ndarray, mask: np.ndarray, known: np.ndarray, side: int) -> Maps:
    """Bring maps of an image to a square; what is forged of it, however small, stays."""
    small, share = (
        cv2.resize(values.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        for values in (attention, mask)
    )
    forged = share > (0.5 if (share > 0.5).any() else 0.0)
    return Maps(small.clip(0, 1)[None], forged[None].astype(np.uint8), known)
