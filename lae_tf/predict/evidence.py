"""What a prediction says about where: overlays, masks, maps and regions at the size of the image file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lae_tf.images.files import read_image, write_png
from lae_tf.images.scaled_map import ScaledMap
from lae_tf.masks.regions import find_regions, marked
from lae_tf.predict.evidence_places import EvidencePlaces
from lae_tf.predict.heatmap_names import picture_names
from lae_tf.predict.regions_file import RegionsFile

if TYPE_CHECKING:
    from lae_tf.predict.images import Prediction


class EvidenceWriter:
    """Writes the evidence of one image after another; each file is whole or not there.

    Args:
        places: what to write, and where.
        files: all images, those of one stem getting names of their own; or the folder that they lie in, below which
            their places are their names.

    Raises:
        UsageError: the name of the file of regions does not say its format.
    """

    def __init__(self, places: EvidencePlaces, files: list[str] | str):
        self._places = places
        self._name_of = picture_names(files)
        self._regions_file = RegionsFile(places.regions) if places.regions else None

    def add(self, prediction: Prediction) -> dict[str, Any]:
        """Write what was asked for of an image that was scored.

        Returns:
            Fields for its record: ``width``, ``height`` and ``regions`` of the upright file, and of what was written
            the files ``heatmap``, ``mask`` and ``map``.

        Raises:
            ImageError: the image cannot be read any more.
        """
        if prediction.size is None or prediction.attention is None:
            raise ValueError(f"{prediction.path} has no attention: {prediction.error}")
        height, width = prediction.size
        attention = ScaledMap(prediction.attention, height, width)
        mask = marked(attention)
        regions = find_regions(attention, mask)
        record = {"width": width, "height": height, "regions": [region.record() for region in regions]}
        places, name = self._places, self._name_of(prediction.path)
        if places.heatmaps:
            picture = overlay_on_file(prediction.path, prediction.attention, places.max_side)
            record["heatmap"] = _written(places.heatmaps / name, picture)
        if places.masks:
            record["mask"] = _written(places.masks / name, 255 * mask)
        if places.maps:
            levels = np.rint(65535 * prediction.attention.astype(np.float64).clip(0, 1)).astype(np.uint16)
            record["map"] = _written(places.maps / name, levels)
        if self._regions_file:
            self._regions_file.add({**prediction.record(), **record}, regions)
        return record

    def finish(self) -> None:
        """Write the file of regions."""
        if self._regions_file:
            self._regions_file.write()


def overlay_on_file(path: str, attention: NDArray[np.float32], max_side: int | None = None) -> NDArray[np.uint8]:
    """Lay a map over the image of a file.

    Args:
        path: of the image file.
        attention: (h, w) in [0, 1], of the whole image, upright.
        max_side: longest side of the result in pixels; None, or more than the image has, keeps its size.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ImageError: as :func:`lae_tf.images.files.read_image`.
    """
    from lae_tf.report.panels import overlay_at_size  # with matplotlib, which scores without heatmaps do not wait for

    image = read_image(path)
    height, width = image.shape[:2]
    if max_side and max_side < max(height, width):
        factor = max_side / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return overlay_at_size(image, attention)


def _written(path: Path, picture: np.ndarray) -> str:
    write_png(path, picture)
    return str(path)
