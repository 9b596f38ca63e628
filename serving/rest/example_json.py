"""The bodies of :classify and :regress: JSON examples to serialized tf.Example, results to JSON.

Rules and error texts are TensorFlow Serving's (util/json_tensor.cc, servables/tensorflow/classifier.cc and
regressor.cc). The signature has one input ``inputs`` that takes serialized tf.Example protos.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from lae_tf.serving.engine.signature import Signature
from lae_tf.serving.errors import Code, ServingError, invalid
from lae_tf.serving.rest import json_text
from lae_tf.serving.rest.json_parser import Repeated
from lae_tf.serving.rest.json_text import INDENT, quote, shown
from lae_tf.serving.rest.tensor_json import decode_base64, is_base64_object, json_type, shape_text

# tensorflow.Example as TensorFlow's own file defines it; importing that one takes all of TensorFlow, which the
# processes that read large requests do without.
_PROTO = """
name: "lae_tf/example.proto" package: "lae_tf.example" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type {
  name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type_name: ".lae_tf.example.BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type_name: ".lae_tf.example.FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type_name: ".lae_tf.example.Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: ".lae_tf.example.Features.FeatureEntry" }
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type_name: ".lae_tf.example.Feature" }
  }
}
message_type { name: "Example" field { name: "features" number: 1 type_name: ".lae_tf.example.Features" } }
"""
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def to_examples(document: Mapping[str, Any]) -> np.ndarray:
    """Convert a :classify or :regress request to serialized tf.Example protos.

    A ``context`` object is a further example, whose features are added to each of the others.

    Returns:
        object array [N] of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    context = _serialized(document["context"]) if "context" in document else b""
    problem = None
    if "examples" not in document:
        problem = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(document["examples"], list):
        problem = "Expecting 'examples' value to be an list/array"
    elif not document["examples"]:
        problem = "'examples' value is an empty array"
    if problem:
        raise invalid(f"JSON Value: {shown(document)} {problem}")
    # Serialized messages one after the other are the merged message.
    serialized = [context + _serialized(example) for example in document["examples"]]
    return np.array([*serialized, None], object)[:-1]


def _serialized(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    example = _message_class("Example")()
    for name, content in value.pairs if isinstance(value, Repeated) else value.items():
        feature = _message_class("Feature")()
        for item in content if isinstance(content, list) else [content]:
            _add(feature, name, item)
        example.features.feature[name].CopyFrom(feature)
    return bytes(example.SerializeToString(deterministic=True))


@cache
def _message_class(name: str) -> Any:
    pool = _pool()
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"lae_tf.example.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()).SerializeToString())
    return pool


def _add(feature: Any, name: str, value: Any) -> None:
    item: Any
    if isinstance(value, str):
        kind, item = "bytes_list", value.encode("utf-8", "surrogateescape")
    elif is_base64_object(value):
        kind, item = "bytes_list", None
    elif isinstance(value, float) or (isinstance(value, int) and not -(2**63) <= value < 2**64):
        with np.errstate(over="ignore"):
            kind, item = "float_list", float(np.float32(value))
    elif isinstance(value, int):
        kind, item = "int64_list", int(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    before = feature.WhichOneof("kind") or kind
    if before != kind:
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[before]}")
    if kind == "int64_list" and item >= 2**63:
        raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    if item is None:
        item = decode_base64(value)
    getattr(feature, kind).value.append(item)


def check_classify(signature: Signature) -> None:
    """Refuse a signature that cannot classify.

    Raises:
        ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION (both HTTP 400).
    """
    _check_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not {"classes", "scores"} & set(signature.outputs):
        raise ServingError(
            Code.FAILED_PRECONDITION,
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.description}",
        )


def check_regress(signature: Signature) -> None:
    """Refuse a signature that cannot regress.

    Raises:
        ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION (both HTTP 400).
    """
    _check_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "outputs" not in signature.outputs:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"No regression outputs found in SignatureDef: {signature.description}",
        )


def _check_input(signature: Signature, task: str) -> None:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if "inputs" not in signature.inputs:
        raise ServingError(Code.FAILED_PRECONDITION, f"No {task} inputs found in SignatureDef: {signature.description}")


def from_classification(outputs: Mapping[str, np.ndarray], count: int) -> bytes:
    """Render labels and scores [N, classes], either of which may be missing.

    Raises:
        ServingError: INVALID_ARGUMENT: another rank, dtype or batch size.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, value, kind in (("classes", classes, "string"), ("scores", scores, "float")):
        if value is None:
            continue
        if value.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(value.shape)}")
        if value.dtype != (object if kind == "string" else np.float32):
            raise invalid(f"Expected {name} Tensor of DT_{kind.upper()}. Got: {_proto_dtype(value)}")
        if len(value) != count:
            raise invalid(f"Expected {name} output batch size of {count}. Got: {len(value)}")
    known = [value for value in (classes, scores) if value is not None]
    if len({value.shape[1] for value in known}) > 1:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {known[0].shape[1]} vs. {known[1].shape[1]}"
        )
    width = known[0].shape[1]
    labels = ['""'] * (count * width) if classes is None else [_label(item) for item in classes.ravel()]
    numbers = ["0.0"] * (count * width) if scores is None else json_text.decimals(scores)
    pairs = [f"[{label}, {number}]" for label, number in zip(labels, numbers, strict=True)]
    rows = (f"[{', '.join(pairs[row * width : (row + 1) * width])}]" for row in range(count))
    return _results(f"[{', '.join(rows)}\n{INDENT}]")


def from_regression(outputs: Mapping[str, np.ndarray], count: int) -> bytes:
    """Render values float32 [N] or [N, 1].

    Raises:
        ServingError: INVALID_ARGUMENT: another shape, dtype or batch size.
    """
    value = outputs["outputs"]
    if not (value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{shape_text(value.shape)}"
        )
    if len(value) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(value)}")
    if value.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_proto_dtype(value)}")
    return _results(f"[{', '.join(json_text.decimals(value))}]")


def _results(content: str) -> bytes:
    return f'{{\n{INDENT}"results": {content}\n}}'.encode("utf-8", "surrogateescape")


def _label(item: bytes) -> str:
    return quote(item.decode("utf-8", "surrogateescape"))


def _proto_dtype(value: np.ndarray) -> str:
    import tensorflow as tf
    from tensorflow.core.framework.types_pb2 import DataType

    return str(DataType.Name(tf.dtypes.as_dtype(value.dtype).as_datatype_enum))
