"""Images and what was found in them: attention laid over an image, panels, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lae_tf.decision import label_of, score_text
from lae_tf.errors import LAEError
from lae_tf.evaluation.plots import COLOURS, GREY, INK

# Sequential, perceptually uniform and readable without red-green vision.
HEATMAP = "inferno"
STRONGEST_OVERLAY = 0.8


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


@dataclass(frozen=True)
class PanelRow:
    """One image of a `panel`.

    Attributes:
        image: (H, W, 3) float in [0, 1].
        reconstruction: the same shape, or None if the model has no decoder.
        attention: (H, W) float in [0, 1], or None if the model does not localise.
        mask: (H, W) in {0, 1}; None where it is not known.
        score: P(fake).
        label: 1 = fake, 0 = real; None where it is not known.
        name: what the image is, for example its manipulation.
    """

    image: ArrayLike
    reconstruction: ArrayLike | None
    attention: ArrayLike | None
    mask: ArrayLike | None
    score: float
    label: int | None
    name: str = ""


def panel(rows: Sequence[PanelRow], threshold: float) -> Figure:
    """Input, reconstruction, attention and mask side by side; above each row what was found and what is true."""
    titles = ("input", "reconstruction", "attention", "mask")
    size = 1.5
    figure = Figure(figsize=(4 * size + 0.2, (size + 0.32) * max(1, len(rows)) + 0.3))
    grid = figure.subplots(max(1, len(rows)), 4, squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.5 / figure.get_figheight(), hspace=0.22)
    figure.subplots_adjust(wspace=0.04)
    for axes in grid.flat:
        axes.set_axis_off()
    for cells, row in zip(grid, rows, strict=False):
        attended = None if row.attention is None else overlay(row.image, row.attention)
        for axes, picture in zip(cells, (row.image, row.reconstruction, attended), strict=False):
            _show(axes, picture, absent="none")
        _show(cells[3], row.mask, absent="not known")
        text, colour = _verdict(row, threshold)
        cells[0].text(0, 1.04, text, transform=cells[0].transAxes, fontsize=9, color=colour, parse_math=False)
    for i, title in enumerate(titles):
        x = sum(grid[0, i].get_position().intervalx) / 2
        figure.text(x, 1 - 0.06 / figure.get_figheight(), title, ha="center", va="top", fontsize=9, color=GREY)
    return figure


def contact_sheet(images: Sequence[ArrayLike], captions: Sequence[str], columns: int = 6) -> Figure:
    """Small pictures in rows, each with its caption.

    Args:
        images: (H, W, 3) or (H, W) arrays, float in [0, 1] or uint8.
        captions: one short line per image.
        columns: pictures per row.
    """
    if len(images) != len(captions):
        raise LAEError(f"a contact sheet needs one caption per image, found {len(images)} and {len(captions)}")
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.25 * columns, 1.5 * rows), layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in cells:
        axes.set_axis_off()
    for axes, image, caption in zip(cells, images, captions, strict=False):
        _show(axes, image)
        axes.set_title(caption, fontsize=8, pad=3, parse_math=False)
    return figure


def _show(axes: Axes, picture: ArrayLike | None, absent: str = "") -> None:
    if picture is None:
        axes.text(0.5, 0.5, absent, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9)
        return
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8:
        pixels = np.clip(pixels.astype(np.float64), 0, 1)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1, interpolation="nearest")


def _verdict(row: PanelRow, threshold: float) -> tuple[str, str]:
    label = label_of(row.score, threshold)
    called = label == "fake"
    text = f"score {score_text(row.score, threshold, 2)} {'≥' if called else '<'} {threshold:.2f}: called {label}"
    if row.label is None:
        return f"{row.name}  {text}".strip(), INK
    truth = "fake" if row.label else "real"
    name = row.name if row.name and row.name != truth else ""
    right = called == bool(row.label)
    outcome = "correct" if right else "missed" if row.label else "false alarm"
    return f"{truth}{f' ({name})' if name else ''}, {text}, {outcome}", COLOURS[0] if right else COLOURS[1]
