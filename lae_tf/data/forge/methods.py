"""The registry of forging methods, and what every forgery must satisfy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import cv2
import numpy as np

from lae_tf.data.forge.inpainting import InpaintParameters, inpaint
from lae_tf.data.forge.pasting import CopyMoveParameters, SpliceParameters, copy_move, splice
from lae_tf.data.forge.self_blend import SelfBlendParameters, self_blend
from lae_tf.errors import ImageError, UsageError

AREA = (0.02, 0.25)
"""Share of the image that a forgery's mask covers, smallest and largest."""

_ATTEMPTS = 20
_CHANGED = 0.25  # share of the mask's pixels that must differ from the original
_SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Method:
    """A way to forge.

    Attributes:
        function: (image, rng, donor, params) -> (forgery, mask).
        params: a frozen dataclass, the method's defaults.
        needs_donor: whether the function needs a second image.
    """

    function: Callable[..., tuple[np.ndarray, np.ndarray]]
    params: Any
    needs_donor: bool = False


METHODS = {
    "splice": Method(splice, SpliceParameters(), needs_donor=True),
    "copy-move": Method(copy_move, CopyMoveParameters()),
    "inpaint-telea": Method(inpaint, InpaintParameters("telea")),
    "inpaint-ns": Method(inpaint, InpaintParameters("ns")),
    "self-blend": Method(self_blend, SelfBlendParameters()),
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
    ``AREA``, and at least a quarter of its pixels differ from the original by more than one level.

    Args:
        method: a name in ``METHODS``.
        image: uint8 (H, W, 3), at least 16 pixels a side.
        rng: source of randomness.
        donor: uint8 (any height, any width, 3), for methods that need one.

    Returns:
        The forgery, uint8 (H, W, 3), and its mask, uint8 (H, W) in {0, 1}.

    Raises:
        UsageError: unknown method.
        ImageError: the image is too small or too flat to forge.
    """
    chosen = find_method(method)
    if min(image.shape[:2]) < _SMALLEST_SIDE:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise ImageError(f"has {size} pixels, but forging needs at least {_SMALLEST_SIDE} a side")
    for _ in range(_ATTEMPTS):
        forged, mask = chosen.function(image, rng, donor, chosen.params)
        covered = mask.mean()
        # one level is rounding: Poisson cloning "changes" even a uniform surface by that
        changed = (cv2.absdiff(forged, image).max(axis=2) > 1).sum()
        if AREA[0] <= covered <= AREA[1] and changed >= _CHANGED * mask.sum():
            return forged, mask
    raise ImageError(f"is too flat: {method} changed nothing in {_ATTEMPTS} attempts")
