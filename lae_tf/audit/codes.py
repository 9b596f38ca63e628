"""Binary codes of pictures and of places in them: which agree, and by how much others differ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def agreeing(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield arrays of index pairs whose values agree, each pair once, neighbours among equals first."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    left = np.arange(len(ordered) - 1)
    step = 1
    while left.size:
        left = left[left + step < len(ordered)]
        left = left[ordered[left] == ordered[left + step]]
        if left.size:
            yield order[left], order[left + step]
        step += 1


def differing_bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return in how many bits codes differ, uint64 each; counted within words of growing width."""
    bits = first ^ second
    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        bits = (bits & np.uint64(mask)) + ((bits >> np.uint64(shift)) & np.uint64(mask))
    return ((bits * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)
