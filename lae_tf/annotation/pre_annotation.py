"""Where a model's attention marks an image, as predictions of Label Studio that people correct."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lae_tf.annotation.label_config import BRUSH, POLYGON, Control
from lae_tf.annotation.task_files import TaskFiles
from lae_tf.errors import ImageError, LAEError, UsageError
from lae_tf.images.scaled_map import ScaledMap
from lae_tf.masks.polygons import outline
from lae_tf.masks.regions import MarkedRegion, find_regions, marked
from lae_tf.masks.rle import encode_brush
from lae_tf.predict.images import predict_files

if TYPE_CHECKING:
    from lae_tf.model.lae import LAE

REMEMBERED = 256
"""Answers: Label Studio gives up after a while and asks again, which then costs nothing."""


class PreAnnotator:
    """Answers with a prediction for each task; one image after another, so that memory is that of one.

    Args:
        model: trained.
        version: by which Label Studio tells predictions of one model from those of another.
        files: of the tasks.
        log: gets one sentence for each task without a prediction.

    Attributes:
        version, log: as given.
    """

    def __init__(self, model: LAE, version: str, files: TaskFiles, log: Callable[[str], None]):
        self.version, self.log = version, log
        self._model, self._files = model, files
        self._remembered = lru_cache(REMEMBERED)(self._predict)

    def predict(self, tasks: Sequence[dict[str, Any]], control: Control) -> list[dict[str, Any]]:
        """Return what is found in the image of each task, in order.

        Args:
            tasks: as Label Studio sends them.
            control: of the project.

        Returns:
            ``result``, one region for each that :func:`lae_tf.masks.regions.find_regions` lists, with its mean
            attention as ``score``; ``score``, the probability that the image is fake; ``model_version``. Where the
            image is missing or cannot be read, no region, and the score None.
        """
        return [self._answer(number, task, control) for number, task in enumerate(tasks, start=1)]

    def _answer(self, number: int, task: dict[str, Any], control: Control) -> dict[str, Any]:
        result: list[dict[str, Any]] = []
        score = None
        try:
            data = task.get("data")
            if not isinstance(data, dict) or control.data not in data:
                raise UsageError(f"its data has no field '{control.data}', which the Image tag names")
            path = self._files.find(data[control.data])
            status = os.stat(path)
            score, result = self._remembered(path, (status.st_mtime_ns, status.st_size), control)
        except (LAEError, OSError) as error:  # of the system's, that the file is gone since it was found
            self.log(f"Task {task.get('id', number)} has no prediction: {error}.")
        return {"result": result, "score": score, "model_version": self.version}

    def _predict(self, path: str, state: tuple[int, int], control: Control) -> tuple[float, list[dict[str, Any]]]:
        """Return score and regions of a file, which is told from another of its name by its state."""
        (prediction,) = predict_files(self._model, [path])
        if prediction.size is None or prediction.attention is None:
            raise ImageError(prediction.error)
        attention = ScaledMap(prediction.attention, *prediction.size)
        found = find_regions(attention, marked(attention))
        regions = [region_of(one, control, f"lae_tf-{number}", prediction.size) for number, one in enumerate(found)]
        return prediction.score, regions


def region_of(found: MarkedRegion, control: Control, identity: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return a region as the project draws it.

    Args:
        found: the region.
        control: of the project; its kind chooses between a brush stroke, the outline, whose points are percentages
            of the image's sides, and the box.
        identity: that no other region of the image has.
        size: height and width of the image in pixels.
    """
    height, width = size
    x, y, across, down = found.box
    if control.kind == BRUSH:
        value: dict[str, Any] = {"format": "rle", "rle": encode_brush(found.on_image(height, width))}
    elif control.kind == POLYGON:
        points = 100 * (outline(found.mask) + np.array([x, y])) / (width, height)
        value = {"points": points.tolist(), "closed": True}
    else:
        box = {"x": x / width, "y": y / height, "width": across / width, "height": down / height}
        value = {**{name: 100 * share for name, share in box.items()}, "rotation": 0}
    return {**control.region(value, identity, size), "score": found.score}
