"""Attention: where in the image the decision comes from, differentiable and in float32.

Everything here is a pure function of the encoder's last feature maps, so that it can stand inside the
loss. Map sizes: (B, h, w, C) features, (B, h, w) attention.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Head = Callable[[tf.Tensor], tf.Tensor]


def grad_cam(head: Head, features: tf.Tensor) -> tf.Tensor:
    """Grad-CAM of the logit (Selvaraju et al. 2017, arXiv 1610.02391, without the final ReLU).

    An inner tape watches the features and spans only the head; an outer tape may differentiate through
    it. Channel weights are *summed* over space instead of averaged: the same map times h * w, which puts
    it on the logit's own scale whatever the resolution is (our choice).

    Args:
        head: maps features to the logit (B, 1).
        features: float32 (B, h, w, C).

    Returns:
        float32 (B, h, w), not bounded.
    """
    features = tf.cast(features, tf.float32)
    channel_weights = tf.reduce_sum(logit_gradient(head, features), axis=(1, 2), keepdims=True)
    return tf.reduce_sum(channel_weights * features, axis=-1)


def logit_gradient(head: Head, features: tf.Tensor) -> tf.Tensor:
    """Return ds/dF, float32 (B, h, w, C), of the logit s = head(F) at the features F of the same shape."""
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = head(features)
    return tape.gradient(logit, features)


def cam(kernel: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Class activation map of a linear head (Zhou et al. 2016, arXiv 1512.04150), in closed form.

    Args:
        kernel: float32 (C, 1), the head's weights.
        features: float32 (B, h, w, C).

    Returns:
        float32 (B, h, w): A = sum_k w_k F_k.
    """
    return tf.tensordot(tf.cast(features, tf.float32), tf.cast(kernel, tf.float32)[:, 0], axes=1)


def to_map_logits(attention: tf.Tensor, slope: float, threshold: float) -> tf.Tensor:
    """Return w (A - t), the logits of T(A) = sigmoid(w (A - t)); losses use them for stable gradients."""
    return slope * (attention - threshold)


def resize_map(attention: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resize maps (B, h, w) in [0, 1] to (B, height, width) with bilinear interpolation."""
    return tf.image.resize(attention[..., None], (height, width), method="bilinear")[..., 0]


def pool_mask(mask: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Bring masks (B, H, W, 1) to (B, height, width) by average pooling: the forged share of each cell.

    H and W must be multiples of ``height`` and ``width``. Average pooling rather than ``ResizeArea``,
    which has no XLA kernel.
    """
    rows, columns = mask.shape[1] // height, mask.shape[2] // width
    return tf.nn.avg_pool2d(tf.cast(mask, tf.float32), (rows, columns), (rows, columns), "VALID")[..., 0]


def overlap(fired: tf.Tensor, forged: tf.Tensor) -> tf.Tensor:
    """Return the IoU of two boolean maps (B, h, w), float32 (B,); 0 where both are empty."""
    both = tf.reduce_sum(tf.cast(fired & forged, tf.float32), axis=(1, 2))
    either = tf.reduce_sum(tf.cast(fired | forged, tf.float32), axis=(1, 2))
    return tf.math.divide_no_nan(both, either)
