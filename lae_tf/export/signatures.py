"""The signatures of an export: what a server is asked, and what it answers, under names that never change."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import matplotlib
import numpy as np
import tensorflow as tf

from lae_tf.data.views import FINEST_MAP
from lae_tf.export.decoding import decode_images, decode_upright
from lae_tf.export.faces import look_at_faces
from lae_tf.export.windows import SeenInGraph, look_in_graph
from lae_tf.metrics.verdict import UNSURE, ConformalBounds
from lae_tf.model.lae import LAE
from lae_tf.model.preprocessing import fitted
from lae_tf.report.panels import HEATMAP, STRONGEST_OVERLAY
from lae_tf.video.face_places import FACES

Outputs = dict[str, tf.Tensor]
Read = Callable[[tf.Tensor], tf.Tensor]
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

    All of them see images in the model's view; of the view ``windows`` images are looked at one by one, and floats are
    rounded to 256 levels. Signatures of a model of faces have an input more, ``faces`` int32 (B, N, 3): top, left and
    side in pixels of the upright image of the square around each face, sides of 0 where an image has fewer than N. No
    graph finds them, and without them nothing is answered.

    ``score`` (B,) float32 is the calibrated P(fake); ``label`` (B,) string is "fake" where score >= threshold,
    else "real"; ``logit`` (B,) float32 is what was calibrated; ``verdict`` (B,) string is the label, or "unsure"
    where a "real" has score >= lowest_fake or a "fake" score <= highest_real. ``threshold``, ``lowest_fake``,
    ``highest_real`` and ``error_rate`` (B,) float32 repeat what the decision goes by.
    ``heatmap_png_bytes`` (B,) string is the attention over the grey image, as ``lae-tf predict --heatmaps`` draws it,
    of the image's size, at most ``FINEST_MAP`` on the longer side; ``reconstruction_error`` (B,) float32 is the mean
    absolute error, of the whole in S x S.
    """
    in_parts = model.view in ("windows", "faces")
    faces = [tf.TensorSpec((None, None, 3), tf.int32, name=FACES)] if model.view == "faces" else []

    def of_files(answer: Callable[[Images], Outputs]) -> Any:
        def serve(data: tf.Tensor, *faces: tf.Tensor) -> Outputs:
            wholes = decode_images(model.preprocessor, data)
            with tf.control_dependencies([wholes]):  # so that only files are decoded again that were found fine
                files = tf.identity(data)
            return answer(Images(model, wholes, lambda position: decode_upright(files[position]), *faces))

        return trace(serve, tf.TensorSpec((None,), tf.string, name="image_bytes"), *faces)

    def of_pixels(dtype: tf.DType) -> Any:
        def serve(images: tf.Tensor, *faces: tf.Tensor) -> Outputs:
            images = _checked(images)
            if not in_parts:
                return decide(model, model.preprocessor.resize(images))
            if not dtype.is_integer:
                images = tf.saturate_cast(tf.round(images * 255), tf.uint8)
            wholes = model.preprocessor.resize(images)
            return decide_in_parts(Images(model, wholes, lambda position: images[position], *faces))

        return trace(serve, tf.TensorSpec((None, None, None, 3), dtype, name="image"), *faces)

    endpoints = {
        "serving_default": of_files(decide_in_parts if in_parts else lambda images: decide(model, images.wholes)),
        "explain": of_files(explain_in_parts if in_parts else explain),
        "tensor": of_pixels(tf.float32),
        "tensor_uint8": of_pixels(tf.uint8),
    }
    write_archive(model, path, endpoints)


class Images(NamedTuple):
    """A batch as a model is asked about it.

    Attributes:
        model: that is asked.
        wholes: the whole images, float32 (B, S, S, 3).
        read: gives the image at a position of the batch at its own size, uint8 (H, W, 3).
        faces: int32 (B, N, 3), for a model of faces.
    """

    model: LAE
    wholes: tf.Tensor
    read: Read
    faces: tf.Tensor | None = None

    def looking(self) -> Callable[[tf.Tensor, tf.Tensor], SeenInGraph]:
        """Return a function that looks at the parts of an image (H, W, 3) at a position of the batch."""
        if self.faces is not None:
            count = tf.shape(self.wholes)[0]
            check = tf.debugging.assert_equal(tf.shape(self.faces)[0], count, "faces must be given for each image")
            with tf.control_dependencies([check]):
                faces = tf.identity(self.faces)
            return lambda position, image: look_at_faces(self.model, image, faces[position])
        logits, maps = self.model.decision_of(self.wholes)
        return lambda position, image: look_in_graph(self.model, image, (logits[position, 0], maps[position]))


def write_archive(model: LAE, path: Path, endpoints: dict[str, Any]) -> None:
    """Write traced functions of the model as the signatures of a SavedModel."""
    archive = keras.export.ExportArchive()
    # Not the whole model: a discriminator and an optimizer have no place in an export.
    for part in (model.encoder, model.head, model.decoder, model.calibration, model.attention_scale):
        archive.track(part)
    if model.view == "windows":
        archive.track(model.window_pooling)
    for name, function in endpoints.items():
        archive.add_endpoint(name, function)
    with contextlib.redirect_stdout(io.StringIO()):  # Keras lists the endpoints there
        archive.write_out(str(path))


def trace(python: Callable[..., Outputs], *specs: tf.TensorSpec) -> Any:
    """Return a ``tf.function`` of inputs, traced, as an archive takes it."""
    function = tf.function(python, input_signature=specs, autograph=False)
    function.get_concrete_function()
    return function


def decide(model: LAE, images: tf.Tensor) -> Outputs:
    """Return the decision's outputs (B,) for images float32 (B, S, S, 3); the fine expert is asked where it counts."""
    logits, _ = model.decision_of(images)
    return _decision(model, _scored(model, logits[:, 0]))


def decide_without_branches(model: LAE, images: tf.Tensor) -> Outputs:
    """Return the same, both experts asked about every image: for runtimes that compile a graph without branches."""
    return _decision(model, model(images, training=False))


def explain(images: Images) -> Outputs:
    """Return :func:`decide`'s outputs, the attention as PNG files and the reconstruction error; of whole images."""
    model, wholes, read, _ = images
    outputs = model(wholes, training=False)

    def draw(position: tf.Tensor) -> tf.Tensor:
        image, attention = read(position), outputs["attention"][position]
        if model.view == "whole":
            attention = without_mirrors(attention, tf.shape(image)[:2])
        return tf.io.encode_png(overlay(*_at_one_size(image, attention)))

    heatmaps = _for_each(draw, wholes, tf.TensorSpec((), tf.string))
    error = _reconstruction_error(wholes, outputs)
    return {**_decision(model, outputs), "heatmap_png_bytes": heatmaps, "reconstruction_error": error}


def decide_in_parts(images: Images) -> Outputs:
    """Return the decision's outputs (B,) of a model of windows or faces."""
    model, look_at = images.model, images.looking()

    def look(position: tf.Tensor) -> tf.Tensor:
        return look_at(position, images.read(position)).logit

    return _decision(model, _scored(model, _for_each(look, images.wholes, tf.TensorSpec((), tf.float32))))


def explain_in_parts(images: Images) -> Outputs:
    """Return what :func:`explain` returns, of a model of windows or faces."""
    model, wholes, read, _ = images
    look_at = images.looking()

    def look(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = read(position)
        seen = look_at(position, image)
        return seen.logit, tf.io.encode_png(overlay(*_at_one_size(image, seen.attention)))

    found, heatmaps = _for_each(look, wholes, (tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.string)))
    error = _reconstruction_error(wholes, model(wholes, training=False))
    return {
        **_decision(model, _scored(model, found)),
        "heatmap_png_bytes": heatmaps,
        "reconstruction_error": error,
    }


def _for_each(look: Callable[[tf.Tensor], Any], wholes: tf.Tensor, spec: Any) -> Any:
    """Call a function with each position of a batch, one after the other, so that one image is in memory."""
    return tf.map_fn(look, tf.range(tf.shape(wholes)[0]), fn_output_signature=spec, parallel_iterations=1)


def _scored(model: LAE, logits: tf.Tensor) -> Outputs:
    return {"logit": logits[:, None], "score": model.calibration(logits[:, None])}


def _at_one_size(image: tf.Tensor, attention: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Bring an image, uint8 (H, W, 3), as floats in [0, 1], and its attention to one size, at most ``FINEST_MAP``."""
    size = tf.shape(image)[:2]
    size = tf.where(tf.reduce_max(size) > FINEST_MAP, fitted(size, FINEST_MAP), size)
    shown = tf.image.resize(image, size, antialias=True) / 255.0
    heat = tf.image.resize(attention[..., None], size)[..., 0]
    return tf.clip_by_value(shown, 0.0, 1.0), tf.clip_by_value(heat, 0.0, 1.0)


def without_mirrors(attention: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Cut a map (S, S) to what shows an image of a height and width: ``data.views.without_mirrors`` in the graph."""
    side = tf.shape(attention)[0]
    share = tf.cast(size, tf.float64) / tf.cast(tf.reduce_max(size), tf.float64)
    lengths = tf.maximum(1, tf.cast(tf.round(tf.cast(side, tf.float64) * share), tf.int32))
    return tf.slice(attention, (side - lengths) // 2, lengths)


def _reconstruction_error(images: tf.Tensor, outputs: Outputs) -> tf.Tensor:
    return tf.reduce_mean(tf.abs(images - outputs["reconstruction"]), axis=(1, 2, 3))


def overlay(images: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
    """Lay attention (..., h, w) over grey images, uint8 (..., h, w, 3): ``report.panels.overlay`` in the graph."""
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
