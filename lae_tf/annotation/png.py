"""Folders of PNG masks: one file per image, found by the image's exact name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lae_tf.annotation.items import Drawing, ImageNames, Item
from lae_tf.data.finding import search
from lae_tf.errors import ImageError, UsageError
from lae_tf.images.files import read_mask, write_png


def write_canvases(folder: Path, items: Sequence[Item], attention: bool) -> None:
    """Write a black PNG of each image's size, to be painted white where the image is forged.

    Args:
        folder: of the masks; made if it is missing.
        items: the selected images.
        attention: begin with white where the attention exceeds 0.5.

    Raises:
        ImageError: an image cannot be used.
    """
    for item in items:
        height, width = item.size()
        start = item.starting_mask(height, width) if attention else None
        mask = np.zeros((height, width), np.uint8) if start is None else start
        write_png(folder / f"{item.name}.png", mask * np.uint8(255))


def read_folder(folder: Path, names: ImageNames, problems: list[str]) -> Iterator[Drawing]:
    """Yield the masks in a folder and below it.

    The name without the suffix is what ``export-tasks`` wrote, the image's own stem, or as much of its path as
    tells it from the others.

    Args:
        folder: of PNG files; white or 1 is forged.
        names: of the selected images.
        problems: gets one sentence for each file that cannot be used.

    Raises:
        UsageError: there are no PNG files.
    """
    contents = search(folder)
    files = sorted(Path(path) for path in contents.images if path.lower().endswith(".png"))
    problems += [one.sentence for one in contents.unread(videos=False)]
    if not files:
        raise UsageError(f"{folder}: holds no PNG masks.")
    for path in files:
        name = path.relative_to(folder).as_posix()
        item = names.find(name)
        if isinstance(item, str):
            problems.append(f"{path}: {item}")
            continue
        try:
            yield Drawing(item, str(path), read_mask(path))
        except ImageError as error:
            problems.append(str(error))
