"""The manifest: one row per image, validated when it is read.

The columns and what they may hold: ``lae_tf.data.contract``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lae_tf.data.contract import (
    COLUMNS,
    LABELS,
    OPTIONAL_COLUMNS,
    SPLITS,
    as_text,
    column_problems,
    nearest,
    row_problems,
)
from lae_tf.errors import ManifestError, UsageError
from lae_tf.files.atomic import write_bytes


@dataclass(frozen=True)
class Manifest:
    """Images with their labels, masks, groups, methods and splits.

    Made by :meth:`read` or :meth:`from_frame`, which validate; the constructor itself does not.

    Attributes:
        frame: one row per image with a RangeIndex and text columns ``COLUMNS`` (and ``mask_source`` if it
            was given); ``path`` and ``mask`` are absolute, an empty ``mask`` means none.
        root: absolute folder that relative paths refer to.
    """

    frame: pd.DataFrame
    root: Path

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read and validate a manifest.

        Args:
            path: CSV (``.csv``, UTF-8, with a header) or Parquet (``.parquet``) file.

        Raises:
            UsageError: the file does not exist or has another suffix.
            ManifestError: the file breaks the data contract; all problems are listed.
        """
        path = Path(path)
        reader = _by_suffix(path, csv=_read_csv, parquet=pd.read_parquet)
        if not path.is_file():
            raise UsageError(f"{path}: no such manifest file")
        try:
            frame = reader(path)
        except Exception as error:  # the parsers raise many types for a damaged file
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ManifestError(str(path), [f"cannot be read as {path.suffix[1:]}: {reason}"]) from error
        return cls._validated(frame, path.parent, str(path))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, root: str | os.PathLike[str]) -> Manifest:
        """Validate a table whose relative paths refer to the folder ``root``.

        Raises:
            ManifestError: the table breaks the data contract; all problems are listed.
        """
        return cls._validated(frame, Path(root), "manifest")

    @classmethod
    def _validated(cls, frame: pd.DataFrame, root: Path, subject: str) -> Manifest:
        root = Path(os.path.abspath(root))
        problems = column_problems([str(name) for name in frame.columns])
        if not problems and frame.empty:
            problems = ["has no rows: one row per image is expected below the header"]
        if problems:
            raise ManifestError(subject, problems)
        cells = {name: as_text(frame[name]) for name in (*COLUMNS, *OPTIONAL_COLUMNS) if name in frame}
        prefix = os.fspath(root)
        for name in ("path", "mask"):
            cells[name] = [cell and os.path.normpath(os.path.join(prefix, cell)) for cell in cells[name]]
        frame = pd.DataFrame(cells)
        problems = row_problems(frame)
        if problems:
            raise ManifestError(f"{subject} (row 1 is the first below the header)", problems)
        return cls(frame, root)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def is_fake(self) -> np.ndarray:
        """Whether each image is fake: bool (N,)."""
        return (self.frame["label"] == "fake").to_numpy(dtype=bool)

    @property
    def mask_state(self) -> np.ndarray:
        """State of each image's mask: (N,) of "annotated" (fake with a mask), "real" or "unlabelled"."""
        has_mask = (self.frame["mask"] != "").to_numpy(dtype=bool)
        return np.where(self.is_fake, np.where(has_mask, "annotated", "unlabelled"), "real")

    def select(
        self, split: str | None = None, label: str | None = None, methods: Iterable[str] | None = None
    ) -> Manifest:
        """Return the rows that satisfy every given condition.

        Args:
            split: train, val or test.
            label: real or fake.
            methods: names of manipulations to keep among the fakes; real images are not concerned.

        Raises:
            UsageError: a value that the manifest cannot hold, or a method that it does not hold.
        """
        keep = np.ones(len(self), dtype=bool)
        if split is not None:
            _require("split", split, SPLITS)
            keep &= (self.frame["split"] == split).to_numpy(dtype=bool)
        if label is not None:
            _require("label", label, LABELS)
            keep &= (self.frame["label"] == label).to_numpy(dtype=bool)
        if methods is not None:
            wanted = list(methods)
            known = sorted(set(self.frame["method"]) - {""})
            for method in wanted:
                _require("method", method, known)
            keep &= ~self.is_fake | self.frame["method"].isin(wanted).to_numpy(dtype=bool)
        return self.take(np.flatnonzero(keep))

    def take(self, rows: np.ndarray | Sequence[int]) -> Manifest:
        """Return the rows of these numbers, in their order."""
        return Manifest(self.frame.iloc[list(rows)].reset_index(drop=True), self.root)

    def with_files(self, replace: Callable[[list[str]], list[str]]) -> Manifest:
        """Return a copy whose images and masks are read from other files, such as ``ingestion.ingest`` gives.

        Args:
            replace: maps all image and mask files, in one list, to the files to read instead.
        """
        frame = self.frame.copy()
        masked = (frame["mask"] != "").to_numpy()
        files = replace([*frame["path"], *frame.loc[masked, "mask"]])
        frame["path"] = files[: len(frame)]
        frame.loc[masked, "mask"] = files[len(frame) :]
        return Manifest(frame, self.root)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count images by split, for the splits that have any.

        Returns:
            Split -> numbers of ``real``, ``fake``, ``annotated`` (fakes with a mask), ``unlabelled`` (fakes
            without) and ``groups``.
        """
        table = self.frame.assign(state=self.mask_state)
        result = {}
        for split in SPLITS:
            rows = table[table["split"] == split]
            if len(rows):
                states = {state: int((rows["state"] == state).sum()) for state in ("annotated", "unlabelled")}
                labels = {label: int((rows["label"] == label).sum()) for label in LABELS}
                result[split] = {**labels, **states, "groups": int(rows["group"].nunique())}
        return result

    def mask_budget(self) -> float:
        """Return the share of training images whose masks people had to draw, in [0, 1].

        The numerator counts annotated fakes whose mask is not ``derived``, the denominator all training
        images, real and fake. Real images cost nothing: their mask is known to be empty.
        """
        in_train = (self.frame["split"] == "train").to_numpy(dtype=bool)
        return float((self.drawn & in_train).sum() / in_train.sum()) if in_train.any() else 0.0

    @property
    def drawn(self) -> np.ndarray:
        """Which images have a mask that a person had to draw, bool (N,)."""
        drawn: np.ndarray = self.mask_state == "annotated"
        if "mask_source" in self.frame:
            drawn &= (self.frame["mask_source"] != "derived").to_numpy(dtype=bool)
        return drawn

    def digest(self) -> str:
        """Return the SHA-256 of the rows in their order, independent of where the folder lies."""
        text = self._relative_to(self.root).to_csv(index=False, lineterminator="\n")
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def relative_paths(self) -> list[str]:
        """Return the images' paths below the manifest's own folder, with forward slashes: the same wherever it lies."""
        paths: list[str] = self._relative_to(self.root)["path"].tolist()
        return paths

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the manifest atomically and durably, its paths relative to the new file's folder.

        Args:
            path: CSV (``.csv``) or Parquet (``.parquet``) file; its folder is created if it is missing.

        Raises:
            UsageError: another suffix.
        """
        path = Path(os.path.abspath(path))
        encode = _by_suffix(
            path,
            csv=lambda frame: frame.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogateescape"),
            parquet=lambda frame: frame.to_parquet(index=False),
        )
        write_bytes(path, encode(self._relative_to(path.parent)), durable=True)

    def _relative_to(self, folder: Path) -> pd.DataFrame:
        prefix = os.path.join(folder, "")

        def relative(cell: str) -> str:
            # relpath costs many times a slice, and most files lie below the manifest
            local = cell[len(prefix) :] if cell.startswith(prefix) else os.path.relpath(cell, folder)
            return local.replace(os.sep, "/")

        cells = {name: [cell and relative(cell) for cell in as_text(self.frame[name])] for name in ("path", "mask")}
        return self.frame.assign(**cells)


def _read_csv(path: Path) -> pd.DataFrame:
    # no cell may become a number or a missing value: groups "007" and "NA" are names
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its header")
    return frame


def _by_suffix(path: Path, csv: Callable, parquet: Callable) -> Callable:
    require_suffix(path)
    return {".csv": csv, ".parquet": parquet}[path.suffix.lower()]


def require_suffix(path: Path) -> None:
    """Check the name of a manifest.

    Raises:
        UsageError: it ends in neither .csv nor .parquet.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(f"{path}: a manifest ends in .csv or .parquet, not in '{path.suffix}'")


def _require(what: str, found: str, valid: Iterable[str]) -> None:
    valid = list(valid)
    if found not in valid:
        known = ", ".join(valid) or "none"
        raise UsageError(f"unknown {what} '{found}'{nearest(found, valid)}; the manifest knows {known}")
