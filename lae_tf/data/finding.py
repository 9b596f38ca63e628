"""Finds the images and videos that a user's paths stand for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lae_tf.data.images import is_image_name, require_text
from lae_tf.data.video import SUFFIXES as VIDEO_SUFFIXES
from lae_tf.data.video import is_video
from lae_tf.errors import UsageError


def images_below(folder: str | os.PathLike[str], without: Path | None = None) -> Iterator[str]:
    """Yield the paths of images in a folder and its sub-folders, sorted, without following links to folders.

    Args:
        folder: where to look.
        without: sub-folder that is passed over, named as ``folder`` is: both absolute, or both relative.

    Raises:
        UsageError: a name that is not UTF-8, or a link to a folder, which would be left out unseen.
    """
    return map(require_text, _images(_files_below(folder, without)))


def _images(files: Iterable[str]) -> Iterator[str]:
    return (path for path in files if is_image_name(os.path.basename(path)))


def _files_below(folder: str | os.PathLike[str], without: Path | None = None) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(parent, name) != without)
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                raise UsageError(f"{os.path.join(parent, name)}: is a link to a folder; put the folder itself there.")
        yield from (os.path.join(parent, name) for name in sorted(files))


def find_images(paths: Iterable[str]) -> list[str]:
    """Expand files, folders (recursively, by suffix) and glob patterns to a sorted list without repeats.

    Raises:
        UsageError: a path matches nothing, or a folder holds a link to another one.
    """
    found: dict[str, None] = {}
    for path in paths:
        if Path(path).is_dir():
            files = sorted(str(Path(file)) for file in _images(_files_below(path)))
        elif Path(path).exists():
            files = [path]
        else:
            files = sorted(glob.glob(path, recursive=True))
        if not files:
            raise UsageError(f"{path}: no such file, and no images found there.")
        found.update(dict.fromkeys(files))
    return list(found)


def find_videos(source: str | os.PathLike[str]) -> list[Path]:
    """Return a video itself, or the videos below a folder, sorted.

    Raises:
        UsageError: there are none, or the folder holds a link to another one.
    """
    if os.path.isfile(source):
        return [Path(source)]
    found = sorted(Path(path) for path in _files_below(source) if is_video(path))
    if not found:
        raise UsageError(f"{source}: holds no video ({', '.join(VIDEO_SUFFIXES)})")
    return found


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
        candidates = [path] if Path(path).exists() else sorted(glob.glob(path, recursive=True))
        return [file for file in candidates if is_video(file)]
    if any(True for _ in _images(_files_below(path))):
        return []
    try:
        return [str(file) for file in find_videos(path)]
    except UsageError:  # neither: the search for images will say so
        return []
