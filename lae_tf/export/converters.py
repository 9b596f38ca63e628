"""Other runtimes: TFLite and ONNX. They take pixels, not files: ``image`` float32 (B, S, S, 3) in [0, 1]."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lae_tf.data.ingestion import ingest
from lae_tf.data.pipeline import image_dataset
from lae_tf.errors import LAEError, MissingExtraError
from lae_tf.export.signatures import Outputs, decide_without_branches, trace, write_archive
from lae_tf.model.lae import LAE
from lae_tf.training.run import Run
from lae_tf.training.training_data import training_manifest

CALIBRATION_IMAGES = 128
# What stands around the convolutions: residuals of a few grey levels, their correlation and statistics, deviations from
# a mean, and the pooling of exponentials, lose in 8 bits what decides.
_FLOAT_OPERATIONS = (
    "ABS",
    "ADD",
    "ARG_MAX",
    "CONCATENATION",
    "DEPTHWISE_CONV_2D",
    "DIV",
    "EXP",
    "FULLY_CONNECTED",
    "GATHER",
    "LESS",
    "LOG",
    "LOGISTIC",
    "MAXIMUM",
    "MEAN",
    "MINIMUM",
    "MIRROR_PAD",
    "MUL",
    "PACK",
    "PAD",
    "REDUCE_MAX",
    "RESHAPE",
    "RSQRT",
    "SELECT",
    "SELECT_V2",
    "STRIDED_SLICE",
    "SUB",
    "SUM",
    "TRANSPOSE",
    "UNPACK",
)
_OPSET = 17


def write_tflite(model: LAE, path: Path, calibration: np.ndarray | None = None) -> None:
    """Write ``model.tflite``; its outputs are the decision's numbers, (B,): no label, no verdict.

    Args:
        model: what to convert.
        path: of the file.
        calibration: float32 (N, S, S, 3), images whose activations set the ranges of 8-bit convolutions;
            inputs, outputs, high-pass filters and head stay float32. None keeps float32 throughout.

    Raises:
        LAEError: the converter refuses the model.
    """
    with tempfile.TemporaryDirectory() as saved_model:
        write_archive(model, Path(saved_model), {"serving_default": _pixels_to_decision(model)})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
        try:
            path.write_bytes(converter.convert() if calibration is None else _convert_to_int8(converter, calibration))
        except Exception as error:  # the converter raises whatever MLIR raises
            raise LAEError(f"TFLite's converter refused the model ({_first_line(error)}).") from error


def write_onnx(model: LAE, path: Path) -> None:
    """Write ``model.onnx`` (opset 17); its outputs are the decision's numbers, (B,): no label, no verdict.

    Raises:
        MissingExtraError: tf2onnx, onnx or onnxruntime is not installed.
        LAEError: the converter refuses the model.
    """
    try:
        import onnxruntime  # noqa: F401 - the parity gate needs it
        import tf2onnx
    except ImportError:
        raise MissingExtraError("lae-tf export --format onnx", "onnx") from None
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    function = _pixels_to_decision(model)
    try:
        proto, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
    except Exception as error:  # tf2onnx raises bare exceptions
        raise LAEError(f"tf2onnx refused the model ({_first_line(error)}).") from error
    path.write_bytes(proto.SerializeToString())


def calibration_images(run: Run, model: LAE) -> np.ndarray:
    """Return training images for 8-bit calibration, evenly spread over the manifest: float32 (N, S, S, 3)."""
    paths = training_manifest(run.config).select(split="train").frame["path"]
    chosen = np.unique(np.linspace(0, len(paths) - 1, CALIBRATION_IMAGES).round().astype(int))
    files = ingest(paths.iloc[chosen].tolist(), run.image_cache, progress=False)
    return np.concatenate([np.asarray(batch) for batch in image_dataset(files, model.preprocessor, 32)])


def _convert_to_int8(converter: Any, calibration: np.ndarray) -> bytes:
    def images() -> Iterator[dict[str, np.ndarray]]:
        return ({"image": one[None]} for one in calibration)

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=list(_FLOAT_OPERATIONS))
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=images, debug_options=options
    )
    model: bytes = debugger.get_nondebug_quantized_model()
    return model


def _pixels_to_decision(model: LAE) -> Any:
    """Return a traced function without strings, which neither runtime handles well: without label and verdict."""

    def decision(images: tf.Tensor) -> Outputs:
        found = decide_without_branches(model, images)
        return {name: value for name, value in found.items() if value.dtype != tf.string}

    size = model.image_size
    return trace(decision, tf.TensorSpec((None, size, size, 3), tf.float32, name="image"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
