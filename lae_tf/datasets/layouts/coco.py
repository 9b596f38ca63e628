"""Images with COCO instance annotations: each region is forged."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lae_tf.annotation.foreign_names import Reading, path_readings
from lae_tf.annotation.items import NOT_FAKE
from lae_tf.data.finding import images_below
from lae_tf.datasets.layouts.samples import Found, Sample, relative_stem, require_samples
from lae_tf.errors import ImageError, UsageError
from lae_tf.files.walking import visible
from lae_tf.images.files import read_image
from lae_tf.masks.coco_file import CocoFile, CocoImage, coco_files
from lae_tf.masks.rle import RLEError


def find(root: Path, write_mask: Callable[[str, np.ndarray], str]) -> Found:
    """Find the images that COCO files list, and write the union of each one's regions as its mask.

    An image with regions is fake, and the categories of its regions are its method; one without, or with
    regions of the category "not a fake", is real. ``file_name`` is looked for below the folder, its ``images``, the
    COCO file's own folder, and the sub-folder that ``instances_NAME.json`` speaks of; of an absolute path as much is
    taken as there is here.

    Args:
        root: folder with COCO files (``*.json``, at the top, in ``annotations``, or Roboflow's) and images.
        write_mask: stores a mask, uint8 (H, W) in {0, 1}, under a name and returns the path.

    Raises:
        UsageError: no COCO file, or a damaged one.
    """
    places = [place for place in (root, root / "annotations") if place.is_dir()]
    jsons = {Path(entry.path) for place in places for entry in visible(place) if entry.name.endswith(".json")}
    files = sorted(jsons.union(coco_files(root)))
    if not files:
        raise UsageError(f"{root}: holds no COCO file (*.json, at the top or in annotations/).")
    found = Found(reason="listed in no COCO file")
    index = {unicodedata.normalize("NFC", os.path.relpath(path, root)): path for path in images_below(root)}
    listed: set[str] = set()
    for file in files:
        content = CocoFile.read(file)
        found.unmatched += content.orphans
        for image, path in _located(content, file, root, index, found):
            if path in listed:
                found.unmatched.append(f"{file}: lists '{image.name}' a second time; left out")
                continue
            listed.add(path)
            found.samples.append(_sample(image, path, file, root, found, write_mask))
    return require_samples(found, root, "images that the COCO files list")


def _sample(
    image: CocoImage, path: str, file: Path, root: Path, found: Found, write_mask: Callable[[str, np.ndarray], str]
) -> Sample:
    group = relative_stem(path, root)
    drawn = [region for region in image.regions if region.category != NOT_FAKE]
    if not drawn:
        return Sample(path, group)
    method = "+".join(sorted({"unnamed" if region.category == "?" else region.category for region in drawn}))
    try:
        mask = image.unite(drawn, *read_image(path).shape[:2])
    except (ImageError, RLEError, UsageError) as error:
        found.unmatched.append(f"{file}, image '{image.name}': {error}; left without a mask")
        return Sample(path, group, method)
    return Sample(path, group, method, mask=write_mask(group, mask))


def _located(
    content: CocoFile, file: Path, root: Path, index: dict[str, str], found: Found
) -> list[tuple[CocoImage, str]]:
    """Return the images that are there, each with its absolute path, and name those that are not, or not one alone."""
    own = os.path.relpath(file.parent, root)
    subset = file.stem.removeprefix("instances_")
    places = [os.path.normpath(os.path.join(place, more)) for place in (".", own) for more in ("", "images")]
    places += [subset, os.path.join("images", subset)]
    pairs: list[tuple[CocoImage, str]] = []
    names: defaultdict[str, set[str]] = defaultdict(set)
    for image in content.images:
        fits = sorted(_locate(image.name, places, index))
        if len(fits) > 1:
            found.leave_out(f"{file}: its image '{image.name}' may be {' or '.join(fits)}; left out", fits)
        elif fits:
            pairs.append((image, fits[0]))
            names[fits[0]].add(image.name)
        else:
            found.unmatched.append(f"{file}: its image '{image.name}' is not there")
    for path, several in names.items():
        if len(several) > 1:
            listed = " and ".join(f"'{name}'" for name in sorted(several))
            found.leave_out(f"{file}: {listed} both seem to be {path}; left out", [path])
    return [(image, path) for image, path in pairs if len(names[path]) == 1]


def _locate(name: str, places: list[str], index: dict[str, str]) -> set[str]:
    for readings in path_readings(name):
        fits = {path for reading in readings for path in _fitting(reading, places, index)}
        if fits:
            return fits
    return set()


def _fitting(reading: Reading, places: list[str], index: dict[str, str]) -> set[str]:
    for start in range(len(reading.parts) if reading.anchored else 1):
        end = os.path.join(*reading.parts[start:]) + reading.suffix
        fits = {index[path] for place in places if (path := os.path.normpath(os.path.join(place, end))) in index}
        if fits:
            return fits
    return set()
