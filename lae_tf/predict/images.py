"""Scores for image files, streamed: a bad file is reported and never stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lae_tf.data.views import NO_FACE, WHOLE_VIEWS, Seen, Square, look, whole_map
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
        size: height and width of the upright image in pixels; None for a bad file.
        image: float32 (S, S, 3) in [0, 1], the whole image as a model sees it; None for a bad file.
        attention: float32 (h, w) in [0, 1], of the whole image at any resolution, with its aspect; None for a bad
            file.
        copies: scores of the degraded copies, in the order of ``COPIES``; empty where none were asked for.
        square: the most suspicious window or face, in pixels of the upright image; None in the view ``whole``.
    """

    size: tuple[int, int] | None = None
    image: np.ndarray | None = None
    attention: np.ndarray | None = None
    copies: tuple[float, ...] = ()
    square: Square | None = None

    def record(self) -> dict[str, object]:
        """Return the fields for tables and JSON; ``score_jpeg-90`` and so on for copies, where there are any."""
        copies = zip(COPIES, self.copies, strict=False)
        return {**super().record(), **{f"score_{name}": score for name, score in copies}}


Finder = Callable[[int, int], Sequence[Square]]


def predict_files(
    model: LAE,
    paths: list[str],
    batch_size: int = 32,
    copies: bool = False,
    seconds: float | None = None,
    faces: Finder | None = None,
) -> Iterator[Prediction]:
    """Yield one prediction per path, in order. Memory does not grow with the number of files.

    Args:
        model: trained.
        paths: of image files.
        batch_size: files a step; in the views ``windows`` and ``faces`` images are looked at one by one.
        copies: score two mildly degraded copies of each image too; where the label of one is another, the verdict is
            ``unsure``. Takes three times as long.
        seconds: for the windows of one image: no more are looked at after it.
        faces: where the faces of an image of a height and width are to be taken to lie; None: they are looked for.
    """
    with ThreadPoolExecutor() as readers:
        if model.view in WHOLE_VIEWS:
            for loaded in prefetched(partial(_load, model, copies), paths, batch_size, readers):
                yield from _predict(model, loaded)
        else:
            for (one,) in prefetched(partial(_load, model, copies), paths, 1, readers):
                yield _look(model, one, seconds, faces)


class _Loaded(NamedTuple):
    """A file, ready to be scored.

    Attributes:
        known: what is known of it.
        images: the image and its copies; of whole images what the model sees, float32 (S, S, 3), so that a step of them
            takes little memory, else uint8 (H, W, 3); none of a bad file.
    """

    known: Prediction
    images: list[np.ndarray]


def _load(model: LAE, with_copies: bool, path: str) -> _Loaded:
    try:
        pixels = model.preprocessor.decode(tf.constant(normalise(read_bytes(path), path))).numpy()
    except ImageError as error:
        return _Loaded(Prediction(path, error=str(error)), [])
    except tf.errors.InvalidArgumentError as error:  # one decoder may accept what the other does not
        reason = " ".join(error.message.split())
        return _Loaded(Prediction(path, error=f"{path}: cannot be decoded: {reason}"), [])
    images = [pixels, *(degraded_copies(pixels) if with_copies else ())]
    height, width = pixels.shape[:2]
    known = Prediction(path, size=(height, width), image=model.preprocessor.resize(pixels).numpy())
    if model.view not in WHOLE_VIEWS:
        return _Loaded(known, images)
    return _Loaded(known, [np.asarray(known.image), *(model.preprocessor.resize(copy).numpy() for copy in images[1:])])


def _predict(model: LAE, loaded: list[_Loaded]) -> Iterator[Prediction]:
    """Score whole images, all of a step together."""
    inputs = [image for file in loaded for image in file.images]
    outputs = model.score_on_batch(np.stack(inputs)) if inputs else {}
    position = 0
    for known, images in loaded:
        if known.error:
            yield known
            continue
        rows = slice(position, position + len(images))
        attention = whole_map(np.asarray(outputs["attention"][position]), known.size or (1, 1), model.view)
        seen = Seen(float(outputs["logit"][position, 0]), attention)
        yield _judged(model, known, outputs["score"][rows, 0], seen)
        position += len(images)


def _look(model: LAE, file: _Loaded, seconds: float | None, faces: Finder | None) -> Prediction:
    """Score an image in a view of parts."""
    if file.known.error:
        return file.known
    known = None if faces is None else faces(*file.images[0].shape[:2])
    seen = [look(model, one, seconds, known) for one in file.images]
    if np.isnan(seen[0].logit):
        return Prediction(
            file.known.path,
            error=f"{file.known.path}: shows no face; lae-tf predict --whole scores images without faces",
        )
    # A copy that shows no face any more is called real.
    logits = np.nan_to_num(np.array([one.logit for one in seen], np.float32), nan=NO_FACE)
    scores = np.asarray(model.calibration(logits))
    return _judged(model, file.known, scores, seen[0])


def _judged(model: LAE, known: Prediction, scores: np.ndarray, seen: Seen) -> Prediction:
    """Return a prediction with what was found: scores of the image and its copies, and what was seen in the image."""
    score, *copies = (float(value) for value in scores)
    threshold, bounds = float(model.calibration.threshold), model.calibration.bounds
    verdict = verdict_among_copies(verdict_of(score, threshold, bounds), score, copies, threshold)
    return replace(
        known,
        score=score,
        label=label_of(score, threshold),
        logit=seen.logit,
        threshold=threshold,
        verdict=verdict,
        bounds=bounds,
        attention=seen.attention,
        copies=tuple(copies),
        square=seen.square,
    )
