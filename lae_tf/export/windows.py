"""The view ``windows`` within a graph: :func:`lae_tf.data.views.look_in_windows` in operations of TensorFlow.

Windows, pixels and pooling are those of :mod:`lae_tf.data.pyramid` and :mod:`lae_tf.model.window_pooling`. Of the one
level that has more windows than ``MOST_WINDOWS`` leaves, evenly spaced ones are looked at here, and not the most
suspicious and textured ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lae_tf.data.pyramid import STEP
from lae_tf.data.views import FINEST_MAP, MOST_WINDOWS, WINDOWS_AT_ONCE
from lae_tf.model.lae import LAE

_MOST_LEVELS = 31  # halves of an int32


class SeenInGraph(NamedTuple):
    """What a model says of an image.

    Attributes:
        logit: float32 scalar.
        attention: float32 (h, w) in [0, 1], of the whole image, with its aspect.
    """

    logit: tf.Tensor
    attention: tf.Tensor


class _Looked(NamedTuple):
    """What is known of the levels, from the finest down.

    Attributes:
        means: float64 array of scalars, see ``WindowPooling.level_mean``.
        maps: float32 array of (rows, columns), the blended evidence of each; NaN where no window was looked at.
    """

    means: tf.TensorArray
    maps: tf.TensorArray


def look_in_graph(model: LAE, image: tf.Tensor, whole: tuple[tf.Tensor, tf.Tensor]) -> SeenInGraph:
    """Look at the windows of an image of any size.

    Args:
        model: of the view ``windows``.
        image: uint8 (H, W, 3).
        whole: what :meth:`LAE.decision_of` says of the whole of it: the logit, a scalar, and its map (h, w).
    """
    sizes = _level_sizes(tf.shape(image)[:2], model.image_size)
    shares = _windows_of_levels(sizes, model)
    looked = _look_at_levels(model, image, shares)
    means = tf.boolean_mask(looked.means.stack(), shares > 0)
    logit = model.window_pooling.join(means, tf.reduce_sum(shares), whole[0])
    evidence = _fused(looked.maps, sizes, whole[1], model.hyperparameters.stride, tf.shape(image)[:2])
    return SeenInGraph(logit, model.attention_scale(tf.sigmoid(evidence)))


def halved_in_graph(image: tf.Tensor) -> tf.Tensor:
    """Return what :func:`lae_tf.data.pyramid.halved` returns for an image (H, W, 3), to the bit."""
    size = tf.shape(image)[:2]
    height, width = (2 * tf.maximum(1, size[axis] // 2) for axis in (0, 1))
    rows, columns = ((0, tf.minimum(1, size[axis] - 1)) for axis in (0, 1))  # a single one counts twice
    corners = [image[row:height:2, column:width:2] for row in rows for column in columns]
    total = tf.add_n([tf.cast(corner, tf.int16) for corner in corners])
    return tf.cast(tf.bitwise.right_shift(total + 2, 2), tf.uint8)


def _level_sizes(size: tf.Tensor, side: int) -> tf.Tensor:
    """Return height and width, int32 (L, 2), of each level, from the image's own resolution down."""
    halves = tf.bitwise.right_shift(size[None], tf.range(_MOST_LEVELS)[:, None])
    return tf.boolean_mask(tf.maximum(1, halves), tf.reduce_max(halves, axis=1) > side)


def _windows_of_levels(sizes: tf.Tensor, model: LAE) -> tf.Tensor:
    """Return how many windows of each level are looked at, int32 (L,): of the coarse ones all, then what is left."""
    counts = tf.reduce_prod(_places_along(_padded(sizes, model), model.image_size), axis=1)
    coarser = tf.cumsum(counts, exclusive=True, reverse=True)
    return tf.clip_by_value(MOST_WINDOWS - coarser, 0, counts)


def _padded(size: tf.Tensor, model: LAE) -> tf.Tensor:
    """Return sides in whole cells, and of a window at least."""
    cell = model.hyperparameters.stride
    return tf.maximum(model.image_size, -(-size // cell) * cell)


def _places_along(length: tf.Tensor, side: int) -> tf.Tensor:
    """Return how many windows lie along padded sides."""
    return tf.cast(tf.math.ceil(tf.cast(length - side, tf.float64) / (STEP * side)), tf.int32) + 1


def _look_at_levels(model: LAE, image: tf.Tensor, shares: tf.Tensor) -> _Looked:
    count = tf.size(shares)
    means = tf.TensorArray(tf.float64, count, element_shape=())
    maps = tf.TensorArray(tf.float32, count, element_shape=(None, None), infer_shape=False)

    def look(
        number: tf.Tensor, pixels: tf.Tensor, means: tf.TensorArray, maps: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray, tf.TensorArray]:
        corners = _corners(_padded(tf.shape(pixels)[:2], model), shares[number], model)
        level = _mirrored(pixels, _padded(tf.shape(pixels)[:2], model))
        logits, evidence = _look_at_windows(model, level, corners)
        means = means.write(number, model.window_pooling.level_mean(logits, number))
        maps = maps.write(number, _blended(corners, evidence, tf.shape(level)[:2], model.hyperparameters.stride))
        return number + 1, halved_in_graph(pixels), means, maps

    *_, means, maps = tf.while_loop(
        lambda number, *_: number < count,
        look,
        (tf.constant(0), image, means, maps),
        (tf.TensorShape(()), tf.TensorShape((None, None, 3)), None, None),
        parallel_iterations=1,  # levels side by side would take more memory
    )
    return _Looked(means, maps)


def _corners(size: tf.Tensor, share: tf.Tensor, model: LAE) -> tf.Tensor:
    """Return the upper left corners, int32 (share, 2), of evenly spaced windows of a padded level."""
    cell = model.hyperparameters.stride

    def places(length: tf.Tensor) -> tf.Tensor:
        last, count = length - model.image_size, _places_along(length, model.image_size)
        step = tf.cast(last, tf.float64) / tf.cast(tf.maximum(1, count - 1), tf.float64)
        return tf.cast(tf.round(tf.cast(tf.range(count), tf.float64) * step / cell), tf.int32) * cell

    rows, columns = places(size[0]), places(size[1])
    count = tf.cast(tf.size(rows) * tf.size(columns), tf.int64)
    # The middle of each of as many equal parts of the list: all of them, where the share is the whole.
    taken = tf.cast(tf.maximum(1, share), tf.int64)
    chosen = tf.cast((2 * tf.range(tf.cast(share, tf.int64)) + 1) * count // (2 * taken), tf.int32)
    return tf.stack(
        [tf.gather(rows, chosen // tf.size(columns)), tf.gather(columns, chosen % tf.size(columns))], axis=1
    )


def _mirrored(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Let an image (H, W, 3) go on as its mirror image, below and to the right, up to a size (2,)."""
    for axis in (0, 1):
        length = tf.shape(pixels)[axis]
        place = tf.range(size[axis]) % (2 * length)
        pixels = tf.gather(pixels, tf.minimum(place, 2 * length - 1 - place), axis=axis)
    return pixels


def _look_at_windows(model: LAE, level: tf.Tensor, corners: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the logits (N,) and maps (N, h, w) of the windows with corners (N, 2), some at a time."""
    side = model.image_size
    cells = side // model.hyperparameters.stride

    def cut(corner: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(level[corner[0] : corner[0] + side, corner[1] : corner[1] + side], (side, side, 3))

    def look(start: tf.Tensor, logits: tf.Tensor, maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        batch = corners[start : start + WINDOWS_AT_ONCE]
        windows = tf.map_fn(cut, batch, fn_output_signature=tf.TensorSpec((side, side, 3), tf.uint8))
        logit, evidence = model.decision_of(windows)
        return start + WINDOWS_AT_ONCE, tf.concat([logits, logit[:, 0]], 0), tf.concat([maps, evidence], 0)

    _, logits, maps = tf.while_loop(
        lambda start, *_: start < tf.shape(corners)[0],
        look,
        (tf.constant(0), tf.zeros((0,)), tf.zeros((0, cells, cells))),
        (tf.TensorShape(()), tf.TensorShape((None,)), tf.TensorShape((None, cells, cells))),
        parallel_iterations=1,
    )
    return logits, maps


def _blended(corners: tf.Tensor, evidence: tf.Tensor, size: tf.Tensor, cell: int) -> tf.Tensor:
    """Blend windows' maps (N, h, w) into that of their padded level, (rows, columns); NaN where there is none."""
    cells = evidence.shape[1]
    ramp = np.hanning(cells + 2)[1:-1]
    blend = tf.constant(np.outer(ramp, ramp), tf.float32)
    rows, columns = ((corners[:, axis] // cell)[:, None] + tf.range(cells) for axis in (0, 1))
    shape = size // cell
    places = rows[:, :, None] * shape[1] + columns[:, None, :]

    def summed(values: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(values, places, shape[0] * shape[1])

    sums, weights = summed(blend * evidence), summed(tf.broadcast_to(blend, tf.shape(evidence)))
    return tf.reshape(sums / weights, shape)


def _fused(maps: tf.TensorArray, sizes: tf.Tensor, whole: tf.Tensor, cell: int, size: tf.Tensor) -> tf.Tensor:
    """Return the mean over levels, and the whole, of the evidence at places all over the image: (h, w)."""
    longest = tf.reduce_max(size)
    grid = -(-size // cell)
    scaled = tf.round(tf.cast(grid, tf.float64) * FINEST_MAP / tf.cast(tf.reduce_max(grid), tf.float64))
    grid = tf.where(tf.reduce_max(grid) > FINEST_MAP, tf.maximum(1, tf.cast(scaled, tf.int32)), grid)
    shares = [(tf.range(grid[axis], dtype=tf.float32) + 0.5) / tf.cast(grid[axis], tf.float32) for axis in (0, 1)]
    part = tf.cast(size, tf.float32) / tf.cast(longest, tf.float32)
    side = whole.shape[0]
    # As ``lae_tf.data.views.square_places`` has it: beside the shorter side lie mirrors.
    total = _sampled(whole, *(((1 - part[axis]) / 2 + shares[axis] * part[axis]) * side - 0.5 for axis in (0, 1)))

    def add(number: tf.Tensor, total: tf.Tensor, known: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        reach = tf.cast(sizes[number], tf.float32) / cell
        here = _sampled(maps.read(number), *(shares[axis] * reach[axis] - 0.5 for axis in (0, 1)))
        missing = tf.math.is_nan(here)
        return number + 1, total + tf.where(missing, 0.0, here), known + tf.where(missing, 0.0, 1.0)

    start = (tf.constant(0), total, tf.ones_like(total))
    _, total, known = tf.while_loop(lambda number, *_: number < tf.shape(sizes)[0], add, start)
    return total / known


def _sampled(values: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return a map at fractional rows (h,) and columns (w,), bilinearly, its border going on: (h, w)."""
    for axis, places in enumerate((rows, columns)):
        last = tf.shape(values)[axis] - 1
        first = tf.floor(places)
        share = tf.reshape(places - first, (-1, 1) if axis == 0 else (1, -1))
        low, high = (tf.clip_by_value(tf.cast(first, tf.int32) + step, 0, last) for step in (0, 1))
        values = (1 - share) * tf.gather(values, low, axis=axis) + share * tf.gather(values, high, axis=axis)
    return values
