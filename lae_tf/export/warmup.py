"""Warm-up records: requests that a server replays before it calls a version AVAILABLE."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework.tensor_pb2 import TensorProto

from lae_tf.video.face_places import FACES

MAX_BATCH_SIZE = 32
"""The largest batch that the deployment's batching parameters form, and that warm-up prepares for."""

MAX_RECORDS = 1000  # that TensorFlow Serving allows

_PACKAGE = "lae_tf.export"
_FIELD = descriptor_pb2.FieldDescriptorProto
# message -> field -> (number, type); "*" repeats. Names and numbers are those of TensorFlow Serving's
# prediction_log.proto, predict.proto and model.proto. A TensorProto is kept in its encoded form, which on the
# wire is the same as the message itself.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "PredictionLog": {"predict_log": (6, "PredictLog")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "*Input")},
    "ModelSpec": {"name": (1, "string"), "signature_name": (3, "string")},
    "Input": {"key": (1, "string"), "value": (2, "bytes")},
}
_SCALARS = {"string": _FIELD.TYPE_STRING, "bytes": _FIELD.TYPE_BYTES}


def write_warmup(path: Path, model_name: str, image: bytes, faces: np.ndarray | None = None) -> None:
    """Write a TFRecord of PredictionLog: every signature that takes files, with one image and a full batch.

    Args:
        path: ``<version>/assets.extra/tf_serving_warmup_requests``.
        model_name: under which the model is served.
        image: an image file that the graph decodes.
        faces: of a model of faces, where they are in it, int32 (1, N, 3).
    """
    requests = [("serving_default", 1), ("serving_default", MAX_BATCH_SIZE), ("explain", 1)]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, count in requests:
            inputs = {"image_bytes": tf.make_tensor_proto([image] * count, tf.string, (count,))}
            if faces is not None:
                inputs[FACES] = tf.make_tensor_proto(np.repeat(faces, count, axis=0))
            writer.write(_prediction_log(model_name, signature, inputs))


def read_warmup(path: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Read the :predict requests of a version's records; logs of other kinds are passed over.

    Args:
        path: ``<version>/assets.extra/tf_serving_warmup_requests``; a missing file holds none.

    Returns:
        The signature and its inputs, strings as ``object`` arrays of bytes, for each of the first ``MAX_RECORDS``.

    Raises:
        tf.errors.DataLossError: the file is damaged.
        google.protobuf.message.DecodeError: a record is no PredictionLog.
    """
    if not path.is_file():
        return
    for record in tf.data.TFRecordDataset(str(path)).take(MAX_RECORDS).as_numpy_iterator():
        log = _message_class("PredictionLog").FromString(record)
        if log.HasField("predict_log"):
            request = log.predict_log.request
            inputs = {item.key: tf.make_ndarray(TensorProto.FromString(item.value)) for item in request.inputs}
            yield request.model_spec.signature_name or "serving_default", inputs


def _prediction_log(model_name: str, signature: str, inputs: dict[str, TensorProto]) -> bytes:
    log = _message_class("PredictionLog")()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, tensor in inputs.items():
        request.inputs.add(key=name, value=tensor.SerializeToString())
    encoded: bytes = log.SerializeToString()
    return encoded


@cache
def _message_class(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="lae_tf/warmup.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            label = _FIELD.LABEL_REPEATED if kind.startswith("*") else _FIELD.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            plain = kind.lstrip("*")
            field.type = _SCALARS.get(plain, _FIELD.TYPE_MESSAGE)
            if plain not in _SCALARS:
                field.type_name = f".{_PACKAGE}.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
