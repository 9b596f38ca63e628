"""The selected images out to other tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lae_tf.annotation import coco, label_studio, png
from lae_tf.annotation.items import Item
from lae_tf.errors import ImageError, ProblemsError, UsageError
from lae_tf.files.atomic import building, write_bytes
from lae_tf.images.files import normalise, read_bytes

FORMATS = ("label-studio", "coco", "png")
IMAGES, MASKS, COCO_FILE = "images", "masks", "annotations.json"


def export_tasks(items: Sequence[Item], kind: str, folder: Path, attention: bool) -> None:
    """Write a new folder with copies of the images and what a tool needs to annotate them.

    Copies have names of their own (:attr:`Item.name`), by which the masks find their way back, and a format
    that every browser shows. The folder appears complete or not at all.

    ==============  ====================================================
    label-studio    ``tasks.json``, ``labeling_config.xml``
    coco            ``annotations.json``
    png             ``masks/``, one canvas per image
    ==============  ====================================================

    Args:
        items: the selected images.
        kind: one of ``FORMATS``.
        folder: must not exist, or be empty.
        attention: add the attention as a starting mask.

    Raises:
        UsageError: the folder is not empty.
        ProblemsError: names every image that cannot be used.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already; choose a new folder.")
    folder = folder.absolute()
    with building(folder) as temporary:
        file_names = _copy_images(items, temporary)
        if kind == "label-studio":
            label_studio.write_tasks(temporary, items, file_names, attention)
        elif kind == "coco":
            # CVAT names images as they were uploaded: without a folder.
            bare = {rank: Path(name).name for rank, name in file_names.items()}
            coco.write_annotations(temporary / COCO_FILE, items, bare, attention)
        else:
            png.write_canvases(temporary / MASKS, items, attention)
        os.replace(temporary, folder)


def _copy_images(items: Sequence[Item], folder: Path) -> dict[int, str]:
    """Copy images into ``folder/images``; return the paths relative to ``folder`` by rank."""
    problems: list[str] = []
    file_names: dict[int, str] = {}
    for item in items:
        try:
            data = normalise(read_bytes(str(item.image)), str(item.image))
        except ImageError as error:
            problems.append(str(error))
            continue
        suffix = ".jpg" if data.startswith(b"\xff\xd8") else ".png"
        file_names[item.rank] = f"{IMAGES}/{item.name}{suffix}"
        write_bytes(folder / file_names[item.rank], data)
    if problems:
        raise ProblemsError("selected images (nothing is exported)", problems)
    return file_names
