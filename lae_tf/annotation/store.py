"""The folder that the page in the browser draws into: one PNG per image, ``verdicts.json`` and ``seconds.json``.

Every change is on disk, atomically and durably, when its method returns. A mask on disk is never empty.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lae_tf.annotation.items import Drawing, Item
from lae_tf.errors import ImageError, LAEError, UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.files.json_files import read_json
from lae_tf.images.files import read_mask, write_png

VERDICTS_FILE = "verdicts.json"
SECONDS_FILE = "seconds.json"
DONE, SKIPPED, NOT_FAKE = "done", "skipped", "not_fake"
VERDICTS = (DONE, SKIPPED, NOT_FAKE)
_DAY = 86400.0


class StaleMaskError(LAEError):
    """Somebody else has changed the mask that is to be replaced."""


class AnnotationStore:
    """Masks and verdicts of one round. Threads may share it.

    Args:
        folder: made on the first change.
        items: the selected images.

    Raises:
        UsageError: the folder's verdicts or seconds are damaged, or of images that are not in the selection.
    """

    def __init__(self, folder: Path, items: Sequence[Item]):
        self.folder = folder
        self.items = items
        self._lock = threading.Lock()
        names = {item.name for item in items}
        self._verdicts: dict[str, str] = _read(
            folder / VERDICTS_FILE, names, lambda verdict: verdict in VERDICTS, f"a verdict ({', '.join(VERDICTS)})"
        )
        self._seconds: dict[str, float] = _read(folder / SECONDS_FILE, names, _are_seconds, "a number of seconds")

    def mask_path(self, item: Item) -> Path:
        """Return where the mask of an image is, or would be."""
        return self.folder / f"{item.name}.png"

    def revision(self, item: Item) -> str:
        """Return a short text that changes with every change of an image's mask."""
        try:
            status = self.mask_path(item).stat()
        except FileNotFoundError:
            return "none"
        return f"{status.st_mtime_ns:x}-{status.st_ino:x}"

    def verdict(self, item: Item) -> str | None:
        """Return ``done``, ``skipped``, ``not_fake`` or None: undecided."""
        return self._verdicts.get(item.name)

    def save_mask(self, item: Item, mask: np.ndarray, revision: str | None = None) -> None:
        """Store a mask; an empty one is removed.

        A mask contradicts "not a fake" and "skipped", an empty one contradicts "done": such a verdict ends.

        Args:
            item: the image.
            mask: uint8 (H, W) in {0, 1}.
            revision: of the mask that this one was drawn over; None asks for no check.

        Raises:
            StaleMaskError: the stored mask has another revision; nothing is changed.
        """
        with self._lock:
            if revision is not None and revision != self.revision(item):
                raise StaleMaskError("this mask has been changed elsewhere meanwhile")
            drawn = bool(mask.any())
            if drawn:
                write_png(self.mask_path(item), mask * np.uint8(255), durable=True)
            else:
                self.mask_path(item).unlink(missing_ok=True)
            if self.verdict(item) in ((SKIPPED, NOT_FAKE) if drawn else (DONE,)):
                self._set(item, None)

    def save_verdict(self, item: Item, verdict: str | None) -> None:
        """Store a verdict.

        Raises:
            UsageError: unknown, or ``done`` without a mask.
        """
        with self._lock:
            if verdict is not None and verdict not in VERDICTS:
                raise UsageError(f"unknown verdict {verdict!r}; expected {', '.join(VERDICTS)} or null")
            if verdict == DONE and not self.mask_path(item).is_file():
                raise UsageError("nothing is drawn: draw the forged region, skip the image, or call it not a fake")
            self._set(item, verdict)

    def seconds(self, item: Item) -> float:
        """Return for how long an image has been open on the page, in a tab that could be seen."""
        return self._seconds.get(item.name, 0.0)

    def add_seconds(self, item: Item, seconds: float) -> None:
        """Add to the time that an image has been open.

        Raises:
            UsageError: no number from 0 to a day.
        """
        if not _are_seconds(seconds) or seconds > _DAY:
            raise UsageError(f"seconds: expected a number from 0 to {_DAY:.0f}, found {seconds!r}")
        with self._lock:
            total = {**self._seconds, item.name: round(self.seconds(item) + seconds, 1)}
            self._write(SECONDS_FILE, total)
            self._seconds = total

    def drawings(self, problems: list[str]) -> Iterator[Drawing]:
        """Yield what is decided: masks marked as done, and images judged not to be fakes.

        Args:
            problems: gets one sentence for each mask that cannot be read.
        """
        for item in self.items:
            path = self.mask_path(item)
            if self.verdict(item) == DONE:
                try:
                    yield Drawing(item, str(path), read_mask(path))
                except ImageError as error:
                    problems.append(str(error))
            elif self.verdict(item) == NOT_FAKE:
                yield Drawing(item, str(self.folder / VERDICTS_FILE), None)

    def _set(self, item: Item, verdict: str | None) -> None:
        verdicts = {name: kept for name, kept in self._verdicts.items() if name != item.name}
        if verdict is not None:
            verdicts[item.name] = verdict
        self._write(VERDICTS_FILE, verdicts)
        self._verdicts = verdicts

    def _write(self, name: str, values: Mapping[str, object]) -> None:
        text = json.dumps(dict(sorted(values.items())), indent=2)
        write_bytes(self.folder / name, text.encode("utf-8"), durable=True)


def _are_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _read(path: Path, names: set[str], is_sound: Callable[[Any], bool], expected: str) -> dict[str, Any]:
    if not path.is_file():
        return {}
    values = read_json(path)
    if not isinstance(values, dict) or not all(map(is_sound, values.values())):
        raise UsageError(f"{path}: is damaged; expected {expected} for each name.")
    strangers = sorted(set(values) - names)
    if strangers:
        raise UsageError(f"{path}: belongs to another selection ('{strangers[0]}' is not in this one).")
    return values
