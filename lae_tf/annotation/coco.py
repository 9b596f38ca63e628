"""COCO instance annotations: what CVAT and most other tools read and write.

Regions are polygons (several parts of one region are united) or run-length codes, compressed or not. All
regions of an image are united into its mask. A region of the category "not a fake", of any shape, is the
verdict that the image is none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lae_tf.annotation.items import FORGED, NOT_FAKE, Drawing, ImageNames, Item, read_json
from lae_tf.annotation.polygons import fill_polygon
from lae_tf.annotation.rle import RLEError, decode_coco, encode_coco
from lae_tf.atomic import write_bytes
from lae_tf.errors import ImageError, UsageError

CATEGORIES = {1: FORGED, 2: NOT_FAKE}


def write_annotations(path: Path, items: Sequence[Item], file_names: dict[int, str], attention: bool) -> None:
    """Write a COCO file with the images and, optionally, where the attention exceeds 0.5.

    Masks are written as uncompressed run-length codes with ``iscrowd`` 1, which CVAT takes for masks; as
    polygons it would split or refuse disconnected ones.

    Args:
        path: of the JSON file.
        items: the selected images.
        file_names: by rank, as the images are named in the other tool.
        attention: write it as regions, to be corrected.

    Raises:
        ImageError: an image cannot be used.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for item in items:
        height, width = item.size()
        images.append({"id": item.rank, "file_name": file_names[item.rank], "width": width, "height": height})
        start = item.starting_mask(height, width) if attention else None
        if start is not None:
            annotations.append({"id": len(annotations) + 1, "image_id": item.rank, **region(start)})
    content = {
        "info": {"description": "selected by lae_tf"},
        "licenses": [],
        "categories": [{"id": number, "name": name, "supercategory": ""} for number, name in CATEGORIES.items()],
        "images": images,
        "annotations": annotations,
    }
    write_bytes(path, json.dumps(content).encode("utf-8"))


def region(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask, uint8 (H, W) with at least one forged pixel, as the fields of a COCO annotation."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "category_id": 1,
        "segmentation": encode_coco(mask),
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "iscrowd": 1,
    }


def read_annotations(path: Path, names: ImageNames, problems: list[str]) -> Iterator[Drawing]:
    """Yield the masks and verdicts in a COCO file. Images without regions are left out.

    Args:
        path: of the JSON file.
        names: of the selected images.
        problems: gets one sentence for each image that cannot be used.

    Raises:
        UsageError: not a COCO file, or none of its categories is called "forged".
    """
    content = read_json(path)
    try:
        categories = {str(category["id"]): str(category["name"]) for category in content["categories"]}
        images = {image["id"]: image for image in content["images"]}
        regions: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            regions[annotation["image_id"]].append(annotation)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{path}: is not a COCO file; expected images, categories and annotations.") from None
    if FORGED not in categories.values():
        found = ", ".join(f"'{name}'" for name in categories.values()) or "none"
        raise UsageError(f"{path}: has no category '{FORGED}' (found {found}); label forged regions so.")
    for identity, drawn in regions.items():
        if identity not in images:
            problems.append(
                f"{path}: {len(drawn)} regions belong to the image {identity}, which the file does not list"
            )
            continue
        file_name = str(images[identity].get("file_name", ""))
        item = names.find(file_name)
        if isinstance(item, str):
            problems.append(f"{path}: {item}")
            continue
        source = f"{path}, image '{file_name}'"
        try:
            height, width = item.size()
            claimed = (images[identity].get("height", height), images[identity].get("width", width))
            if claimed != (height, width):
                raise UsageError(f"was drawn on {claimed[1]} x {claimed[0]} pixels, the image has {width} x {height}")
            yield Drawing(item, source, _unite(drawn, categories, height, width))
        except (RLEError, ImageError, UsageError) as error:
            problems.append(f"{source}: {error}")


def _unite(regions: Sequence[dict[str, Any]], categories: dict[str, str], height: int, width: int) -> np.ndarray | None:
    labels = {categories.get(str(region.get("category_id")), "?") for region in regions}
    if labels == {NOT_FAKE}:
        return None
    if labels != {FORGED}:
        listed = ", ".join(f"'{label}'" for label in sorted(labels))
        raise UsageError(f"has regions of {listed}; expected '{FORGED}' or '{NOT_FAKE}' alone")
    mask = np.zeros((height, width), np.uint8)
    for annotation in regions:
        mask |= decode_segmentation(annotation.get("segmentation"), height, width)
    return mask


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return a COCO annotation's region, polygons or a run-length code, as a mask.

    Args:
        segmentation: as it stands in the file.
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
    for part in segmentation:
        try:
            points = np.array(part, dtype=float).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            points = np.zeros((0, 2))
        if len(points) < 3 or not np.isfinite(points).all():
            raise UsageError("has a polygon that is not a list of at least three points x, y")
        mask |= fill_polygon(points, height, width)
    return mask
