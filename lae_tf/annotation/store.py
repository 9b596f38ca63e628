"""The folder that the page in the browser draws into: one PNG per image and ``verdicts.json``.

Every change is on disk, atomically and durably, when its method returns. A mask on disk is never empty.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lae_tf.annotation.items import Drawing, Item
from lae_tf.errors import ImageError, LAEError, UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.files.json_files import read_json
from lae_tf.images.files import read_mask, write_png

VERDICTS_FILE = "verdicts.json"
DONE, SKIPPED, NOT_FAKE = "done", "skipped", "not_fake"
VERDICTS = (DONE, SKIPPED, NOT_FAKE)


class StaleMaskError(LAEError):
    """Somebody else has changed the mask that is to be replaced."""


class AnnotationStore:
    """Masks and verdicts of one round. Threads may share it.

    Args:
        folder: made on the first change.
        items: the selected images.

    Raises:
        UsageError: the folder's verdicts are damaged, or of images that are not in the selection.
    """

    def __init__(self, folder: Path, items: Sequence[Item]):
        self.folder = folder
        self.items = items
        self._lock = threading.Lock()
        self._verdicts = _read_verdicts(folder / VERDICTS_FILE, {item.name for item in items})

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
        text = json.dumps(dict(sorted(verdicts.items())), indent=2)
        write_bytes(self.folder / VERDICTS_FILE, text.encode("utf-8"), durable=True)
        self._verdicts = verdicts


def _read_verdicts(path: Path, names: set[str]) -> dict[str, str]:
    if not path.is_file():
        return {}
    verdicts = read_json(path)
    if not isinstance(verdicts, dict) or not all(verdict in VERDICTS for verdict in verdicts.values()):
        raise UsageError(f"{path}: is damaged; expected a verdict ({', '.join(VERDICTS)}) for each name.")
    strangers = sorted(set(verdicts) - names)
    if strangers:
        raise UsageError(f"{path}: belongs to another selection ('{strangers[0]}' is not in this one).")
    return verdicts
