"""Fakes held against the images that they were made from, where the manifest has both."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy.signal import fftconvolve
from tqdm import tqdm

from lae_tf.images.files import read_image, read_mask
from lae_tf.masks.differencing import Differencing, difference_mask

_PORTION = 64  # pairs in progress at once
_WHOLE = 0.6  # share of an image; a difference beyond it says nothing about a region
_SMALLEST = 40  # pixels of difference that say something about a region
_MARGIN = 3  # pixels by which a difference, being blurred, may reach beyond its mask
_SLIGHT = 3.0  # levels
_SIDE = 160  # pixels of the longer side at which shifts are looked for


@dataclass(frozen=True)
class Comparison:
    """A fake and its likely source.

    Attributes:
        fake: file.
        mask: file, or empty if there is none of the fake's size that marks something.
        source: file of a real image in the same group, of the same size and the most similar.
        same: all pixels are equal, or the image differs slightly and everywhere, as if it had only been saved anew.
        exact: at least half of the pixels are equal, so that what differs was edited, not processed.
        outside: share of what differs that lies outside the mask by more than 3 pixels; NaN without a mask, or where
            what differs is too small or too large to tell, or the whole image was processed.
        shift: by how much (right, down) to move the mask so that the least lies outside, in pixels.
        outside_shifted: that least share.
    """

    fake: str
    mask: str
    source: str
    same: bool
    exact: bool = False
    outside: float = float("nan")
    shift: tuple[int, int] = (0, 0)
    outside_shifted: float = float("nan")


def compare_with_sources(facts: pd.DataFrame, progress: bool = True) -> list[Comparison]:
    """Compare each fake with the most similar real image of its group, if there is one of its size.

    Args:
        facts: of ``read_facts``.
        progress: show a progress bar on stderr.
    """
    pairs = []
    for _, group in facts.groupby(["group", "width", "height"], sort=False):
        reals = group[group["label"] == "real"]
        if reals.empty:
            continue
        for row in group[group["label"] == "fake"].to_dict("records"):
            pairs.append((row["path"], row["mask"] if has_fitting_mask(row) else "", most_similar(row, reals)))
    compared: list[Comparison] = []
    remaining = iter(pairs)
    with ThreadPoolExecutor() as pool, tqdm(total=len(pairs), desc="compare", unit="pair", disable=not progress) as bar:
        while portion := list(islice(remaining, _PORTION)):
            compared += pool.map(_compare, portion)
            bar.update(len(portion))
    return compared


def most_similar(row: Mapping[Any, Any], candidates: pd.DataFrame) -> str:
    """Return the file among candidates, at least one, whose thumbnail is the nearest to a row's."""
    thumbnails = np.stack(candidates["thumbnail"].tolist()).astype(int)
    distances = np.abs(thumbnails - row["thumbnail"]).mean(axis=1)
    return str(candidates["path"].iloc[int(distances.argmin())])


def has_fitting_mask(row: Mapping[Any, Any]) -> bool:
    """Whether a row of facts has a mask of its image's size that marks something."""
    return row["mask_share"] > 0 and (row["mask_width"], row["mask_height"]) == (row["width"], row["height"])


def lies_outside(difference: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of a difference that lies more than 3 pixels outside a mask; both uint8 (H, W) in {0, 1}."""
    grown = cv2.dilate(mask, np.ones((2 * _MARGIN + 1,) * 2, np.uint8))
    return float((difference & (1 - grown)).sum() / max(1, int(difference.sum())))


def says_where(difference: np.ndarray) -> bool:
    """Whether a difference, uint8 (H, W) in {0, 1}, is large enough to be seen and small enough to be a region."""
    return int(difference.sum()) >= _SMALLEST and difference.mean() <= _WHOLE


def _compare(pair: tuple[str, str, str]) -> Comparison:
    fake, mask_file, source = pair
    image, original = read_image(fake), read_image(source)
    steps = _steps(image, original)
    # an edit, however slight, leaves most of the image bit-identical; another compression does not
    identical = float((image == original).all(axis=2).mean())
    exact = identical >= 0.5
    same = identical == 1 or (float(steps.max()) <= _SLIGHT and not exact)
    if not mask_file or same:
        return Comparison(fake, mask_file, source, same, exact)
    mask = read_mask(mask_file)
    difference = _difference(image, original, steps)
    if difference is None or not says_where(difference):
        return Comparison(fake, mask_file, source, same, exact)
    outside = lies_outside(difference, mask)
    if outside == 0:
        return Comparison(fake, mask_file, source, same, exact, outside, (0, 0), outside)
    shift = _best_shift(difference, mask)
    moved = cv2.warpAffine(mask, np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32), mask.shape[::-1])
    return Comparison(fake, mask_file, source, same, exact, outside, shift, lies_outside(difference, moved))


def _steps(image: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Return by how many levels two images differ at each pixel, after a slight blur: float32 (H, W)."""
    difference = image.astype(np.float32) - original
    return np.abs(cv2.GaussianBlur(difference, (0, 0), 1.0)).max(axis=2)


def _difference(image: np.ndarray, original: np.ndarray, steps: np.ndarray) -> np.ndarray | None:
    """Return where two images differ by more than what befell all of them, or None if that is too much to tell."""
    everywhere = float(np.quantile(steps, 0.6))  # most of an edited image is not edited
    if everywhere > _SLIGHT:
        return None
    parameters = Differencing(threshold=12 + 6 * everywhere, extent=6 + 3 * everywhere)
    return difference_mask(image, original, parameters)


def _best_shift(difference: np.ndarray, mask: np.ndarray) -> tuple[int, int]:
    """Return (right, down) by which the mask covers most of the difference; of equal ones the shortest."""
    scale = min(1.0, _SIDE / max(mask.shape))
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    small = [cv2.resize(one.astype(np.float32), size, interpolation=cv2.INTER_AREA) for one in (difference, mask)]
    overlap = fftconvolve(small[0], small[1][::-1, ::-1])
    rows, columns = np.mgrid[: overlap.shape[0], : overlap.shape[1]]
    down, right = rows - (size[1] - 1), columns - (size[0] - 1)
    good = overlap >= overlap.max() - max(0.01 * overlap.max(), 0.5)
    length = np.where(good, down**2 + right**2, np.inf)
    row, column = np.unravel_index(int(np.argmin(length)), length.shape)
    return round(int(right[row, column]) / scale), round(int(down[row, column]) / scale)
