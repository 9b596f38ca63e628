"""One version of a model in memory: a SavedModel, its signatures and its metadata document."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from lae_tf.export.warmup import read_warmup
from lae_tf.serving.engine.signature import Signature
from lae_tf.serving.errors import Code, ServingError, from_exception

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")

# protobuf 5 renamed the option that prints fields which hold their default.
_PRINT_DEFAULTS = next(
    name
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in inspect.signature(json_format.MessageToDict).parameters
)


class LoadedModel:
    """A SavedModel, loaded and ready to run; safe to use from several threads.

    Args:
        name: the model's name in URLs.
        version: its version number.
        path: the version's directory.

    Raises:
        ServingError: not a SavedModel, damaged, or it needs operations that this TensorFlow lacks.
    """

    def __init__(self, name: str, version: int, path: Path):
        self.name = name
        self.version = version
        self.path = path
        try:
            self._definitions = _signature_definitions(path)
            self._loaded = tf.saved_model.load(str(path))
        except Exception as error:
            raise from_exception(error) from error
        self.signatures = {name: _signature(proto) for name, proto in self._definitions.items()}

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata document: every signature of the SavedModel, default values printed."""
        signatures = {
            name: json_format.MessageToDict(proto, preserving_proto_field_name=True, **{_PRINT_DEFAULTS: True})
            for name, proto in sorted(self._definitions.items())
        }
        return {
            "model_spec": {"name": self.name, "signature_name": "", "version": str(self.version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a signature on one array for each of its inputs.

        Returns:
            Arrays by output name, in alphabetical order; strings as ``object`` arrays of bytes.

        Raises:
            ServingError: the operation's own code; INVALID_ARGUMENT for shapes that do not fit.
        """
        try:
            function = self._loaded.signatures[signature]
            tensors = {
                name: tf.constant(value, tf.string if value.dtype == object else value.dtype)
                for name, value in inputs.items()
            }
            outputs = function(**tensors)
            return {name: _to_array(outputs[name]) for name in sorted(outputs)}
        except Exception as error:
            raise from_exception(error) from error


def load_warm(name: str, version: int, path: Path) -> LoadedModel:
    """Load a version and replay its warm-up records, so that no request waits for what a first run prepares.

    Raises:
        ServingError: it cannot be loaded, or a record fails, as in TensorFlow Serving.
    """
    model = LoadedModel(name, version, path)
    try:
        for signature, inputs in read_warmup(path / WARMUP_FILE):
            model.run(signature, inputs)
    except Exception as error:
        failure = from_exception(error)
        raise ServingError(failure.code, f"A warm-up record failed: {failure.message}") from error
    return model


def _to_array(tensor: tf.Tensor) -> np.ndarray:
    # A scalar string comes as bytes, which an array would store without trailing zeros.
    return np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)


def _signature(proto: Any) -> Signature:
    inputs = {name: _numpy_dtype(proto.inputs[name].dtype) for name in sorted(proto.inputs)}
    return Signature(inputs, tuple(sorted(proto.outputs)), str(proto))


def _numpy_dtype(number: int) -> np.dtype:
    try:
        return np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype)
    except TypeError:
        return np.dtype(np.void)


def _signature_definitions(path: Path) -> dict[str, Any]:
    """Read the signatures of the graph that TensorFlow Serving serves, the one tagged ``serve``."""
    file = path / "saved_model.pb"
    if not file.is_file():
        raise ServingError(Code.NOT_FOUND, f"Could not find SavedModel .pb at supplied path: {path}")
    graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    for graph in graphs:
        if set(graph.meta_info_def.tags) == {"serve"}:
            # Copies, so that the graph itself is not kept in memory.
            return {name: copy.deepcopy(proto) for name, proto in graph.signature_def.items()}
    raise ServingError(Code.NOT_FOUND, f"Could not find meta graph def matching supplied tags: {{ serve }} in {path}")
