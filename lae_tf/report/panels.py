"""Images and what was found in them: attention laid over an image, contact sheets."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from numpy.typing import ArrayLike, NDArray

from lae_tf.errors import LAEError
from lae_tf.images.scaled_map import ScaledMap
from lae_tf.report.plots import INK

# Sequential, perceptually uniform and readable without red-green vision.
HEATMAP = "inferno"
STRONGEST_OVERLAY = 0.8
LONGEST_CAPTION = 22  # characters of a contact sheet's caption that fit above its picture


def overlay(image: ArrayLike, attention: ArrayLike) -> NDArray[np.uint8]:
    """Lays attention over a grey version of the image: none leaves the image as it is, full glows yellow.

    Args:
        image: (H, W, 3) or (H, W, 1), float in [0, 1].
        attention: (H, W) or (H, W, 1), float in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    pixels = np.clip(np.asarray(image, dtype=np.float64), 0, 1)
    heat = np.clip(np.asarray(attention, dtype=np.float64), 0, 1)
    right_image = pixels.ndim == 3 and pixels.shape[2] in (1, 3)
    if not right_image or heat.shape not in (pixels.shape[:2], (*pixels.shape[:2], 1)):
        raise LAEError(
            f"an overlay needs an image (H, W, 3) and attention (H, W) of one size, found {pixels.shape} and "
            f"{heat.shape}"
        )
    heat = heat.reshape(pixels.shape[:2])
    luminance = pixels @ [0.299, 0.587, 0.114] if pixels.shape[2] == 3 else pixels[..., 0]
    alpha = STRONGEST_OVERLAY * heat[..., None]
    blended = (1 - alpha) * luminance[..., None] + alpha * matplotlib.colormaps[HEATMAP](heat)[..., :3]
    return np.round(blended * 255).astype(np.uint8)


def overlay_at_size(image: NDArray[np.uint8], attention: ArrayLike) -> NDArray[np.uint8]:
    """Lay a map of any resolution over an image of any size, as :func:`overlay` does, a few rows at a time.

    Args:
        image: uint8 (H, W, 3).
        attention: (h, w), float in [0, 1], of the whole image.

    Returns:
        uint8 (H, W, 3).
    """
    drawn = np.empty_like(image)
    for rows, heat in ScaledMap(attention, *image.shape[:2]).strips():
        drawn[rows] = overlay(image[rows] / np.float32(255), heat)
    return drawn


def heat_colours(steps: int = 9) -> list[str]:
    """Return the colours of attention from 0 to 1 over a mid-grey image, as CSS writes them."""
    heat = np.linspace(0, 1, steps)[None]
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in overlay(np.full((1, steps, 1), 0.5), heat)[0]]


def contact_sheet(images: Sequence[ArrayLike], captions: Sequence[str], legend: str = "", columns: int = 6) -> Figure:
    """Small pictures in rows, each with its caption, which is cut where it is too long for its picture.

    Args:
        images: (H, W, 3) or (H, W) arrays, float in [0, 1] or uint8.
        captions: one short line per image.
        legend: what captions and heat mean, below the pictures and beside the scale of the heat; "" for none.
        columns: pictures per row.
    """
    if len(images) != len(captions):
        raise LAEError(f"a contact sheet needs one caption per image, found {len(images)} and {len(captions)}")
    rows = max(1, -(-len(images) // columns))
    lines = textwrap.wrap(legend, 16 * (columns - 1))
    below = 0.2 + 0.16 * len(lines) if lines else 0.0
    figure = Figure(figsize=(1.25 * columns, 1.5 * rows + below), layout="constrained")
    sheet: FigureBase = figure
    if lines:
        sheet, foot = np.ravel(figure.subfigures(2, 1, height_ratios=[1.5 * rows, below]))
        _scale(foot.add_axes((0.02, 0.5, 0.8 / columns, 0.12)))
        foot.text(1 / columns, 0.5, "\n".join(lines), va="center", fontsize=8, color=INK, parse_math=False)
    cells = list(sheet.subplots(rows, columns, squeeze=False).flat)
    for axes in cells:
        axes.set_axis_off()
    for axes, image, caption in zip(cells, images, captions, strict=False):
        _show(axes, image)
        short = caption if len(caption) <= LONGEST_CAPTION else f"…{caption[1 - LONGEST_CAPTION :]}"
        axes.set_title(short, fontsize=8, pad=3, parse_math=False)
    return figure


def _scale(axes: Axes) -> None:
    """Draw the colours of `overlay` over mid-grey, from 0 to 1."""
    axes.imshow(overlay(np.full((1, 256, 1), 0.5), np.linspace(0, 1, 256)[None]), aspect="auto", extent=(0, 1, 0, 1))
    axes.set(xticks=[0, 1], yticks=[])
    axes.tick_params(labelsize=7.5, length=2)


def _show(axes: Axes, picture: ArrayLike) -> None:
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8:
        pixels = np.clip(pixels.astype(np.float64), 0, 1)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1, interpolation="nearest")
