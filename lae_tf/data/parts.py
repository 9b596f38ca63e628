"""What training sees of images in the views ``windows`` and ``faces``: parts of them, cut out and kept as files."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from lae_tf.data.manifest import Manifest
from lae_tf.data.pyramid import halved
from lae_tf.errors import LAEError
from lae_tf.files.atomic import write_text
from lae_tf.files.json_files import read_json
from lae_tf.forge.methods import generator
from lae_tf.images.files import read_image, read_mask_of, write_png
from lae_tf.video.faces import detect

WINDOWS = 6000
"""Windows cut from all images together, beside the whole of each, as far as the bounds below let it be (ours)."""
WINDOWS_PER_IMAGE = (16, 256)
"""Fewest and most windows of one image; half of them of its own resolution, a quarter of half of it, and so on."""
LEAST_FORGED = 0.005
"""Share of a part that must be forged to make it a fake; one with less of it, but with some, is left out (ours)."""
_ABOUT_THE_FORGERY = 0.5  # share of a fake's windows
_DRAWS_PER_SIZE = 2  # an image is covered so many times at most


class Part(NamedTuple):
    """A part of an image: uint8 (h, w, 3), and the mask of that part, uint8 (h, w), 0 or 255; None if not known."""

    image: np.ndarray
    mask: np.ndarray | None


class Parts(NamedTuple):
    """What :func:`cut_parts` made.

    Attributes:
        manifest: of the parts; groups, methods and splits are those of their images.
        without: number of images that gave none.
    """

    manifest: Manifest
    without: int


def cut_parts(manifest: Manifest, view: str, side: int, seed: int, folder: Path) -> Parts:
    """Cut the images of a manifest into parts and keep these as PNG files; what was cut before is used again.

    A fake's mask decides which of its parts are fakes: those without a forged pixel are real. A fake without a mask
    gives no window, for nobody knows which are forged, and its largest face.

    Args:
        manifest: of images that can be read.
        view: ``windows`` or ``faces``.
        side: of windows, in pixels.
        seed: of the windows' places.
        folder: for the parts; made if it is missing.

    Raises:
        LAEError: there is not one part.
    """
    columns = list(manifest.frame.columns)
    rows = [dict(zip(columns, row, strict=True)) for row in manifest.frame.itertuples(index=False)]

    fewest, most = WINDOWS_PER_IMAGE
    windows = _Windows(side, min(most, max(fewest, WINDOWS // len(rows))), seed)

    def visit(row: dict[str, str]) -> list[dict[str, str]]:
        key = _key(row, view, windows)
        record = folder / key[:2] / f"{key}.json"
        if not record.is_file():
            write_text(record, json.dumps(_cut(row, view, windows, record.with_suffix(""))))
        cells: list[dict[str, str]] = read_json(record)
        files = [{name: part[name] and str(record.parent / part[name]) for name in _FILES} for part in cells]
        return [{**row, **part, **named} for part, named in zip(cells, files, strict=True)]

    with ThreadPoolExecutor() as pool:
        cut = pool.map(visit, rows)
        found = list(tqdm(cut, total=len(rows), desc=f"cut {view}", unit="image", file=sys.stderr))
    parts = [part for of_image in found for part in of_image]
    if not parts:
        wanted = "a face" if view == "faces" else "a mask, or is real"
        raise LAEError(f"none of {len(rows)} images has {wanted}; with data.view: whole they can be trained on.")
    frame = pd.DataFrame(parts, columns=columns)
    return Parts(Manifest(frame, manifest.root), sum(not of_image for of_image in found))


_FILES = ("path", "mask")


class _Windows(NamedTuple):
    """How windows are drawn: their side in pixels, how many of an image, and the seed of their places."""

    side: int
    of_an_image: int
    seed: int


def _key(row: dict[str, str], view: str, windows: _Windows) -> str:
    """Return a name for an image's parts that changes when the image, its mask or the way of cutting does."""
    files = [
        (name, Path(name).stat().st_size, Path(name).stat().st_mtime_ns) for name in (row["path"], row["mask"]) if name
    ]
    facts = (files, row["label"], view, windows, LEAST_FORGED)
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _cut(row: dict[str, str], view: str, windows: _Windows, stem: Path) -> list[dict[str, str]]:
    """Write the parts of an image, and return their cells of the manifest, files by name."""
    is_fake = row["label"] == "fake"
    if view == "windows" and is_fake and not row["mask"]:
        return []
    image = read_image(row["path"])
    mask = read_mask_of(row["mask"], image.shape[:2]) * np.uint8(255) if is_fake and row["mask"] else None
    rng = generator(windows.seed, "parts", Path(row["path"]).name, *image.shape)
    whole = Part(image, mask)
    parts = _cut_windows(whole, windows, rng) if view == "windows" else _cut_faces(whole, is_fake)
    cells: list[dict[str, str]] = []
    for number, part in enumerate(parts):
        # Made smaller, a mask is grey where pixels that are forged and others fall together.
        marked = np.zeros((1, 1), bool) if part.mask is None else part.mask > 127
        forged = float(marked.mean())
        if part.mask is not None and part.mask.any() and forged < LEAST_FORGED:
            continue
        if is_fake and (forged or part.mask is None):
            cell = {"path": f"{stem.name}-{number}.png", "mask": "", "label": "fake"}
        else:
            cell = {"path": f"{stem.name}-{number}.png", "mask": "", "label": "real", "method": ""}
        write_png(stem.with_name(cell["path"]), part.image)
        if forged:
            cell["mask"] = f"{stem.name}-{number}-mask.png"
            write_png(stem.with_name(cell["mask"]), marked * np.uint8(255))
        cells.append(cell)
    return cells


def _cut_windows(whole: Part, windows: _Windows, rng: np.random.Generator) -> Iterator[Part]:
    """Draw windows of every level, and give the whole image, made small."""
    side, wanted, _ = windows
    level = whole
    while max(level.image.shape[:2]) > side:
        wanted = -(-wanted // 2)
        height, width = level.image.shape[:2]
        for _ in range(min(wanted, math.ceil(_DRAWS_PER_SIZE * height * width / side**2))):
            yield _window(level, side, rng)
        if max(height, width) <= 2 * side:
            break
        level = Part(halved(level.image), None if level.mask is None else halved(level.mask))
    yield level


def _window(level: Part, side: int, rng: np.random.Generator) -> Part:
    """Cut a square at a random place, often one about a forged pixel; a smaller level goes on as its mirror image."""
    below, beside = (max(0, side - length) for length in level.image.shape[:2])
    if below or beside:  # as ``Level`` has it
        borders = (0, below, 0, beside, cv2.BORDER_REFLECT)
        mask = None if level.mask is None else np.asarray(cv2.copyMakeBorder(level.mask, *borders))
        level = Part(np.asarray(cv2.copyMakeBorder(level.image, *borders)), mask)
    size = level.image.shape[:2]
    place = [int(rng.integers(0, max(1, length - side + 1))) for length in size]
    if level.mask is not None and level.mask.any() and rng.random() < _ABOUT_THE_FORGERY:
        forged = np.argwhere(level.mask)
        pixel = forged[rng.integers(len(forged))]
        lowest = [max(0, min(int(at) - side + 1, length - side)) for at, length in zip(pixel, size, strict=True)]
        highest = [max(0, min(int(at), length - side)) for at, length in zip(pixel, size, strict=True)]
        place = [int(rng.integers(low, high + 1)) for low, high in zip(lowest, highest, strict=True)]
    cut = tuple(slice(start, start + side) for start in place)
    return Part(level.image[cut], None if level.mask is None else level.mask[cut])


def _cut_faces(whole: Part, is_fake: bool) -> Iterator[Part]:
    """Give the square around each face; of a fake without a mask the largest alone."""
    boxes = detect(whole.image)
    for box in boxes[:1] if is_fake and whole.mask is None else boxes:
        top, left, side = box.place(*whole.image.shape[:2])
        cut = slice(top, top + side), slice(left, left + side)
        yield Part(whole.image[cut], None if whole.mask is None else whole.mask[cut])
