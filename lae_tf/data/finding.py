"""Finds the images and videos that a user's paths stand for.

What a name does not tell, the first bytes do; what looks like an image but cannot be read is named.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lae_tf.data.signatures import Content, content_of, is_picture_suffix
from lae_tf.errors import ImageError, UsageError
from lae_tf.files.walking import LeftOut, is_file, is_folder, visible, walk
from lae_tf.images.files import require_text, status_of
from lae_tf.video.frames import SUFFIXES as VIDEO_SUFFIXES
from lae_tf.video.frames import is_video

_ANYWHERE = re.compile(r"(|.*?/)\*\*(?:/(.*))?", re.DOTALL)
"""A pattern with ``**`` as one of its folders: what stands before it, and what comes after it."""


@dataclass
class Contents:
    """What a folder and its sub-folders hold.

    Attributes:
        images: files, each folder's before those of its sub-folders, sorted by name.
        videos: files, in the same order.
        left_out: images and videos that cannot be read, and folders that cannot be looked into.
    """

    images: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def unread(self, videos: bool) -> list[LeftOut]:
        """Return what was left out, folders and either videos or images."""
        return [one for one in self.left_out if os.path.isdir(one.path) or _is_video_name(one.path) == videos]


def search(folder: str | os.PathLike[str], without: Path | None = None, links: list[str] | None = None) -> Contents:
    """Find the images and videos in a folder and its sub-folders.

    Args:
        folder: where to look.
        without: sub-folder that is passed over, named as ``folder`` is: both absolute, or both relative.
        links: as in :func:`lae_tf.files.walking.walk`.

    Raises:
        UsageError: a link to a folder, which would be left out unseen.
    """
    found = Contents()
    for _, entries in walk(folder, found.left_out, without, links):
        for entry in entries:
            _sort(entry, found)
    return found


def images_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the images in a folder itself, sorted by name.

    Raises:
        ImageError: a file is called an image and is none that can be opened.
        OSError: the folder cannot be looked into.
    """
    return [entry.path for entry in visible(folder) if not is_folder(entry) and _content(entry) is Content.IMAGE]


def images_below(
    folder: str | os.PathLike[str], without: Path | None = None, left_out: list[LeftOut] | None = None
) -> Iterator[str]:
    """Yield the paths of images in a folder and its sub-folders, sorted, without following links to folders.

    Args:
        folder: where to look.
        without: sub-folder that is passed over, named as ``folder`` is: both absolute, or both relative.
        left_out: gets an entry for each image and folder that cannot be read.

    Raises:
        UsageError: a name that is not UTF-8, or a link to a folder, which would be left out unseen.
    """
    found = search(folder, without)
    if left_out is not None:
        left_out += found.unread(videos=False)
    return map(require_text, found.images)


def find_images(paths: Iterable[str], left_out: list[LeftOut] | None = None) -> list[str]:
    """Expand files, folders (recursively, by suffix or content) and glob patterns to a sorted list without repeats.

    Args:
        paths: as a user gave them.
        left_out: gets an entry for each image and folder in a folder that cannot be read.

    Raises:
        UsageError: a path matches nothing, or a folder holds a link to another one.
    """
    found: dict[str, None] = {}
    for path in paths:
        unread: list[LeftOut] = []
        if Path(path).is_dir():
            contents = search(path)
            files, unread = sorted(str(Path(file)) for file in contents.images), contents.unread(videos=False)
        elif os.path.lexists(path):
            files = [path]
        else:
            files = _matches(path)
        if not files:
            said = f" Left out: {unread[0].sentence}" if unread else ""
            raise UsageError(f"{path}: no such file, and no images found there.{said}")
        if left_out is not None:
            left_out += unread
        found.update(dict.fromkeys(files))
    return list(found)


def find_videos(source: str | os.PathLike[str], left_out: list[LeftOut] | None = None) -> list[Path]:
    """Return a video itself, or the videos below a folder, sorted.

    Args:
        source: video or folder.
        left_out: gets an entry for each video and folder in the folder that cannot be read.

    Raises:
        UsageError: there are none, or the folder holds a link to another one.
    """
    if os.path.isfile(source):
        return [Path(source)]
    contents = search(source) if os.path.isdir(source) else Contents()
    unread = contents.unread(videos=True)
    if not contents.videos:
        said = f". Left out: {unread[0].sentence}" if unread else ""
        raise UsageError(f"{source}: holds no video ({', '.join(VIDEO_SUFFIXES)}){said}")
    if left_out is not None:
        left_out += unread
    return sorted(map(Path, contents.videos))


def videos_among(paths: Iterable[str]) -> list[str]:
    """Expand files, glob patterns, and folders with videos and no images, without repeats; [] if nothing is a video.

    Raises:
        UsageError: some paths are videos and others are not.
    """
    found: dict[str, None] = {}
    others = []
    for path in paths:
        videos = _videos_of(path)
        found.update(dict.fromkeys(videos))
        if not videos:
            others.append(path)
    if found and others:
        raise UsageError(f"{others[0]}: is not a video; score images and videos by separate commands.")
    return list(found)


def _videos_of(path: str) -> list[str]:
    if not Path(path).is_dir():
        return [file for file in ([path] if Path(path).exists() else _matches(path)) if _is_video(file)]
    contents = search(path)
    return [] if contents.images else sorted(str(Path(file)) for file in contents.videos)


def _matches(pattern: str) -> list[str]:
    """Return what fits a pattern, sorted; for ``**``, with which links that go round never end, folders are walked."""
    parts = _ANYWHERE.fullmatch(pattern)
    if parts is None:
        return sorted(glob.glob(pattern))
    start, end = parts.groups()
    found: set[str] = set()
    for base in glob.glob(start) if start else ["."]:
        for folder, entries in walk(base):
            place = str(Path(folder))
            if end:
                found.update(_matches(os.path.join(glob.escape(place), end)))
            else:
                found.update(str(Path(entry.path)) for entry in entries)
    return sorted(found)


def _sort(entry: os.DirEntry[str], found: Contents) -> None:
    try:
        content = _content(entry)
    except ImageError as error:
        found.left_out.append(LeftOut(entry.path, str(error)))
        return
    if content is Content.IMAGE:
        found.images.append(entry.path)
    elif content is Content.VIDEO:
        found.videos.append(entry.path)
    elif content is Content.UNREADABLE:
        reason = "is not a JPEG, PNG, BMP, GIF, WebP or TIFF image, or not called so; convert it"
        found.left_out.append(LeftOut(entry.path, f"{entry.path}: {reason}"))


def _content(entry: os.DirEntry[str]) -> Content:
    """Tell what a file holds.

    Raises:
        ImageError: it has the name of an image or a video, or no suffix, and is no regular file or cannot be opened.
    """
    suffix = os.path.splitext(entry.name)[1].lower()
    named = is_picture_suffix(suffix) or _is_video_name(entry.name)
    if not is_file(entry):
        if named:
            status_of(entry.path)
        return Content.OTHER
    try:
        return content_of(entry.path)
    except OSError as error:
        if named or not suffix:
            raise ImageError(f"{entry.path}: cannot be read: {error.strerror}") from error
        return Content.OTHER


def _is_video(path: str) -> bool:
    try:
        return is_video(path) or (os.path.isfile(path) and content_of(path) is Content.VIDEO)
    except OSError:
        return False


def _is_video_name(path: str) -> bool:
    return path.lower().endswith(VIDEO_SUFFIXES)
