"""Views: what a model gets to see of an image of any size, and how what it says of the parts is put together again.

``whole``
    The image, made smaller until its longer side is the model's; one input.
``windows``
    Overlapping squares of the model's size at the image's own resolution and at halves of it, and the whole; where they
    are many, the most suspicious by the coarser levels and the most textured ones of the finest levels.
``faces``
    A square around every face.

One implementation serves training (:mod:`lae_tf.data.parts`), evaluation and prediction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.special import expit

from lae_tf.data.pyramid import Level, Window, pyramid, sampled
from lae_tf.errors import UsageError
from lae_tf.model.window_pooling import WindowLogits
from lae_tf.video.face_places import places_in

WHOLE_VIEWS = ("whole", "stretched")
"""Views in which an image is one input."""
NO_FACE = -50.0
"""Logit of an image without a face where it has to have one (ours): nothing in it is called fake."""
MOST_WINDOWS = 1000
"""Windows of one image that are looked at, the whole aside."""
WINDOWS_AT_ONCE = 32
"""Windows that the model looks at together."""
FINEST_MAP = 1024
"""Values along the longer side of a map of an image; more of them show no smaller a region."""


class Detector(Protocol):
    """What looking at an image takes of a model: LAE, or a peer that it is compared with.

    ``decide_on_batch`` returns the logits, float32 (B,), and those of the map, (B, S / stride, S / stride), of images
    (B, S, S, 3). ``localises`` is False where the map says nothing.
    """

    image_size: int
    view: str
    preprocessor: Any
    attention_scale: Any
    window_pooling: Any

    @property
    def stride(self) -> int: ...

    @property
    def localises(self) -> bool: ...

    def decide_on_batch(self, images: Any) -> tuple[np.ndarray, np.ndarray]: ...


class Square(NamedTuple):
    """A square of an image, in its pixels; where the image ends within it, it goes on as its mirror image."""

    top: int
    left: int
    side: int


class Seen(NamedTuple):
    """What a model says of an image.

    Attributes:
        logit: of the image, a float32 number; NaN where there was nothing to see, as without a face.
        attention: float32 (h, w) in [0, 1], of the whole image at any resolution, with its aspect.
        square: the most suspicious window or face; None where the image was looked at as a whole alone.
    """

    logit: float
    attention: np.ndarray
    square: Square | None = None


class InWindows(NamedTuple):
    """What a model says of the windows of an image, and of the whole of it.

    Attributes:
        logits: of the windows and the whole.
        evidence: float32 (h, w), the logits of the attention: those of a level's windows blended, those of the levels
            averaged.
        squares: where the windows are, those of each level in the order of its logits.
    """

    logits: WindowLogits
    evidence: np.ndarray
    squares: list[list[Square]]


def look(
    model: Detector, image: np.ndarray, seconds: float | None = None, faces: Sequence[Square] | None = None
) -> Seen:
    """Look at an image of any size in the model's view.

    Memory is the image's, its pyramid's (a third of it) and that of a few windows.

    Args:
        model: trained.
        image: uint8 (H, W, 3), upright.
        seconds: after which no more windows are looked at; None: until all, or ``MOST_WINDOWS``, were.
        faces: in the view ``faces``, where they are; None: they are looked for.
    """
    if model.view == "windows":
        logits, evidence, squares = look_in_windows(model, image, seconds)
        place = model.window_pooling.most_suspicious(logits)
        square = None if place is None else squares[place[0]][place[1]]
        return Seen(model.window_pooling.pooled(logits), attention_of(model, evidence), square)
    if model.view == "faces":
        return _at_faces(model, image, [Square(*place) for place in places_in(image)] if faces is None else faces)
    logit, evidence = model.decide_on_batch(np.asarray(model.preprocessor.resize(image))[None])
    return Seen(float(logit[0]), attention_of(model, whole_map(evidence[0], image.shape[:2], model.view)))


def require_view(model: Detector, what: str, views: Sequence[str] = WHOLE_VIEWS) -> None:
    """Refuse a model of another view.

    Args:
        model: trained.
        what: needs it, as the beginning of a sentence.
        views: that are taken; by default those that take an image as one input.

    Raises:
        UsageError: the model's view is another.
    """
    if model.view not in views:
        taken = " or ".join(f"'{view}'" for view in views if view != "stretched")
        raise UsageError(
            f"{what} takes models of the view {taken}; this one's is '{model.view}'. lae-tf predict and lae-tf "
            "evaluate take it; for this, train with another data.view."
        )


def whole_map(values: np.ndarray, size: Sequence[int], view: str = "whole") -> np.ndarray:
    """Return the part of a square map that shows the image, with the image's aspect.

    Args:
        values: (s, s), a map of what ``Preprocessor.resize`` made of an image.
        size: height and width of the image.
        view: of the model; ``stretched`` ones saw the image without its aspect.

    Returns:
        (s, w) or (h, s), as the longer side lies; a stretched map is brought to that shape.
    """
    side = len(values)
    height, width = (max(1, round(side * length / max(size))) for length in size)
    if (height, width) == values.shape:
        return values
    rows, columns = ((np.arange(length) + 0.5) / length for length in (height, width))
    return sampled(values, *square_places(rows, columns, size, side, view))


def without_mirrors(values: np.ndarray, size: Sequence[int], view: str = "whole") -> np.ndarray:
    """Return the rows and columns of a square that show the image itself; arguments are those of :func:`whole_map`.

    Args:
        values: (S, S) or (S, S, C), in the place of a model's input.
        size: height and width of the image.
        view: of the model; ``stretched`` ones have no mirrors.
    """
    if view == "stretched":
        return values
    side = len(values)
    lengths = [max(1, round(side * length / max(size))) for length in size]
    rows, columns = (slice((side - length) // 2, (side - length) // 2 + length) for length in lengths)
    return values[rows, columns]


def square_places(
    rows: np.ndarray, columns: np.ndarray, size: Sequence[int], side: int, view: str = "whole"
) -> tuple[np.ndarray, np.ndarray]:
    """Return where rows and columns of an image, from 0 to 1, lie in a square map of it, in its pixels.

    Args:
        rows: float (h,).
        columns: float (w,).
        size: height and width of the image.
        side: of the map.
        view: as for :func:`whole_map`.
    """
    longest = max(size)
    high, wide = (1.0, 1.0) if view == "stretched" else (size[0] / longest, size[1] / longest)
    # A border of half of what the shorter side lacks lies before the image.
    return ((1 - high) / 2 + rows * high) * side - 0.5, ((1 - wide) / 2 + columns * wide) * side - 0.5


def attention_of(model: Detector, evidence: np.ndarray) -> np.ndarray:
    """Return the attention of map logits, float32 in [0, 1]: the model's, calibrated so that 0.5 is "forged"."""
    level = float(model.attention_scale.level)
    return np.asarray(expit(evidence - np.log(level / (1 - level))), np.float32)


def look_in_windows(model: Detector, image: np.ndarray, seconds: float | None = None) -> InWindows:
    """Look at the windows of an image, and at the whole of it; arguments are those of :func:`look`."""
    began = time.monotonic()
    side, cell = model.image_size, model.stride
    levels = pyramid(image, side, cell)
    logit, evidence = model.decide_on_batch(np.asarray(model.preprocessor.resize(image))[None])
    size = image.shape[:2]
    grid = [np.maximum(1, -(-length // cell)) for length in size]
    longest = max(grid)
    if longest > FINEST_MAP:
        grid = [max(1, round(length * FINEST_MAP / longest)) for length in grid]
    rows, columns = ((np.arange(length) + 0.5) / length for length in grid)
    maps = [sampled(evidence[0], *square_places(rows, columns, size, len(evidence[0])))]
    logits: list[np.ndarray] = []
    squares: list[list[Square]] = []
    left = MOST_WINDOWS
    for level in reversed(levels):
        chosen = _chosen(level, left, np.mean(maps, axis=0))
        left -= len(chosen)
        found: list[np.ndarray] = []
        for start in range(0, len(chosen), WINDOWS_AT_ONCE):
            if seconds is not None and time.monotonic() - began > seconds:
                break
            batch = chosen[start : start + WINDOWS_AT_ONCE]
            scores, evidences = model.decide_on_batch(np.stack([level.cut(window) for window in batch]))
            for window, one in zip(batch, evidences, strict=True):
                level.add(window, one)
            found.append(scores)
        logits.insert(0, np.concatenate(found) if found else np.zeros(0, np.float32))
        wide = level.factor * side
        squares.insert(0, [Square(level.factor * top, level.factor * beside, wide) for top, beside in chosen])
        here = level.evidence_at(rows, columns)
        # Where this level was not looked at, what coarser ones say holds.
        maps.append(np.where(np.isnan(here), np.mean(maps, axis=0), here))
    return InWindows(WindowLogits(logits, float(logit[0])), np.mean(maps, axis=0), squares)


def _chosen(level: Level, most: int, evidence: np.ndarray) -> list[Window]:
    """Return a level's windows, or so many of them: by turns the most suspicious and the most textured ones left."""
    windows = level.windows()
    if len(windows) <= most or most <= 0:
        return windows[: max(0, most)]
    height, width = level.size
    rows, columns = evidence.shape

    def suspicion(window: Window) -> float:
        top, bottom = (int(place / height * rows) for place in (window.top, window.top + level.side))
        left, right = (int(place / width * columns) for place in (window.left, window.left + level.side))
        return float(evidence[top : bottom + 1, left : right + 1].max(initial=-np.inf))

    texture = [level.texture(window) for window in windows]
    orders = [
        np.argsort([-suspicion(window) for window in windows], kind="stable"),
        np.argsort(-np.array(texture), kind="stable"),
    ]
    merged = dict.fromkeys(int(row) for pair in zip(*orders, strict=True) for row in pair)
    return [windows[row] for row in sorted(list(merged)[:most])]


def _at_faces(model: Detector, image: np.ndarray, places: Sequence[Square]) -> Seen:
    attention = np.zeros(image.shape[:2], np.float32)
    if not places:
        return Seen(float("nan"), attention)
    crops = [image[top : top + side, left : left + side] for top, left, side in places]
    inputs = np.stack([np.asarray(model.preprocessor.resize(crop)) for crop in crops])
    logits, evidence = model.decide_on_batch(inputs)
    for (top, left, side), one in zip(places, attention_of(model, evidence), strict=True):
        share = (np.arange(side) + 0.5) / side * len(one) - 0.5
        part = attention[top : top + side, left : left + side]
        np.maximum(part, sampled(one, share, share), out=part)
    return Seen(float(logits.max()), attention, places[int(np.argmax(logits))])
