"""One file with the regions of many images: JSON, CSV, or COCO, as its name says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lae_tf.errors import UsageError
from lae_tf.files.atomic import write_text
from lae_tf.masks.regions import MarkedRegion
from lae_tf.masks.rle import compress, encode_coco

_IMAGE = ("path", "width", "height", "label", "verdict")
_REGION = ("x", "y", "region_width", "region_height", "area", "share", "score", "peak")


class _Entry(NamedTuple):
    """An image's record for JSON, and the run-length code of each of its regions, for COCO."""

    record: dict[str, Any]
    segmentations: list[dict[str, Any]]


class RegionsFile:
    """Collects the regions of images, and writes them in the end.

    - ``.json``: a list with the record of each image, as ``lae-tf predict --json`` prints it.
    - ``.csv``: one row per region.
    - ``.coco.json``: COCO instances of one category, "forged", with a ``score`` each, and compressed run-length codes.

    Args:
        path: of the file.

    Raises:
        UsageError: its name ends otherwise.
    """

    def __init__(self, path: Path):
        name = path.name.lower()
        writers = {".coco.json": _coco, ".json": _json, ".csv": _csv}
        suffix = next((suffix for suffix in writers if name.endswith(suffix)), "")
        if not suffix:
            raise UsageError(f"{path}: expected a name that ends in .json, .csv or .coco.json, which says the format.")
        self.path = path
        self._text = writers[suffix]
        self._with_masks = suffix == ".coco.json"
        self._entries: list[_Entry] = []

    def add(self, record: dict[str, Any], regions: Sequence[MarkedRegion]) -> None:
        """Take an image.

        Args:
            record: of the image, with ``path``, ``width``, ``height``, ``verdict`` and ``regions``.
            regions: those of the record.
        """
        segmentations = []
        if self._with_masks:
            size = (record["height"], record["width"])
            for region in regions:
                code = encode_coco(region.on_image(*size))
                segmentations.append({"size": code["size"], "counts": compress(code["counts"])})
        self._entries.append(_Entry(record, segmentations))

    def write(self) -> None:
        """Write the file, whole or not at all."""
        write_text(self.path, self._text(self._entries))


def _json(entries: Sequence[_Entry]) -> str:
    return json.dumps([entry.record for entry in entries], indent=1) + "\n"


def _csv(entries: Sequence[_Entry]) -> str:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["path", "width", "height", "label", "verdict", "image_score", *_REGION])
    for record, _ in entries:
        image = [*(record[name] for name in _IMAGE), record["score"]]
        for region in record["regions"]:
            writer.writerow([*image, *region["box"], *(region[name] for name in _REGION[4:])])
    return table.getvalue()


def _coco(entries: Sequence[_Entry]) -> str:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (record, segmentations) in enumerate(entries, start=1):
        facts = {name: record[name] for name in ("width", "height", "verdict")}
        images.append({"id": number, "file_name": record["path"], **facts, "score": record["score"]})
        for region, segmentation in zip(record["regions"], segmentations, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": region["box"],
                    "area": region["area"],
                    "segmentation": segmentation,
                    "iscrowd": 1,  # so tools know a run-length code
                    "score": region["score"],
                }
            )
    content = {
        "info": {"description": "regions that lae_tf marked"},
        "licenses": [],
        "categories": [{"id": 1, "name": "forged", "supercategory": ""}],
        "images": images,
        "annotations": annotations,
    }
    return json.dumps(content)
