"""The signatures of an export: what a server is asked, and what it answers, under names that never change."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import matplotlib
import numpy as np
import tensorflow as tf

from lae_tf.export.decoding import decode_images
from lae_tf.metrics.verdict import UNSURE, ConformalBounds
from lae_tf.model.lae import LAE
from lae_tf.report.panels import HEATMAP, STRONGEST_OVERLAY

Outputs = dict[str, tf.Tensor]
Answer = Callable[[LAE, tf.Tensor], Outputs]
_LUMINANCE = (0.299, 0.587, 0.114)
_COLOURS = 256


def write_saved_model(model: LAE, path: Path) -> None:
    """Write a SavedModel that loads with plain ``tf.saved_model.load``; every input and output is batch-major.

    ==================  =============================================  ====================================
    signature           input                                          outputs
    ==================  =============================================  ====================================
    serving_default     ``image_bytes`` string (B,)                    the decision's, below
    explain             ``image_bytes`` string (B,)                    the same, ``heatmap_png_bytes`` and
                                                                       ``reconstruction_error``
    tensor              ``image`` float32 (B, h, w, 3) in [0, 1]       the decision's
    tensor_uint8        ``image`` uint8 (B, h, w, 3) in [0, 255]       the decision's
    ==================  =============================================  ====================================

    ``score`` (B,) float32 is the calibrated P(fake); ``label`` (B,) string is "fake" where score >= threshold,
    else "real"; ``logit`` (B,) float32 is s before calibration; ``verdict`` (B,) string is the label, or "unsure"
    where a "real" has score >= lowest_fake or a "fake" score <= highest_real. ``threshold``, ``lowest_fake``,
    ``highest_real`` and ``error_rate`` (B,) float32 repeat what the decision goes by.
    ``heatmap_png_bytes`` (B,) string is the attention over the grey image, S x S, as ``lae-tf predict --heatmaps``
    draws it; ``reconstruction_error`` (B,) float32 is the mean absolute error.
    """

    def of_files(answer: Answer) -> Any:
        spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
        return trace(lambda data: answer(model, decode_images(model.preprocessor, data)), spec)

    def of_pixels(dtype: tf.DType) -> Any:
        spec = tf.TensorSpec((None, None, None, 3), dtype, name="image")
        return trace(lambda images: decide(model, model.preprocessor.resize(_checked(images))), spec)

    endpoints = {
        "serving_default": of_files(decide),
        "explain": of_files(explain),
        "tensor": of_pixels(tf.float32),
        "tensor_uint8": of_pixels(tf.uint8),
    }
    write_archive(model, path, endpoints)


def write_archive(model: LAE, path: Path, endpoints: dict[str, Any]) -> None:
    """Write traced functions of the model as the signatures of a SavedModel."""
    archive = keras.export.ExportArchive()
    # Not the whole model: a discriminator and an optimizer have no place in an export.
    for part in (model.encoder, model.head, model.decoder, model.calibration, model.attention_scale):
        archive.track(part)
    for name, function in endpoints.items():
        archive.add_endpoint(name, function)
    with contextlib.redirect_stdout(io.StringIO()):  # Keras lists the endpoints there
        archive.write_out(str(path))


def trace(python: Callable[[tf.Tensor], Outputs], spec: tf.TensorSpec) -> Any:
    """Return a ``tf.function`` of one input, traced, as an archive takes it."""
    function = tf.function(python, input_signature=[spec], autograph=False)
    function.get_concrete_function()
    return function


def decide(model: LAE, images: tf.Tensor) -> Outputs:
    """Return the decision's outputs (B,) for images float32 (B, S, S, 3)."""
    return _decision(model, model(images, training=False))


def explain(model: LAE, images: tf.Tensor) -> Outputs:
    """Return :func:`decide`'s outputs, the attention as PNG files and the reconstruction error."""
    outputs = model(images, training=False)
    error = tf.reduce_mean(tf.abs(images - outputs["reconstruction"]), axis=(1, 2, 3))
    heatmaps = tf.map_fn(tf.io.encode_png, overlay(images, outputs["attention"]), fn_output_signature=tf.string)
    return {**_decision(model, outputs), "heatmap_png_bytes": heatmaps, "reconstruction_error": error}


def overlay(images: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
    """Lay attention (B, S, S) over grey images, uint8 (B, S, S, 3): ``evaluation.panels.overlay`` in the graph."""
    colours = tf.constant(matplotlib.colormaps[HEATMAP](np.arange(_COLOURS))[:, :3], tf.float32)
    heat = tf.gather(colours, tf.minimum(tf.cast(attention * _COLOURS, tf.int32), _COLOURS - 1))
    alpha = STRONGEST_OVERLAY * attention[..., None]
    luminance = tf.reduce_sum(images * _LUMINANCE, axis=-1, keepdims=True)
    return tf.cast(tf.round(((1 - alpha) * luminance + alpha * heat) * 255), tf.uint8)


def _decision(model: LAE, outputs: Outputs) -> Outputs:
    score, calibration = outputs["score"][:, 0], model.calibration
    is_fake = score >= calibration.threshold
    label = tf.where(is_fake, "fake", "real")
    # As ``lae_tf.metrics.verdict.verdict_of`` has it.
    is_sure = tf.where(is_fake, score > calibration.highest_real, score < calibration.lowest_fake)
    repeated = ("threshold", *ConformalBounds._fields)
    return {
        "score": score,
        "label": label,
        "logit": outputs["logit"][:, 0],
        "verdict": tf.where(is_sure, label, UNSURE),
        **{name: tf.zeros_like(score) + getattr(calibration, name) for name in repeated},
    }


def _checked(images: tf.Tensor) -> tf.Tensor:
    """Refuse images without pixels, and NaN and infinity, for which a score would mean nothing."""
    tf.debugging.Assert(tf.size(images) > 0, ["image must hold at least one image with pixels"])
    return images if images.dtype.is_integer else tf.debugging.check_numerics(images, "image must be finite")
