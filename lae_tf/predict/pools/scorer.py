"""Scores for the rows of a pool, from a SavedModel: one result per row, whatever the row holds."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from lae_tf.errors import ImageError, LAEError
from lae_tf.images.files import normalise, read_bytes
from lae_tf.metrics.decision import label_of
from lae_tf.metrics.verdict import ConformalBounds, verdict_of
from lae_tf.predict.pools.shards import Shard
from lae_tf.predict.prefetch import prefetched
from lae_tf.video.face_places import FACES, Place, as_input, places_in_file

BATCH_SIZE = 32
_SIGNATURE = "serving_default"
SCORES = pa.schema(
    [
        ("row", pa.int64()),
        ("path", pa.string()),
        ("group", pa.string()),
        ("score", pa.float32()),
        ("label", pa.string()),
        ("verdict", pa.string()),
        ("logit", pa.float32()),
    ]
)
"""Of the table of scores: ``row`` is the position in the pool; the rest is as in ``lae_tf.predict.images``."""
ERRORS = pa.schema([("row", pa.int64()), ("path", pa.string()), ("group", pa.string()), ("error", pa.string())])
"""Of the dead-letter table: rows that could not be scored, and why."""
RESULTS = pa.unify_schemas([SCORES, ERRORS])
"""Of results before they are parted: either score, label, verdict and logit are null, or the error is."""


class Scorer:
    """A SavedModel that scores shards; several threads may use it at a time.

    Args:
        path: folder of a SavedModel with the signatures of ``lae-tf export``.
        batch_size: images a step.
        threshold: from which an image is called fake, in place of the model's.

    Raises:
        LAEError: no SavedModel, or one of another kind.
    """

    def __init__(self, path: str | os.PathLike[str], batch_size: int = BATCH_SIZE, threshold: float | None = None):
        try:
            # The whole object is kept: its variables are freed with it, whatever signatures are still in use.
            self._loaded = tf.saved_model.load(os.fspath(path))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise LAEError(f"{path}: cannot be loaded as a SavedModel ({str(error).splitlines()[0]}).") from error
        if _SIGNATURE not in self._loaded.signatures:
            raise LAEError(f"{path}: has no signature '{_SIGNATURE}'; expected an export of 'lae-tf export'.")
        self._serve = self._loaded.signatures[_SIGNATURE]
        self._takes_faces = FACES in self._serve.structured_input_signature[1]
        self._batch_size = batch_size
        self._threshold = threshold
        self._readers = ThreadPoolExecutor(thread_name_prefix="read-images")

    def score(self, shard: Shard, table: pa.Table) -> pa.Table:
        """Score the rows of a shard.

        Args:
            shard: where the rows stand.
            table: its rows, as ``Pool.read`` yields them.

        Returns:
            A table of schema ``RESULTS``, one row for each of the shard's, in their order.
        """
        paths = table["path"].to_pylist()
        images = table["image_bytes"] if "image_bytes" in table.column_names else None
        root = os.path.dirname(os.path.abspath(shard.file))

        def read(row: int) -> _File | ImageError:
            return _read(paths[row], images[row].as_py() if images is not None else None, root, self._takes_faces)

        answers: list[dict[str, Any]] = []
        for batch in prefetched(read, range(len(paths)), self._batch_size, self._readers):
            answers += self._answer(batch)
        columns: dict[str, Any] = {
            "row": np.arange(shard.first, shard.first + shard.rows),
            "path": table["path"],
            "group": table["group"] if "group" in table.column_names else [None] * len(paths),
        }
        filled = ("score", "label", "verdict", "logit", "error")
        columns |= {name: [answer.get(name) for answer in answers] for name in filled}
        return pa.table({name: columns[name] for name in RESULTS.names}, schema=RESULTS)

    def _answer(self, read: list[_File | ImageError]) -> list[dict[str, Any]]:
        """Return score, label, verdict and logit, or error, for each image that was read or not."""
        good = [one for one in read if isinstance(one, _File)]
        scored = iter(self._run(good) if good else [])
        return [next(scored) if isinstance(one, _File) else {"error": str(one)} for one in read]

    def _run(self, images: list[_File]) -> list[dict[str, Any]]:
        inputs = {"image_bytes": tf.constant([image.data for image in images])}
        if self._takes_faces:
            inputs[FACES] = tf.constant(as_input([image.faces for image in images]))
        try:
            outputs = {name: value.numpy() for name, value in self._serve(**inputs).items()}
        except tf.errors.InvalidArgumentError as error:
            if len(images) == 1:
                # The graph refuses what Pillow could read; rare, and no reason to stop.
                return [{"error": f"cannot be decoded: {str(error.message).splitlines()[0]}"}]
            return [answer for image in images for answer in self._run([image])]
        scores = outputs["score"].tolist()
        labels = [str(label, "ascii") for label in outputs["label"]]
        # Exports of older versions know no verdict but the label.
        verdicts = [str(verdict, "ascii") for verdict in outputs.get("verdict", outputs["label"])]
        if self._threshold is not None:
            labels = [label_of(score, self._threshold) for score in scores]
            known = {name: float(outputs[name][0]) for name in ConformalBounds._fields if name in outputs}
            bounds = ConformalBounds(**known)
            verdicts = [verdict_of(score, self._threshold, bounds) for score in scores]
        columns = {"score": scores, "label": labels, "verdict": verdicts, "logit": outputs["logit"].tolist()}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


class _File(NamedTuple):
    """An image that was read: the normalised file, and for a model of faces where these are."""

    data: bytes
    faces: list[Place]


def _read(path: str | None, image: bytes | None, root: str, with_faces: bool) -> _File | ImageError:
    try:
        if image is None and not path:
            raise ImageError("the path is empty")
        name = (path or "image_bytes") if image is not None else os.path.join(root, path or "")
        data = normalise(read_bytes(name) if image is None else image, name)
        return _File(data, places_in_file(data, name) if with_faces else [])
    except ImageError as error:
        return error
