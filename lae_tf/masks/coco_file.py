"""COCO files: images, categories and regions, as any tool writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lae_tf.errors import UsageError
from lae_tf.files.json_files import read_json
from lae_tf.files.walking import subfolders, visible
from lae_tf.masks.polygons import fill_polygon
from lae_tf.masks.rle import decode_coco

_PLACES = ("instances_*.json", "annotations.json", "result.json", "_annotations.coco.json")
"""Names of COCO files: of COCO itself and CVAT, of this package, of Label Studio, of Roboflow."""


@dataclass(frozen=True)
class Region:
    """One annotation.

    Attributes:
        category: name of its category; ``?`` where the file does not say.
        segmentation: as it stands in the file, for :func:`decode_segmentation`.
    """

    category: str
    segmentation: Any


@dataclass(frozen=True)
class CocoImage:
    """One image of a file.

    Attributes:
        name: ``file_name``; may be empty.
        size: height and width in pixels that it was drawn on, or None where the file does not say.
        regions: drawn on it.
    """

    name: str
    size: tuple[int, int] | None
    regions: list[Region] = field(default_factory=list)

    def unite(self, regions: Sequence[Region], height: int, width: int) -> np.ndarray:
        """Return the union of regions on the image as it is, uint8 (height, width) in {0, 1}.

        Raises:
            UsageError: they were drawn on another size, or one is neither polygons nor a run-length code.
            RLEError: a damaged run-length code.
        """
        if self.size is not None and self.size != (height, width):
            raise UsageError(f"was drawn on {self.size[1]} x {self.size[0]} pixels, the image has {width} x {height}")
        mask = np.zeros((height, width), np.uint8)
        for region in regions:
            mask |= decode_segmentation(region.segmentation, height, width)
        return mask


@dataclass(frozen=True)
class CocoFile:
    """A COCO file.

    Attributes:
        categories: their names.
        images: in the order of the file.
        orphans: one sentence for each image that regions belong to but that the file does not list.
    """

    categories: list[str]
    images: list[CocoImage]
    orphans: list[str]

    @classmethod
    def read(cls, path: Path) -> CocoFile:
        """Read a file; ids may be numbers in one place and text in another.

        Raises:
            UsageError: not a COCO file, or one with two images of one id.
        """
        content = read_json(path)
        try:
            categories = {_id(category["id"]): str(category["name"]) for category in content["categories"]}
            images: dict[str, CocoImage] = {}
            for image in content["images"]:
                key = _id(image["id"])
                if key in images:
                    raise UsageError(f"{path}: has two images with the id {key}; number them anew.")
                images[key] = CocoImage(str(image.get("file_name") or ""), _size(image))
            homeless: defaultdict[str, int] = defaultdict(int)
            for annotation in content["annotations"]:
                key = _id(annotation["image_id"])
                region = Region(categories.get(_id(annotation.get("category_id")), "?"), annotation.get("segmentation"))
                if key in images:
                    images[key].regions.append(region)
                else:
                    homeless[key] += 1
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            raise UsageError(f"{path}: is not a COCO file; expected images, categories and annotations.") from None
        orphans = [
            f"{path}: {number} regions belong to the image {key}, which the file does not list"
            for key, number in homeless.items()
        ]
        return cls(list(categories.values()), list(images.values()), orphans)


def coco_files(folder: Path) -> list[Path]:
    """Return the COCO files in an exported folder: in itself, in ``annotations``, and Roboflow's in its splits."""
    inner = [entry for entry in subfolders(folder) if entry.name in ("annotations", "train", "valid", "test")]
    entries = [Path(entry.path) for place in (folder, *inner) for entry in visible(place)]
    return [path for path in entries if any(map(path.match, _PLACES)) and path.is_file()]


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return a COCO annotation's region, polygons or a run-length code, as a mask.

    Args:
        segmentation: as it stands in the file; one polygon may lack the list around it, as VIA writes it.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        uint8 (height, width) in {0, 1}.

    Raises:
        UsageError: neither polygons nor a run-length code of this size.
        RLEError: a damaged run-length code.
    """
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if size != [height, width]:
            raise UsageError(f"has a region of the size {size} (height, width), expected {[height, width]}")
        if not isinstance(counts, list | str):
            raise UsageError("has a region whose run-length code is neither a list nor text")
        return decode_coco(counts, height, width)
    mask = np.zeros((height, width), np.uint8)
    if not isinstance(segmentation, list) or not segmentation:
        raise UsageError("has a region without an outline or a mask (a box?); draw it as a polygon or a mask")
    for part in [segmentation] if isinstance(segmentation[0], int | float) else segmentation:
        try:
            points = np.array(part, dtype=float).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            points = np.zeros((0, 2))
        if len(points) < 3 or not np.isfinite(points).all():
            raise UsageError("has a polygon that is not a list of at least three points x, y")
        mask |= fill_polygon(points, height, width)
    return mask


def _id(value: Any) -> str:
    """Return an id as text: 7, 7.0 and "7" are one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = (int(image.get(side) or 0) for side in ("height", "width"))
    return (height, width) if height and width else None
