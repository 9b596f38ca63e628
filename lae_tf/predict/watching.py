"""What arrives in a folder: each image once, when nobody writes it any longer.

The folder is looked at again and again, which works on drives of other machines too, where changes are not announced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from lae_tf.data.finding import search
from lae_tf.files.walking import LeftOut

INTERVAL = 1.0
"""Seconds between two looks at the folder."""

_Stamp = tuple[int, int]


@dataclass(frozen=True)
class Arrived:
    """What is new since the last time.

    Attributes:
        images: files whose size and time of change are those of a look ago; one that changes later comes again.
        left_out: images and folders that cannot be read; each once.
    """

    images: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def arrivals(folder: str, interval: float = INTERVAL) -> Iterator[Arrived]:
    """Yield what is in a folder and its sub-folders, then what arrives there, without end.

    Empty and hidden files, as copying programs make them first, are passed over. A link to a folder is not followed.

    Args:
        folder: where to look.
        interval: seconds between two looks, and for which a file must not have changed.
    """
    before: dict[str, _Stamp] = {}
    yielded: dict[str, _Stamp] = {}
    while True:
        links: list[str] = []
        contents = search(folder, links=links)
        left_out = contents.unread(videos=False)
        left_out += [LeftOut(path, f"{path}: is a link to a folder; put the folder itself there.") for path in links]
        now = {path: _stamp(path) for path in (*contents.images, *(one.path for one in left_out))}
        new = {path for path, stamp in now.items() if before.get(path) == stamp != yielded.get(path)}
        images = [path for path in contents.images if path in new and now[path][0] > 0]
        yielded.update((path, now[path]) for path in new)
        before = now
        unreadable = [one for one in left_out if one.path in new]
        if images or unreadable:
            yield Arrived(images, unreadable)
        time.sleep(interval)


def _stamp(path: str) -> _Stamp:
    """Return a file's size in bytes and its time of change in nanoseconds; (-1, -1) where it cannot be asked."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
