"""From a folder of videos to a folder of images, in the same tree."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from lae_tf.data.finding import find_videos
from lae_tf.errors import UsageError, VideoError
from lae_tf.files.atomic import write_bytes
from lae_tf.files.walking import LeftOut, files_below
from lae_tf.images.files import write_png
from lae_tf.video.crops import find_track, read_crops
from lae_tf.video.faces import Track
from lae_tf.video.frames import Selection

RECORD = "frames.json"
"""The file in a folder of frames that says which video they come from; it lists them when the video is finished."""
_SIDE_FILES = (".json", ".txt")


@dataclass(frozen=True)
class Extracted:
    """What :func:`extract` did.

    Attributes:
        images: PNG files there are now, for each video, below the target folder.
        without_face: numbers of frames without a face, for the videos that have any.
        problems: one sentence for each video that could not be used.
        skipped: videos that were finished already.
    """

    images: dict[str, int]
    without_face: dict[str, int]
    problems: list[str]
    skipped: int


class Cropping(NamedTuple):
    """What is taken of a frame.

    Attributes:
        whole: take whole frames instead of faces.
        original_of: given the source and a video below it, returns the video whose faces tell where to crop it.
    """

    whole: bool = False
    original_of: Callable[[Path, str], str | None] | None = None


def extract(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    selection: Selection,
    cropping: Cropping | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Extracted:
    """Extract frames, or faces in them, from all videos below a folder.

    The video ``a/b.mp4`` becomes the folder ``a/b`` with ``000012.png`` for its frame 12, and a record that
    holds the time and place of each crop. Files ``*.json`` and ``*.txt``, by which data sets tell what is what,
    are copied. Stopped at any moment it goes on where it was; a video is done again if it or the settings
    changed.

    Args:
        source: a video, or a folder searched with its sub-folders.
        out: folder to write to.
        selection: of the frames.
        cropping: where, if not to each video's own faces.
        workers: videos at a time; default: one per processor.
        progress: show a progress bar on stderr.

    Raises:
        UsageError: no videos, or ``out`` lies in ``source``.
        MissingExtraError: PyAV or the detector is not installed.
    """
    whole, original_of = cropping or Cropping()
    source, out = Path(os.path.abspath(source)), Path(os.path.abspath(out))
    if source.is_dir() and out.is_relative_to(source):
        raise UsageError(f"{out}: lies in {source}; give a folder outside of it")
    root = source if source.is_dir() else source.parent
    left_out: list[LeftOut] = []
    videos, problems = _places(find_videos(source, left_out), root)
    problems += [one.sentence for one in left_out]
    if source.is_dir():
        copy_side_files(root, out)
    originals = {} if original_of is None or whole else {video: original_of(root, video) for video in videos}
    images: dict[str, int] = {}
    without: dict[str, int] = {}
    skipped = 0
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    bar = tqdm(total=len(videos), desc="extract", unit=" videos", disable=not progress)
    try:
        # originals first: the others need their faces
        for dependent in (False, True):
            tasks = [video for video in videos if (originals.get(video) is not None) == dependent]
            work = partial(_extract_one, root, out, selection, whole, originals)
            for video, result in zip(tasks, pool.map(work, tasks), strict=True):
                bar.update()
                if isinstance(result, str):
                    problems.append(result)
                    continue
                record, done = result
                skipped += done
                images[_folder(video)] = len(record["frames"])
                if record["without_face"]:
                    without[video] = record["without_face"]
    finally:
        bar.close()
        pool.shutdown(cancel_futures=True)
    return Extracted(images, without, problems, skipped)


def _extract_one(
    root: Path, out: Path, selection: Selection, whole: bool, originals: dict[str, str | None], video: str
) -> tuple[dict[str, Any], bool] | str:
    """Return the record of a video and whether it was finished before, or a problem."""
    path, folder = root / video, out / _folder(video)
    original = originals.get(video)
    request = {
        "video": video,
        **_state(path),
        "selection": asdict(selection),
        "whole": whole,
        "faces_of": original,
    }
    if original is not None:
        request["faces_of_file"] = _state(root / original)
    known = _read_record(folder)
    if known and all(known.get(key) == value for key, value in request.items()):
        return known, True
    # An unfinished record: whatever a kill leaves in the folder is known for frames of one video.
    write_bytes(folder / RECORD, json.dumps(request).encode())
    frames: list[dict[str, Any]] = []
    try:
        track = None if whole else _track(root, out, original or video, selection, own=original is None)
        without = 0
        for crop in read_crops(path, selection, track):
            if crop.image is None:
                without += 1
                continue
            name = f"{crop.frame.index:06d}.png"
            write_png(folder / name, crop.image)
            frames.append({"file": name, "time": round(crop.frame.time, 6), "place": crop.place})
    except VideoError as error:
        _clear(folder)
        return str(error)
    if not frames:
        _clear(folder)
        return f"{path}: no face found in {without} frames (--whole takes frames without faces)"
    wanted = {frame["file"] for frame in frames}
    for stale in folder.glob("[0-9]*.png"):
        if stale.name not in wanted:
            stale.unlink()
    # Unrounded: what is cropped by the record is cropped to the pixel as this video was.
    points = [] if track is None else np.column_stack([track.times, track.places]).tolist()
    record = {**request, "frames": frames, "without_face": without, "track": points}
    write_bytes(folder / RECORD, json.dumps(record).encode())
    return record, False


def holds_frames(folder: str) -> bool:
    """Whether the images in a folder are the frames of one video, finished or not."""
    return os.path.isfile(os.path.join(folder, RECORD))


def _state(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"bytes": status.st_size, "changed_ns": status.st_mtime_ns}


def _clear(folder: Path) -> None:
    """Remove what was written of a video that cannot be used: loose frames would pass for images."""
    for frame in folder.glob("[0-9]*.png"):
        frame.unlink()
    (folder / RECORD).unlink()
    with contextlib.suppress(OSError):  # other files stay
        folder.rmdir()


def _track(root: Path, out: Path, video: str, selection: Selection, own: bool) -> Track:
    """Return where the faces of a video are: as recorded if it is another, finished one, else newly found."""
    record = None if own else _read_record(out / _folder(video))
    if record and record.get("track") and record.get("selection") == asdict(selection):
        points = np.array(record["track"])
        return Track(points[:, 0], points[:, 1:])
    return find_track(root / video, selection)


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"frames", "without_face"} <= record.keys() else None


def _places(videos: Iterable[Path], root: Path) -> tuple[list[str], list[str]]:
    """Return the videos below the root whose folders differ, and a problem for each other one."""
    taken: dict[str, str] = {}
    problems = []
    for path in videos:
        video = path.relative_to(root).as_posix()
        if _folder(video) in taken:
            problems.append(f"{path}: has the stem of {taken[_folder(video)]}; rename one of them")
        else:
            taken[_folder(video)] = video
    return list(taken.values()), problems


def _folder(video: str) -> str:
    return os.path.splitext(video)[0]


def copy_side_files(root: Path, out: Path) -> None:
    """Copy the files by which data sets tell what is what."""
    for path in files_below(root):
        target = out / path.relative_to(root)
        if path.suffix.lower() in _SIDE_FILES and os.path.isfile(path) and path.name != RECORD:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
