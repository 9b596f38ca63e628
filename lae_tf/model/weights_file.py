"""What an HDF5 file of weights must be: numbers that lie in the file itself, as many as it says."""

from __future__ import annotations

import io
from pathlib import Path

import h5py

_DEEPEST = 64


def check_hdf5(file: str | Path | io.BytesIO, stored_plainly: bool = True) -> int:
    """Refuse a file that leads out of itself (links, external storage, virtual data sets).

    Args:
        file: the HDF5 file.
        stored_plainly: also refuse data sets that claim more than is stored, as packed or unwritten ones do.

    Returns:
        How many numbers there are.

    Raises:
        ValueError: says what is wrong.
        OSError: no HDF5 file, or a damaged one.
    """
    try:
        with h5py.File(file, "r") as opened:
            return _check_group(opened, stored_plainly, set(), 0)
    # Of damaged structures, and of sizes that no file has.
    except (KeyError, RuntimeError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"the weights are damaged ({error})") from None


def _check_group(group: h5py.Group, stored_plainly: bool, seen: set[int], depth: int) -> int:
    if depth > _DEEPEST:
        raise ValueError(f"the weights have more than {_DEEPEST} levels")
    values = 0
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"the weights have a link, {name[:80]!r}")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise ValueError(f"the weights have {name[:80]!r} twice")
        seen.add(address)
        if isinstance(item, h5py.Group):
            values += _check_group(item, stored_plainly, seen, depth + 1)
        elif isinstance(item, h5py.Dataset):
            _check_dataset(item, stored_plainly)
            values += item.size
        else:
            raise ValueError(f"the weights have {name[:80]!r}, which is no data set")
    return values


def _check_dataset(item: h5py.Dataset, stored_plainly: bool) -> None:
    name = item.name[-80:]
    if item.external or item.is_virtual:
        raise ValueError(f"the weights have {name!r}, whose data lie in another file")
    if stored_plainly and item.dtype.kind not in "fiub":
        raise ValueError(f"the weights have {name!r}, which holds no numbers")
    if stored_plainly and (item.chunks is not None or item.id.get_storage_size() != item.nbytes):
        raise ValueError(f"the weights have {name!r}, which is not stored as Keras stores it")
