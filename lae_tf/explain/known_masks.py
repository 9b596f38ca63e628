"""What is known of an image: its label and its mask, from a folder of masks or from a manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lae_tf.data.finding import images_in
from lae_tf.data.manifest import Manifest
from lae_tf.errors import UsageError
from lae_tf.images.files import read_mask_of
from lae_tf.model.preprocessing import Preprocessor


@dataclass(frozen=True)
class Truth:
    """What is known of one image.

    Attributes:
        label: 1 = fake, 0 = real, None where it is not known.
        mask: file of the mask; empty where it is not known.
    """

    label: int | None = None
    mask: str = ""


Lookup = Callable[[str], Truth]


def nothing_known(path: str) -> Truth:
    """Know nothing of any image."""
    return Truth()


def truth_from_folder(folder: str | os.PathLike[str], images: Sequence[str]) -> Lookup:
    """Look masks up by name: the mask of ``photos/a.jpg`` is ``FOLDER/a.png``, or ``a`` with another image suffix.

    Raises:
        UsageError: two masks of one name, a mask named as two of the images, as none, or an image itself.
        ImageError: a mask cannot be opened.
    """
    masks: dict[str, str] = {}
    for file in map(Path, images_in(folder)):
        if file.stem in masks:
            raise UsageError(f"{folder}: two masks of one name, {Path(masks[file.stem]).name} and {file.name}.")
        masks[file.stem] = str(file)
    owners: dict[str, str] = {}
    for image in images:
        name = Path(image).stem
        if name in masks and owners.setdefault(name, image) != image:
            raise UsageError(
                f"{masks[name]}: named as two of the images, {owners[name]} and {image}; say in a "
                "manifest (--manifest) whose mask it is."
            )
        if name in masks and os.path.realpath(masks[name]) == os.path.realpath(image):
            raise UsageError(f"{image}: is the image itself, and no mask of it; give the folder of the masks.")
    if not owners:
        raise UsageError(f"{folder}: no mask is named as one of the images; expected the image's name, as a PNG.")
    return lambda path: Truth(mask=masks.get(Path(path).stem, ""))


def truth_from_manifest(path: str | os.PathLike[str], images: Sequence[str]) -> Lookup:
    """Look labels and masks up in a manifest by the image's file.

    Raises:
        UsageError: none of the images stands in it; else UsageError, ManifestError as :meth:`Manifest.read`.
    """
    manifest = Manifest.read(path)
    columns = (manifest.frame["path"], manifest.is_fake, manifest.frame["mask"])
    known = {file: Truth(int(fake), mask if fake else "") for file, fake, mask in zip(*columns, strict=True)}
    if not any(os.path.abspath(image) in known for image in images):
        raise UsageError(f"{path}: none of the images to explain stands in it.")
    return lambda path: known.get(os.path.abspath(path), Truth())


def load_mask(path: str, preprocessor: Preprocessor, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a mask and bring it to where a model's input shows its image, uint8 (S, S) in {0, 1}, as training does.

    Raises:
        ImageError: as ``lae_tf.images.files.read_mask``.
    """
    return preprocessor.resize_mask(read_mask_of(path, size)[..., None])[..., 0].numpy().astype(np.uint8)
