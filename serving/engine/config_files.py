"""TensorFlow Serving's configuration files (protobuf text format), checked as its server checks them.

The messages are declared here, because tensorflow-serving-api lacks two of them. Text format knows fields by
name, so their numbers are ours; unknown fields are errors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from lae_tf.errors import UsageError

_PACKAGE = "lae_tf.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "string": _FIELD.TYPE_STRING,
    "bool": _FIELD.TYPE_BOOL,
}
_WRAPPED = {name: f".google.protobuf.{name.title()}Value" for name in ("int64", "bool", "string")}

# message -> field -> type; "*" repeats, "?" marks a wrapped scalar, which knows whether it was given.
_MESSAGES: dict[str, dict[str, str]] = {
    "ModelServerConfig": {"model_config_list": "ModelConfigList"},
    "ModelConfigList": {"config": "*ModelConfig"},
    "ModelConfig": {
        "name": "string",
        "base_path": "string",
        "model_platform": "string",
        "model_version_policy": "VersionPolicy",
        "version_labels": "*VersionLabel",
    },
    # A map field is written like a repeated message of key and value.
    "VersionLabel": {"key": "string", "value": "int64"},
    "VersionPolicy": {"latest": "Latest", "all": "All", "specific": "Specific"},
    "Latest": {"num_versions": "uint32"},
    "All": {},
    "Specific": {"versions": "*int64"},
    "BatchingParameters": {
        "max_batch_size": "?int64",
        "batch_timeout_micros": "?int64",
        "max_enqueued_batches": "?int64",
        "num_batch_threads": "?int64",
        "thread_pool_name": "?string",
        "allowed_batch_sizes": "*int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": "?bool",
        "max_execution_batch_size": "?int64",
    },
    "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
    "PrometheusConfig": {"enable": "bool", "path": "string"},
}

DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a model are served: the newest ``latest``, or all, or exactly ``specific``."""

    latest: int = 1
    all: bool = False
    specific: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve: its name in URLs and the directory with its numbered versions."""

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchingParameters:
    """Server-side batching; names, meanings and defaults are TensorFlow Serving's.

    ``batch_timeout_micros`` is in microseconds; sizes count elements of the batch dimension.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 1000


def read_model_config(path: Path) -> list[ModelConfig]:
    """Read a ``--model_config_file`` (text ModelServerConfig).

    Raises:
        UsageError: unreadable, not such a message, or a model that cannot be served as configured.
    """
    configs: dict[str, ModelConfig] = {}
    for message in _parse(path, "ModelServerConfig").model_config_list.config:
        if not message.name or message.name in configs:
            raise UsageError(f"{path}: each model needs a name of its own, found {message.name!r}.")
        if not os.path.isabs(message.base_path):
            raise UsageError(f"{path}: base_path of {message.name!r} must be absolute, found {message.base_path!r}.")
        if message.model_platform != "tensorflow":
            raise UsageError(
                f"{path}: model_platform of {message.name!r} must be 'tensorflow', found {message.model_platform!r}."
            )
        configs[message.name] = ModelConfig(
            message.name,
            Path(message.base_path),
            _policy(message.model_version_policy, path, message.name),
            {label.key: label.value for label in message.version_labels},
        )
    if not configs:
        raise UsageError(f"{path}: names no model; expected model_config_list {{ config {{ ... }} }}.")
    return list(configs.values())


def _policy(message: Any, path: Path, name: str) -> VersionPolicy:
    given = [choice.name for choice, _ in message.ListFields()]
    if len(given) > 1:
        raise UsageError(f"{path}: model_version_policy of {name!r} must be one of {', '.join(given)}.")
    if message.HasField("specific"):
        if not message.specific.versions:
            raise UsageError(f"{path}: the specific policy of {name!r} names no versions.")
        return VersionPolicy(specific=tuple(message.specific.versions))
    return VersionPolicy(all=message.HasField("all"), latest=max(1, message.latest.num_versions))


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Read a ``--batching_parameters_file`` (text BatchingParameters).

    ``pad_variable_length_inputs`` and ``thread_pool_name`` are accepted and have no effect: requests whose
    inner shapes differ never share a batch here.

    Raises:
        UsageError: unreadable, not such a message, or values that TensorFlow Serving refuses at start-up.
    """
    message = _parse(path, "BatchingParameters")
    given = {
        name: getattr(message, name).value
        for name in BatchingParameters.__dataclass_fields__
        if name != "allowed_batch_sizes" and message.HasField(name)
    }
    for name, value in given.items():
        if value < (0 if name == "batch_timeout_micros" else 1) and name != "enable_large_batch_splitting":
            raise UsageError(f"{path}: {name} must be positive, found {value}.")
    sizes = tuple(message.allowed_batch_sizes)
    given.setdefault("max_execution_batch_size", given.get("max_batch_size", 1000))
    parameters = BatchingParameters(**given, allowed_batch_sizes=sizes)
    if list(sizes) != sorted(set(sizes)) or (sizes and sizes[0] < 1):
        raise UsageError(f"{path}: allowed_batch_sizes must be positive and increase, found {list(sizes)}.")
    last = "max_execution_batch_size" if parameters.enable_large_batch_splitting else "max_batch_size"
    if sizes and sizes[-1] != getattr(parameters, last):
        raise UsageError(
            f"{path}: the last of allowed_batch_sizes must equal {last} ({getattr(parameters, last)}), "
            f"found {sizes[-1]}."
        )
    if parameters.max_execution_batch_size > parameters.max_batch_size:
        raise UsageError(
            f"{path}: max_execution_batch_size ({parameters.max_execution_batch_size}) must not exceed "
            f"max_batch_size ({parameters.max_batch_size})."
        )
    return parameters


def read_metrics_path(path: Path) -> str | None:
    """Read a ``--monitoring_config_file`` (text MonitoringConfig).

    Returns:
        The URL path of the metrics page, None where it is not enabled.

    Raises:
        UsageError: unreadable, not such a message, or a path that does not begin with ``/``.
    """
    config = _parse(path, "MonitoringConfig").prometheus_config
    if not config.enable:
        return None
    if config.path and not config.path.startswith("/"):
        raise UsageError(f"{path}: prometheus_config.path must begin with '/', found {config.path!r}.")
    return config.path or DEFAULT_METRICS_PATH


def _parse(path: Path, message: str) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _message_class(message)())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise UsageError(f"{path} cannot be read as {message} in protobuf text format: {error}.") from None


@cache
def _message_class(name: str) -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_file_descriptor().SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return message_factory.GetMessageClass(descriptor)


def _file_descriptor() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="lae_tf/serving.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind) in enumerate(fields.items(), start=1):
            label = _FIELD.LABEL_REPEATED if kind.startswith("*") else _FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field_name, number=number, label=label)
            plain = kind.lstrip("*?")
            if plain in _SCALARS and not kind.startswith("?"):
                added.type = _SCALARS[plain]
            else:
                added.type = _FIELD.TYPE_MESSAGE
                added.type_name = _WRAPPED.get(plain, f".{_PACKAGE}.{plain}")
    return file
