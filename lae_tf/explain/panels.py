"""One explained image: its panel as a figure of its own, and its images for the page."""

from __future__ import annotations

from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lae_tf.explain.explaining import Explanation
from lae_tf.images.files import printable
from lae_tf.metrics.decision import score_text
from lae_tf.metrics.verdict import UNSURE
from lae_tf.report.page import Example, Shot
from lae_tf.report.panels import HEATMAP, overlay
from lae_tf.report.plots import GREY, INK

TITLES = {
    "attention": "attention (LAE)",
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "score_cam": "Score-CAM",
    "smoothgrad": "SmoothGrad",
    "reconstruction_error": "reconstruction error",
    "random": "random (control)",
}
_COLUMNS = 4
_TILE = 1.75  # inches
_OUTLINE = "#56B4E9"


def panel(explanation: Explanation) -> Figure:
    """Draw what is explained, its mask and its reconstruction, then every map over it with its numbers.

    In the shape of the file, or where a square of it is explained, the file with the square in a frame beside them.
    The outline of a known mask lies over input and maps.
    """
    image = np.asarray(explanation.image)
    height, width = _size(explanation)
    shape = height / width
    tiles: list[tuple[str, Any, str]] = [
        ("input", image, ""),
        ("mask", explanation.mask, _mask_note(explanation)),
        ("reconstruction", explanation.reconstruction, ""),
    ]
    maps = [(TITLES[name], overlay(image, one), _numbers(explanation, name)) for name, one in explanation.maps.items()]
    rows = 1 + -(-len(maps) // _COLUMNS)
    in_square = explanation.whole is not None
    if in_square:
        rows = -(-(len(maps) + 5) // _COLUMNS)  # the file, these three, and the legend
    tile_height = _TILE * min(max(shape, 0.5), 1.5)
    figure = Figure(figsize=(_COLUMNS * _TILE, rows * (tile_height + 0.45) + 0.2), layout="constrained")
    cells = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axes in cells:
        axes.set_axis_off()
    if in_square:
        whole = np.asarray(explanation.whole)
        _draw(cells.pop(0), whole.shape[0] / whole.shape[1], "file", whole, "")
        legend = cells.pop()
    else:
        legend = cells.pop(3)
    for axes, tile in zip(cells, [*tiles, *maps], strict=False):
        _draw(axes, shape, *tile)
        if tile[0] not in ("mask", "reconstruction"):
            _outline(axes, explanation.mask)
    _legend(legend, explanation)
    figure.suptitle(_title(explanation), fontsize=9, color=INK, parse_math=False)
    return figure


def example(explanation: Explanation) -> Example:
    """Return what the panel shows as single images, in the shape of the file or the square."""
    image = np.asarray(explanation.image)
    mask = None if explanation.mask is None else 255 * explanation.mask
    size = _size(explanation)
    shots = [
        Shot.of(_shaped(_with_outline(image, explanation.mask), size), "input"),
        Shot.of(_shaped(mask, size), f"mask\n{_mask_note(explanation)}", "not known"),
        Shot.of(_shaped(explanation.reconstruction, size), "reconstruction"),
    ]
    if explanation.whole is not None:
        shots.insert(0, Shot.of(explanation.whole, "file"))
    for name, one in explanation.maps.items():
        picture = _shaped(_with_outline(overlay(image, one), explanation.mask), size)
        shots.append(Shot.of(picture, f"{TITLES[name]}\n{_numbers(explanation, name)}"))
    return Example(shots, _title(explanation), printable(explanation.prediction.path))


def _size(explanation: Explanation) -> tuple[int, ...]:
    """Return height and width of what is explained."""
    image = np.asarray(explanation.image)
    whole = explanation.prediction.size or image.shape[:2]
    return image.shape[:2] if explanation.prediction.square is not None else whole


def _title(explanation: Explanation) -> str:
    prediction, square = explanation.prediction, explanation.prediction.square
    score = score_text(prediction.score, prediction.threshold, 3)
    told = UNSURE if prediction.verdict == UNSURE else f"called {prediction.label}"
    blurred = f"blurred copy {explanation.baseline_score:.3f}"
    if square is not None:
        place = f"the square of {square.side} px at {square.left}, {square.top}"
        blurred = f"{place} alone {explanation.part_score:.3f}, its {blurred}"
    return (
        f"score {score} {'≥' if prediction.label == 'fake' else '<'} {prediction.threshold:.3f}: "
        f"{told}{_known_label(explanation)}; {blurred}"
    )


def _with_outline(image: NDArray, mask: NDArray | None) -> NDArray:
    """Return an image, uint8 or float in [0, 1], with the outline of a mask of its size, as uint8."""
    picture = np.ascontiguousarray(image if image.dtype == np.uint8 else np.rint(255 * image).astype(np.uint8))
    if mask is not None:
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, [round(255 * part) for part in to_rgb(_OUTLINE)], 1)
    return picture


def _shaped(picture: NDArray | None, size: tuple[int, ...]) -> NDArray | None:
    """Return a picture as wide or as high as it is, in the shape of a file of this height and width."""
    if picture is None:
        return None
    factor = max(picture.shape[:2]) / max(size)
    height, width = (max(1, round(side * factor)) for side in size)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def _draw(axes: Axes, shape: float, title: str, picture: NDArray | None, note: str) -> None:
    axes.set_title(title, fontsize=9, pad=3)
    axes.set_box_aspect(shape)  # also where there is no picture
    if picture is not None:
        axes.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.text(0.5, -0.04, note, transform=axes.transAxes, ha="center", va="top", fontsize=7.5, color=INK)


def _outline(axes: Axes, mask: NDArray | None) -> None:
    if mask is not None and mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=_OUTLINE, linewidths=1.0)


def _mask_note(explanation: Explanation) -> str:
    if explanation.mask is None:
        return "not known"
    return f"{100 * explanation.mask.mean():.1f} % forged" if explanation.mask.any() else "nothing forged"


def _numbers(explanation: Explanation, method: str) -> str:
    faithfulness = explanation.faithfulness[method]
    text = f"ins {faithfulness.insertion_auc:.3f}, del {faithfulness.deletion_auc:.3f}"
    if found := explanation.agreement.get(method):
        text += f"\npixel AUROC {found['pixel_auroc']:.3f}, IoU {found['best_iou']:.2f}"
    return text


def _known_label(explanation: Explanation) -> str:
    label = explanation.truth.label
    return "" if label is None else f", is {'fake' if label else 'real'}"


def _legend(axes: Axes, explanation: Explanation) -> None:
    """Show the heat scale and what the outline is, in the cell that has no picture."""
    scale = axes.inset_axes((0.08, 0.62, 0.84, 0.09))
    scale.imshow(np.linspace(0, 1, 256)[None], cmap=matplotlib.colormaps[HEATMAP], aspect="auto")
    scale.set(xticks=[0, 255], xticklabels=["0", "1"], yticks=[])
    scale.tick_params(labelsize=7.5, length=2)
    axes.text(0.5, 0.78, "importance", ha="center", fontsize=8, color=GREY, transform=axes.transAxes)
    if explanation.mask is not None and explanation.mask.any():
        text = "outline: forged region"
        axes.text(0.5, 0.3, text, ha="center", fontsize=8, color=_OUTLINE, weight="bold", transform=axes.transAxes)
