"""Scores for image files, streamed: a bad file is reported and never stops the rest."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tensorflow as tf

from lae_tf.errors import ImageError
from lae_tf.images.files import normalise, read_bytes
from lae_tf.metrics.decision import label_of
from lae_tf.metrics.verdict import verdict_of
from lae_tf.model.lae import LAE
from lae_tf.predict.copies import COPIES, degraded_copies, verdict_among_copies
from lae_tf.predict.prefetch import prefetched
from lae_tf.predict.scored import ScoredImage


@dataclass(frozen=True)
class Prediction(ScoredImage):
    """What the model says of one file, and what it saw.

    Attributes:
        image: float32 (S, S, 3) in [0, 1], what the model saw; None for a bad file.
        attention: float32 (h, w) in [0, 1], of the whole image, edge to edge; None for a bad file.
        size: height and width of the upright file in pixels; None for a bad file.
        copies: scores of the degraded copies, in the order of ``COPIES``; empty where none were asked for.
    """

    image: np.ndarray | None = None
    attention: np.ndarray | None = None
    size: tuple[int, int] | None = None
    copies: tuple[float, ...] = ()

    def record(self) -> dict[str, object]:
        """Return the fields for tables and JSON; ``score_jpeg-90`` and so on for copies, where there are any."""
        copies = zip(COPIES, self.copies, strict=False)
        return {**super().record(), **{f"score_{name}": score for name, score in copies}}


def predict_files(model: LAE, paths: list[str], batch_size: int = 32, copies: bool = False) -> Iterator[Prediction]:
    """Yield one prediction per path, in order. Memory does not grow with the number of files.

    Args:
        model: trained.
        paths: of image files.
        batch_size: files a step.
        copies: score two mildly degraded copies of each image too; where the label of one is another, the verdict is
            ``unsure``. Takes three times as long.
    """
    with ThreadPoolExecutor() as readers:
        for loaded in prefetched(partial(_load, model, copies), paths, batch_size, readers):
            yield from _predict(model, loaded)


def _load(model: LAE, with_copies: bool, path: str) -> tuple[Prediction, np.ndarray]:
    """Return what is known of a file, and float32 (N, S, S, 3) with the image and its copies; without any if bad."""
    resize = model.preprocessor.resize
    try:
        pixels = model.preprocessor.decode(tf.constant(normalise(read_bytes(path), path)))
        inputs = [resize(one).numpy() for one in [pixels, *(degraded_copies(pixels.numpy()) if with_copies else ())]]
    except ImageError as error:
        return Prediction(path, error=str(error)), np.empty(0)
    except tf.errors.InvalidArgumentError as error:  # one decoder may accept what the other does not
        reason = " ".join(error.message.split())
        return Prediction(path, error=f"{path}: cannot be decoded: {reason}"), np.empty(0)
    height, width = pixels.shape[:2]
    return Prediction(path, image=inputs[0], size=(height, width)), np.stack(inputs)


def _predict(model: LAE, loaded: list[tuple[Prediction, np.ndarray]]) -> Iterator[Prediction]:
    threshold, bounds = float(model.calibration.threshold), model.calibration.bounds
    inputs = [images for _, images in loaded if len(images)]
    outputs = model.predict_on_batch(np.concatenate(inputs)) if inputs else {}
    position = 0
    for one, images in loaded:
        if one.error:
            yield one
            continue
        score, *copies = (float(value) for value in outputs["score"][position : position + len(images), 0])
        verdict = verdict_among_copies(verdict_of(score, threshold, bounds), score, copies, threshold)
        yield replace(
            one,
            score=score,
            label=label_of(score, threshold),
            logit=float(outputs["logit"][position, 0]),
            threshold=threshold,
            verdict=verdict,
            bounds=bounds,
            attention=np.asarray(outputs["attention"][position]),
            copies=tuple(copies),
        )
        position += len(images)
