"""What lies around an image that was cut from a larger one: ``surroundings.csv`` beside the manifest.

Columns: ``path`` of the image and ``source``, the picture that it was cut from, both absolute or relative to the
file's folder; ``left``, ``top``, ``width`` and ``height`` of the cut in pixels of the upright source.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lae_tf.errors import ImageError, UsageError
from lae_tf.files.atomic import write_text
from lae_tf.images.files import read_image

FILE = "surroundings.csv"
_NUMBERS = ("left", "top", "width", "height")
_COLUMNS = ("path", "source", *_NUMBERS)


@dataclass(frozen=True)
class Cut:
    """Where an image was cut from its source, in pixels of the source."""

    source: Path
    left: int
    top: int
    width: int
    height: int

    def view(self) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of what is shown: the cut and as much again on each side, if it is there.

        Right and bottom may lie beyond the source.
        """
        left, top = max(0, self.left - self.width), max(0, self.top - self.height)
        return left, top, self.left + 2 * self.width, self.top + 2 * self.height

    def read(self) -> np.ndarray:
        """Return the view's pixels, uint8 (H, W, 3).

        Raises:
            ImageError: the source cannot be used, or the cut does not lie in it.
        """
        pixels = read_image(self.source)
        if self.left + self.width > pixels.shape[1] or self.top + self.height > pixels.shape[0]:
            raise ImageError(f"{self.source}: is smaller than what {FILE} says was cut from it")
        left, top, right, bottom = self.view()
        return pixels[top:bottom, left:right]


def read_surroundings(folder: Path) -> dict[Path, Cut]:
    """Read the cuts by the absolute path of their image; none where there is no such file.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read: {error}.") from None
    cuts = {}
    for number, row in enumerate(rows, start=1):
        try:
            left, top, width, height = (int(row[name]) for name in _NUMBERS)
            image, source = (Path(os.path.abspath(folder / row[name])) for name in ("path", "source"))
        except (KeyError, TypeError, ValueError):
            expected = f"expected {', '.join(_COLUMNS)}, the last four whole numbers"
            raise UsageError(f"{path}, row {number}: {expected}.") from None
        if min(left, top) < 0 or min(width, height) < 1:
            found = f"{left}, {top}, {width}, {height}"
            raise UsageError(f"{path}, row {number}: expected a place in the source, found {found}.")
        cuts[image] = Cut(source, left, top, width, height)
    return cuts


def write_surroundings(folder: Path, cuts: Iterable[tuple[str, Cut]]) -> None:
    """Write the file for images, each with its cut; images are named relative to the folder, sources absolutely."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for image, cut in cuts:
        path = os.path.relpath(image, folder).replace(os.sep, "/")
        writer.writerow([path, os.path.abspath(cut.source), *(getattr(cut, name) for name in _NUMBERS)])
    write_text(folder / FILE, text.getvalue())
