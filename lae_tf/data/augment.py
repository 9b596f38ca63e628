"""Paired augmentation of one image and its mask, in the graph, every draw fixed by a seed pair."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from lae_tf.config.sections import AugmentConfig
from lae_tf.forge.degradations import launder
from lae_tf.runtime.addons import gaussian_filter2d
from lae_tf.runtime.graph_calls import call_python

BLUR_LEVELS = 4


def augment(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tuple[Any, Any, Any]:
    """Augment one image with its mask, and tell whether its pixels still are as they were stored.

    Geometry moves both; everything else changes the image alone. Draws are stateless: the same seed gives
    the same result, whatever ran before.

    Args:
        image: float32 (S, S, 3) in [0, 1].
        mask: float32 (S, S, 1) in {0, 1}; stays binary.
        seed: int32 or int64 (2,).
        config: probabilities and ranges.

    Returns:
        Image and mask as they came, and a bool: False where the image was resampled, blurred, given noise or
        compressed. Flips and colour leave what was stored.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 6))
    harm = [tf.constant(False)]
    if config.flip or config.geometry:
        image, mask, resampled = _move(image, mask, seeds[0], config)
        harm.append(resampled)
    if config.colour:
        image, _ = _sometimes(config.colour, seeds[1], image, lambda x, s: _colour(x, s, config.colour_strength))
    if config.blur:
        image, blurred = _sometimes(config.blur, seeds[2], image, lambda x, s: _blur(x, s, config.blur_sigma))
        harm.append(blurred)
    if config.noise:
        image, noisy = _sometimes(config.noise, seeds[3], image, lambda x, s: _noise(x, s, config.noise_sigma))
        harm.append(noisy)
    image = tf.clip_by_value(image, 0.0, 1.0)
    if config.jpeg:
        low, high = config.jpeg_quality
        image, compressed = _sometimes(config.jpeg, seeds[4], image, lambda x, s: _jpeg(x, s, low, high))
        harm.append(compressed)
    return image, mask, ~tf.reduce_any(tf.stack(harm))


def degrade(image: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tuple[Any, Any]:
    """Return what may have become of one augmented image on its way, and whether anything has.

    It is the image itself, or laundered in whole levels of 255.

    Args:
        image: float32 (S, S, 3) in [0, 1].
        seed: int32 or int64 (2,), the same as of :func:`augment`.
        config: the probability.
    """
    if not config.degrade:
        return image, tf.constant(False)
    return _sometimes(config.degrade, tf.random.experimental.stateless_fold_in(seed, 6), image, _launder)


def _uniform(seed: tf.Tensor, low: float, high: float, shape: tuple[int, ...] = ()) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, low, high)


def _sometimes(probability: float, seed: tf.Tensor, image: tf.Tensor, change: Any) -> tuple[Any, Any]:
    decide, inner = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    happens = _uniform(decide, 0.0, 1.0) < probability
    changed = tf.cond(happens, lambda: change(image, inner), lambda: image)
    return tf.ensure_shape(changed, image.shape), happens


def _move(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tuple[Any, Any, Any]:
    """Flip, rotate, shift, crop in one resampling, bilinear for the image, nearest for the mask; tell if there was."""
    size = tf.cast(tf.shape(image)[0], tf.float32)
    draws = tf.unstack(_uniform(seed, 0.0, 1.0, (6,)))
    flipped = draws[0] < config.flip
    moved = tf.cast(draws[1] < config.geometry, tf.float32)
    angle = moved * (2 * draws[2] - 1) * (config.rotation * math.pi / 180)
    scale = 1.0 - moved * draws[3] * config.crop
    shift_x = moved * (2 * draws[4] - 1) * config.translation * size
    shift_y = moved * (2 * draws[5] - 1) * config.translation * size
    transform = affine_transform(size, angle, scale, shift_x, shift_y, flipped)

    def resample() -> tuple[Any, Any]:
        return project(image, transform, "BILINEAR"), project(mask, transform, "NEAREST")

    def mirror() -> tuple[Any, Any]:
        return tf.reverse(image, [1]), tf.reverse(mask, [1])

    # A flip alone moves pixels without resampling them, which would blur the traces that count.
    still = tf.cond(flipped, mirror, lambda: (image, mask))
    return *tf.cond(moved > 0, resample, lambda: still), moved > 0


def affine_transform(size: Any, angle: Any, scale: Any, shift_x: Any, shift_y: Any, flipped: Any) -> tf.Tensor:
    """Return the (1, 8) output-to-input transform about the image's centre, in pixels."""
    centre = (size - 1.0) / 2.0
    mirror = tf.where(flipped, -1.0, 1.0)
    a, b = mirror * scale * tf.cos(angle), -scale * tf.sin(angle)
    c, d = mirror * scale * tf.sin(angle), scale * tf.cos(angle)
    offset_x = centre - a * centre - b * centre + shift_x
    offset_y = centre - c * centre - d * centre + shift_y
    zero = tf.zeros_like(a)
    return tf.stack([a, b, offset_x, c, d, offset_y, zero, zero])[None]


def project(image: tf.Tensor, transform: tf.Tensor, interpolation: str) -> tf.Tensor:
    """Resample one (S, S, C) image; what lies outside is its mirror image, for image and mask alike."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform,
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )[0]


def _colour(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    brightness, contrast, saturation = tf.unstack(_uniform(seed, -strength, strength, (3,)))
    image = image + brightness
    mean = tf.reduce_mean(image)
    image = mean + (1.0 + contrast) * (image - mean)
    grey = tf.image.rgb_to_grayscale(image)
    return grey + (1.0 + saturation) * (image - grey)


def _blur(image: tf.Tensor, seed: tf.Tensor, largest: float) -> tf.Tensor:
    # tensorflow-addons wants sigma as a Python number, so the draw picks one of a few fixed strengths.
    size = 2 * math.ceil(2 * largest) + 1
    levels = [largest * step / BLUR_LEVELS for step in range(1, BLUR_LEVELS + 1)]
    branches = [lambda sigma=sigma: gaussian_filter2d(image[None], size, sigma)[0] for sigma in levels]
    level = tf.random.stateless_uniform((), seed, 0, BLUR_LEVELS, tf.int32)
    return tf.switch_case(level, branches)


def _noise(image: tf.Tensor, seed: tf.Tensor, largest: float) -> tf.Tensor:
    level, values = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    return image + _uniform(level, 0.0, largest) * tf.random.stateless_normal(tf.shape(image), values)


def _jpeg(image: tf.Tensor, seed: tf.Tensor, low: int, high: int) -> tf.Tensor:
    quality = tf.random.stateless_uniform((), seed, low, high + 1, tf.int32)
    return tf.image.adjust_jpeg_quality(image, quality)


def _launder(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    def run(values: np.ndarray, draw: np.ndarray) -> np.ndarray:
        levels = np.rint(255 * values).astype(np.uint8)
        # NumPy wants no negative seeds.
        return launder(levels, np.random.default_rng(draw.astype(np.uint32))).astype(np.float32) / 255

    return call_python(run, [image, seed], tf.float32)
