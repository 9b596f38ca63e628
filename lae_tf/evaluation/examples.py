"""Single images of an evaluation: what the model made of them, and what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lae_tf.data.ingestion import ingest
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.images.files import printable
from lae_tf.metrics.decision import label_of, score_text
from lae_tf.model.lae import LAE
from lae_tf.report.page import Example, Shot
from lae_tf.report.panels import overlay


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


def example(look: Look, threshold: float) -> Example:
    """Return input, attention, mask and reconstruction, with what was found and what is true."""
    title, tone = _verdict(look, threshold)
    shots = [
        Shot.of(look.image, "input"),
        Shot.of(None if look.attention is None else overlay(look.image, look.attention), "attention", "none"),
        Shot.of(None if look.mask is None else np.asarray(look.mask, float), "mask", "not known"),
        Shot.of(look.reconstruction, "reconstruction", "none"),
    ]
    return Example(shots, title, printable(look.path), tone)


def _verdict(look: Look, threshold: float) -> tuple[str, str]:
    label = label_of(look.score, threshold)
    called = label == "fake"
    text = f"score {score_text(look.score, threshold, 2)} {'≥' if called else '<'} {threshold:.2f}: called {label}"
    if look.label is None:
        return f"{look.name}  {text}".strip(), ""
    truth = "fake" if look.label else "real"
    name = look.name if look.name and look.name != truth else ""
    right = called == bool(look.label)
    outcome = "correct" if right else "missed" if look.label else "false alarm"
    return f"{truth}{f' ({name})' if name else ''}, {text}, {outcome}", "right" if right else "wrong"
