"""The registry of forging methods, and what every forgery must satisfy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import cv2
import numpy as np

from lae_tf.errors import ImageError, UsageError
from lae_tf.forge.blending import BLENDS
from lae_tf.forge.face_swap import FaceSwapParameters, face_swap
from lae_tf.forge.inpainting import (
    FillParameters,
    InpaintParameters,
    inpaint,
    inpaint_patches,
    inpaint_smoothly,
)
from lae_tf.forge.local_edits import (
    EditParameters,
    RecolourParameters,
    WarpParameters,
    recolour,
    sharpen,
    smooth,
    warp,
)
from lae_tf.forge.pasting import CopyMoveParameters, SpliceParameters, copy_move, splice
from lae_tf.forge.self_blend import (
    FaceSelfBlendParameters,
    SelfBlendParameters,
    self_blend,
    self_blend_face,
)

AREA = (0.02, 0.25)
"""Share of the image that a forgery's mask covers, smallest and largest."""
FACE_AREA = (0.0005, 0.8)
"""The same for methods that need a face: as large as the face is."""

_ATTEMPTS = 20
_CHANGED = 0.25  # share of the mask's pixels that must differ from the original
_SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Method:
    """A way to forge.

    Attributes:
        summary: what it does, in one sentence.
        function: (image, rng, donor, params) -> (forgery, mask).
        params: a frozen dataclass, the method's defaults.
        needs_donor: whether the function needs a second image.
        needs_face: whether the image, and the donor if there is one, must show a face.
    """

    summary: str
    function: Callable[..., tuple[np.ndarray, np.ndarray]]
    params: Any
    needs_donor: bool = False
    needs_face: bool = False


METHODS = {
    "splice": Method(
        "Paste a region of another image; hard, feathered or Poisson outline.",
        splice,
        SpliceParameters(),
        needs_donor=True,
    ),
    "splice-feather": Method(
        "Paste a region of another image with a wide feathered outline.",
        splice,
        SpliceParameters(blends=("feather",), feather=(0.03, 0.12)),
        needs_donor=True,
    ),
    "splice-multiband": Method(
        "Paste a region of another image by Laplacian pyramids.",
        splice,
        SpliceParameters(blends=("multiband",)),
        needs_donor=True,
    ),
    "copy-move": Method("Cover a region with another of the same image.", copy_move, CopyMoveParameters()),
    "copy-move-affine": Method(
        "Cover a region with another of the same image, turned by any angle and scaled.",
        copy_move,
        CopyMoveParameters(scale=(0.5, 2.0), turn=180.0, blends=BLENDS),
    ),
    "inpaint-telea": Method(
        "Fill a region from its outline by fast marching.", inpaint, InpaintParameters(algorithm="telea")
    ),
    "inpaint-ns": Method(
        "Fill a region from its outline by Navier-Stokes.", inpaint, InpaintParameters(algorithm="ns")
    ),
    "inpaint-patch": Method(
        "Fill a region with texture from elsewhere in the image.", inpaint_patches, FillParameters()
    ),
    "inpaint-biharmonic": Method(
        "Fill a small region with the smoothest surface that fits.",
        inpaint_smoothly,
        FillParameters(area=(0.025, 0.08)),
    ),
    "warp": Method("Bulge, pinch, twirl or push a region.", warp, WarpParameters()),
    "smooth": Method("Retouch a region by smoothing it.", smooth, EditParameters()),
    "sharpen": Method("Retouch a region by sharpening it.", sharpen, EditParameters()),
    "recolour": Method("Change a region's hue, saturation and brightness.", recolour, RecolourParameters()),
    "self-blend": Method("Mix a region with a slightly changed copy of itself.", self_blend, SelfBlendParameters()),
    "self-blend-face": Method(
        "Mix a part of a face with a slightly changed copy of itself.",
        self_blend_face,
        FaceSelfBlendParameters(),
        needs_face=True,
    ),
    "face-swap": Method(
        "Swap in another image's face, triangle by triangle; Poisson outline.",
        face_swap,
        FaceSwapParameters(),
        needs_donor=True,
        needs_face=True,
    ),
    "face-swap-feather": Method(
        "Swap in another image's face, turned and scaled; feathered outline.",
        face_swap,
        FaceSwapParameters(align="similarity", blend="feather"),
        needs_donor=True,
        needs_face=True,
    ),
    "face-swap-multiband": Method(
        "Swap in another image's face, triangle by triangle, by Laplacian pyramids.",
        face_swap,
        FaceSwapParameters(blend="multiband"),
        needs_donor=True,
        needs_face=True,
    ),
}


def find_method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        UsageError: names the nearest method.
    """
    if name not in METHODS:
        close = get_close_matches(name.lower(), METHODS, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UsageError(f"unknown method '{name}': {hint}Known are {', '.join(METHODS)}")
    return METHODS[name]


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator that belongs to a seed and names, whatever was drawn before."""
    text = "\0".join(map(str, (seed, *names)))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))


def forge_image(
    method: str, image: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Forge one image, trying anew while too little changes (filling a flat surface changes nothing).

    Outside the mask the forgery is bit-identical to the image; the mask covers a share of the image within
    ``AREA`` (``FACE_AREA`` if the method needs a face), and at least a quarter of its pixels differ from the
    original by more than one level.

    Args:
        method: a name in ``METHODS``.
        image: uint8 (H, W, 3), at least 16 pixels a side.
        rng: source of randomness.
        donor: uint8 (any height, any width, 3), for methods that need one.

    Returns:
        The forgery, uint8 (H, W, 3), and its mask, uint8 (H, W) in {0, 1}.

    Raises:
        UsageError: unknown method.
        ImageError: the image is too small or too flat to forge, or shows no face where the method needs one.
        DonorError: the donor shows no face where the method needs one.
        MissingExtraError: the method needs a face, and what finds faces is not installed.
    """
    chosen = find_method(method)
    if min(image.shape[:2]) < _SMALLEST_SIDE:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise ImageError(f"has {size} pixels, but forging needs at least {_SMALLEST_SIDE} a side")
    smallest, largest = FACE_AREA if chosen.needs_face else AREA
    for _ in range(_ATTEMPTS):
        forged, mask = chosen.function(image, rng, donor, chosen.params)
        covered = mask.mean()
        # one level is rounding: Poisson cloning "changes" even a uniform surface by that
        changed = (cv2.absdiff(forged, image).max(axis=2) > 1).sum()
        if smallest <= covered <= largest and changed >= _CHANGED * mask.sum():
            return forged, mask
    raise ImageError(f"is too flat: {method} changed nothing in {_ATTEMPTS} attempts")
