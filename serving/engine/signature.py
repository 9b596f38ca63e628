"""What a request must know of a model: its signatures. Nothing of TensorFlow, so that other processes can hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DEFAULT_SIGNATURE = "serving_default"
Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Signature:
    """What a request must know of a signature.

    Attributes:
        inputs: dtype by name: ``object`` for strings, ``void`` for what no array can hold.
        outputs: names.
        description: the SignatureDef as text.
    """

    inputs: Mapping[str, np.dtype]
    outputs: tuple[str, ...]
    description: str
