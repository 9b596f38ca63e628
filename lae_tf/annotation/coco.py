"""COCO instance annotations: what CVAT and most other tools read and write.

Regions are polygons (several parts of one region are united) or run-length codes, compressed or not. All
regions of an image are united into its mask. A region of the category "not a fake", of any shape, is the
verdict that the image is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lae_tf.annotation.items import FORGED, NOT_FAKE, Drawing, ImageNames, Item
from lae_tf.errors import ImageError, UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.masks.coco_file import CocoFile, CocoImage
from lae_tf.masks.rle import RLEError, encode_coco

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
    file = CocoFile.read(path)
    if FORGED not in file.categories:
        found = ", ".join(f"'{name}'" for name in file.categories) or "none"
        raise UsageError(f"{path}: has no category '{FORGED}' (found {found}); label forged regions so.")
    problems += file.orphans
    for image in file.images:
        if not image.regions:
            continue
        item = names.find(image.name)
        if isinstance(item, str):
            problems.append(f"{path}: {item}")
            continue
        source = f"{path}, image '{image.name}'"
        try:
            yield Drawing(item, source, _unite(image, *item.size()))
        except (RLEError, ImageError, UsageError) as error:
            problems.append(f"{source}: {error}")


def _unite(image: CocoImage, height: int, width: int) -> np.ndarray | None:
    mask = image.unite([one for one in image.regions if one.category == FORGED], height, width)
    labels = {region.category for region in image.regions}
    if labels not in ({FORGED}, {NOT_FAKE}):
        listed = ", ".join(f"'{label}'" for label in sorted(labels))
        raise UsageError(f"has regions of {listed}; expected '{FORGED}' or '{NOT_FAKE}' alone")
    return mask if labels == {FORGED} else None
