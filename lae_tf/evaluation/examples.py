"""Single images of an evaluation: what the model made of them, and what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lae_tf.data.ingestion import ingest
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.data.views import NO_FACE, WHOLE_VIEWS, look
from lae_tf.images.files import printable, read_image, read_mask_of
from lae_tf.metrics.decision import label_of, score_text
from lae_tf.model.lae import LAE
from lae_tf.report.page import Example, Shot
from lae_tf.report.panels import overlay

_LONGEST_SHOWN = 512  # pixels


@dataclass(frozen=True)
class Look:
    """What a model made of one image.

    Attributes:
        image: (H, W, 3) float in [0, 1].
        reconstruction: the same shape, or None if the model has no decoder.
        attention: (H, W) float in [0, 1], or None if the model does not localise.
        mask: (H, W) in {0, 1}; None where it is not known.
        score: P(fake).
        label: 1 = fake, 0 = real; None where it is not known.
        name: what the image is, for example its manipulation.
        path: of the image.
    """

    image: ArrayLike
    reconstruction: ArrayLike | None
    attention: ArrayLike | None
    mask: ArrayLike | None
    score: float
    label: int | None
    name: str = ""
    path: str = ""


def look_at(model: LAE, manifest: Manifest, rows: Sequence[int], image_cache: Path) -> list[Look]:
    """Run a model over some rows of a manifest.

    Args:
        model: a trained model.
        manifest: what was scored.
        rows: of its frame, in the order wanted.
        image_cache: folder for copies of files that the graph cannot decode.
    """
    own = manifest.frame.iloc[list(rows)].reset_index(drop=True)
    decodable = Manifest(own, manifest.root).with_files(lambda files: ingest(files, image_cache, progress=False))
    if model.view not in WHOLE_VIEWS:
        return [_look_at_parts(model, decodable, own, row) for row in range(len(own))]
    looks: list[Look] = []
    for batch in evaluation_dataset(decodable, model.preprocessor, 16):
        outputs = {name: np.asarray(value) for name, value in model.predict_on_batch(batch["image"]).items()}
        for i in range(len(outputs["score"])):
            looks.append(
                Look(
                    image=batch["image"][i].numpy(),
                    reconstruction=outputs["reconstruction"][i],
                    attention=outputs["attention"][i],
                    mask=batch["mask"][i, ..., 0].numpy() if batch["mask_weight"][i, 0] else None,
                    score=float(outputs["score"][i, 0]),
                    label=int(batch["label"][i, 0]),
                    name=own["method"][len(looks)] or "real",
                    path=own["path"][len(looks)],
                )
            )
    return looks


def _look_at_parts(model: LAE, readable: Manifest, own: pd.DataFrame, row: int) -> Look:
    """Look at one image at its own size, and show it small."""
    image = read_image(readable.frame["path"][row])
    seen = look(model, image)
    height, width = image.shape[:2]
    share = min(1.0, _LONGEST_SHOWN / max(height, width))
    size = (max(1, round(share * width)), max(1, round(share * height)))
    mask_file = readable.frame["mask"][row]
    is_fake = own["label"][row] == "fake"
    mask = read_mask_of(mask_file, (height, width)) if mask_file else np.zeros((height, width), np.uint8)
    return Look(
        image=cv2.resize(image, size, interpolation=cv2.INTER_AREA) / np.float32(255),
        reconstruction=None,
        attention=cv2.resize(seen.attention, size, interpolation=cv2.INTER_LINEAR),
        mask=cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) if mask_file or not is_fake else None,
        score=float(model.calibration(np.float32(NO_FACE if np.isnan(seen.logit) else seen.logit))),
        label=int(is_fake),
        name=own["method"][row] or "real",
        path=own["path"][row],
    )


def example(seen: Look, threshold: float) -> Example:
    """Return input, attention, mask and reconstruction, with what was found and what is true."""
    title, tone = _verdict(seen, threshold)
    shots = [
        Shot.of(seen.image, "input"),
        Shot.of(None if seen.attention is None else overlay(seen.image, seen.attention), "attention", "none"),
        Shot.of(None if seen.mask is None else np.asarray(seen.mask, float), "mask", "not known"),
        Shot.of(seen.reconstruction, "reconstruction", "none"),
    ]
    return Example(shots, title, printable(seen.path), tone)


def _verdict(seen: Look, threshold: float) -> tuple[str, str]:
    label = label_of(seen.score, threshold)
    called = label == "fake"
    text = f"score {score_text(seen.score, threshold, 2)} {'≥' if called else '<'} {threshold:.2f}: called {label}"
    if seen.label is None:
        return f"{seen.name}  {text}".strip(), ""
    truth = "fake" if seen.label else "real"
    name = seen.name if seen.name and seen.name != truth else ""
    right = called == bool(seen.label)
    outcome = "correct" if right else "missed" if seen.label else "false alarm"
    return f"{truth}{f' ({name})' if name else ''}, {text}, {outcome}", "right" if right else "wrong"
