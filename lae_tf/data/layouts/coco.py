"""Images with COCO instance annotations: each region is forged."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lae_tf.annotation.coco import decode_segmentation
from lae_tf.annotation.items import NOT_FAKE
from lae_tf.annotation.rle import RLEError
from lae_tf.data.finding import images_below
from lae_tf.data.images import read_image
from lae_tf.data.layouts.samples import Found, Sample, read_json, relative_stem, require_samples
from lae_tf.errors import ImageError, UsageError

_IMAGES = ("", "images")


def find(root: Path, write_mask: Callable[[str, np.ndarray], str]) -> Found:
    """Find the images that COCO files list, and write the union of each one's regions as its mask.

    An image with regions is fake, and the categories of its regions are its method; one without, or with
    regions of the category "not a fake", is real. ``file_name`` is looked for below the folder and its
    ``images``.

    Args:
        root: folder with COCO files (``*.json``, at the top or in ``annotations``) and images.
        write_mask: stores a mask, uint8 (H, W) in {0, 1}, under a name and returns the path.

    Raises:
        UsageError: no COCO file, or a damaged one.
    """
    files = sorted({*root.glob("*.json"), *root.glob("annotations/*.json")})
    if not files:
        raise UsageError(f"{root}: holds no COCO file (*.json, at the top or in annotations/).")
    found = Found()
    listed: set[str] = set()
    for file in files:
        _read(file, root, found, listed, write_mask)
    found.unmatched += [f"{path}: no COCO file lists it" for path in images_below(root) if path not in listed]
    return require_samples(found, root, "images that the COCO files list")


def _read(file: Path, root: Path, found: Found, listed: set[str], write_mask: Callable[[str, np.ndarray], str]) -> None:
    content = read_json(file)
    try:
        categories = {str(category["id"]): str(category["name"]) for category in content["categories"]}
        images = {str(image["id"]): image for image in content["images"]}
        regions: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            regions[str(annotation["image_id"])].append(annotation)
        sizes = {key: (int(image["height"]), int(image["width"])) for key, image in images.items()}
        names = {key: str(image["file_name"]) for key, image in images.items()}
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UsageError(
            f"{file}: is not a COCO file; expected categories, images (with file_name, height, width) and annotations."
        ) from None
    orphans = regions.keys() - images.keys()
    found.unmatched += [f"{file}: regions belong to the image {key}, which it does not list" for key in sorted(orphans)]
    for key, name in names.items():
        path = _locate(root, name)
        if path is None:
            found.unmatched.append(f"{file}: its image '{name}' is not there")
            continue
        if path in listed:
            found.unmatched.append(f"{file}: lists '{name}' a second time; left out")
            continue
        listed.add(path)
        group = relative_stem(path, root)
        drawn = [one for one in regions[key] if categories.get(str(one.get("category_id"))) != NOT_FAKE]
        if not drawn:
            found.samples.append(Sample(path, group))
            continue
        method = "+".join(sorted({categories.get(str(one.get("category_id")), "unnamed") for one in drawn}))
        try:
            height, width = read_image(path).shape[:2]
            if sizes[key] != (height, width):
                raise UsageError(f"was drawn on {sizes[key][1]} x {sizes[key][0]} pixels, not {width} x {height}")
            mask = np.zeros((height, width), np.uint8)
            for one in drawn:
                mask |= decode_segmentation(one.get("segmentation"), height, width)
        except (ImageError, RLEError, UsageError) as error:
            found.unmatched.append(f"{file}, image '{name}': {error}; left without a mask")
            found.samples.append(Sample(path, group, method))
            continue
        found.samples.append(Sample(path, group, method, mask=write_mask(group, mask)))


def _locate(root: Path, name: str) -> str | None:
    """Return the absolute path of a listed image, or None; never one outside of the folder."""
    for place in _IMAGES:
        path = os.path.normpath(os.path.join(root, place, name))
        if path.startswith(os.path.join(root, "")) and os.path.isfile(path):
            return path
    return None
