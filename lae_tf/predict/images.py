"""Scores for image files, streamed: a bad file is reported and never stops the rest."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from lae_tf.errors import ImageError
from lae_tf.images.files import normalise, read_bytes
from lae_tf.metrics.decision import label_of
from lae_tf.model.lae import LAE
from lae_tf.predict.prefetch import prefetched
from lae_tf.predict.scored import ScoredImage


@dataclass(frozen=True)
class Prediction(ScoredImage):
    """What the model says of one file, and what it saw.

    Attributes:
        image: float32 (S, S, 3) in [0, 1], what the model saw; None for a bad file.
        attention: float32 (S, S) in [0, 1]; None for a bad file.
    """

    image: np.ndarray | None = None
    attention: np.ndarray | None = None


def predict_files(model: LAE, paths: list[str], batch_size: int = 32) -> Iterator[Prediction]:
    """Yield one prediction per path, in order. Memory does not grow with the number of files."""
    threshold = float(model.calibration.threshold)
    with ThreadPoolExecutor() as readers:
        for loaded in prefetched(partial(_load, model), paths, batch_size, readers):
            yield from _predict(model, loaded, threshold)


def _load(model: LAE, path: str) -> Prediction:
    try:
        data = normalise(read_bytes(path), path)
        image = model.preprocessor.resize(model.preprocessor.decode(tf.constant(data)))
    except ImageError as error:
        return Prediction(path, error=str(error))
    except tf.errors.InvalidArgumentError as error:  # one decoder may accept what the other does not
        return Prediction(path, error=f"{path}: cannot be decoded: {' '.join(error.message.split())}")
    return Prediction(path, image=image.numpy())


def _predict(model: LAE, loaded: list[Prediction], threshold: float) -> Iterator[Prediction]:
    images = [one.image for one in loaded if one.image is not None]
    outputs = model.predict_on_batch(np.stack(images)) if images else {}
    position = 0
    for one in loaded:
        if one.image is None:
            yield one
            continue
        score = float(outputs["score"][position, 0])
        yield Prediction(
            one.path,
            score=score,
            label=label_of(score, threshold),
            logit=float(outputs["logit"][position, 0]),
            threshold=threshold,
            image=one.image,
            attention=np.asarray(outputs["attention"][position]),
        )
        position += 1
