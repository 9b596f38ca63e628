"""Frames of videos: chosen by number, upright, in square pixels, with their exact times.

PyAV decodes: unlike OpenCV's reader it gives every frame's own time, and says what is wrong with a damaged file.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from lae_tf.errors import UsageError, VideoError
from lae_tf.images.files import MAX_PIXELS
from lae_tf.video.decoding import (
    Listing,
    UnlistedFrameError,
    count_frames,
    decode,
    import_av,
    list_frames,
    open_video,
    seek_frames,
)

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".m2ts", ".flv", ".ogv", ".wmv"),
)
"""Suffixes by which videos are found in a folder; .ts and .mts are TypeScript too, so that their content tells."""


@dataclass(frozen=True)
class Selection:
    """Which frames of a video to take; exactly one is given.

    Attributes:
        every: each so-manieth frame, from the first.
        count: so many frames (all, if there are fewer), evenly spread over the time.
        indices: the frames of these numbers, rising.
    """

    every: int | None = None
    count: int | None = None
    indices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        numbers = [number for number in (self.every, self.count) if number is not None]
        if len(numbers) + (self.indices is not None) != 1 or any(number < 1 for number in numbers):
            raise UsageError("choose frames by either every n-th or a count, a whole number from 1 on")

    def choose(self, times: Sequence[float]) -> list[int]:
        """Return the numbers of the chosen frames, given the times of all, in rising order."""
        if self.indices is not None:
            return [index for index in self.indices if index < len(times)]
        if self.count is None:
            return list(range(0, len(times), self.every or 1))
        if self.count >= len(times):
            return list(range(len(times)))
        start, end = times[0], times[-1]
        wanted = start + (np.arange(self.count) + 0.5) * (end - start) / self.count
        chosen: list[int] = []
        for position, time in enumerate(wanted):
            index = max(bisect_right(times, float(time)) - 1, 0)
            # frames may be denser than the wanted times in one place, and rarer in another
            low, high = (chosen[-1] + 1 if chosen else 0), len(times) - (self.count - position)
            chosen.append(min(max(index, low), high))
        return chosen


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        index: number in the video, from 0, as shown (not as stored).
        time: when it is shown, in seconds.
        image: uint8 (H, W, 3), RGB, upright.
    """

    index: int
    time: float
    image: np.ndarray


def is_video(path: str) -> bool:
    """Whether a path is that of a file with a video's suffix."""
    return path.lower().endswith(SUFFIXES) and os.path.isfile(path)


def read_frames(path: str | os.PathLike[str], selection: Selection) -> Iterator[Frame]:
    """Yield the selected frames in order. Memory does not grow with the video.

    Raises:
        VideoError: not a video, damaged, cut off, or of more than ``MAX_PIXELS`` a frame.
        MissingExtraError: PyAV is not installed.
    """
    av = import_av()
    path = os.path.abspath(path)
    try:
        yield from _read(path, selection)
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        raise VideoError(f"{path}: is damaged, cut off or not a video: {_reason(error)}") from error


def _read(path: str, selection: Selection) -> Iterator[Frame]:
    av = import_av()
    listing = list_frames(path)
    done: list[tuple[int, float]] = []
    if listing is not None:
        try:
            for frame in _by_listing(path, selection, listing):
                yield frame
                done.append((frame.index, frame.time))
            return
        except (UnlistedFrameError, av.error.InvalidDataError):
            pass  # a list that holds for the beginning alone
    yield from _by_counting(path, selection, done)


def _by_listing(path: str, selection: Selection, listing: Listing) -> Iterator[Frame]:
    with open_video(path) as (container, stream):
        base, stamps = float(stream.time_base), listing.stamps
        times = [(stamp - stamps[0]) * base for stamp in stamps]
        chosen = selection.choose(times)
        frames = seek_frames(container, stream, listing, [stamps[index] for index in chosen])
        for index, frame in zip(chosen, frames, strict=True):
            yield Frame(index, times[index], _picture(frame, stream.sample_aspect_ratio))


def _by_counting(path: str, selection: Selection, done: Sequence[tuple[int, float]]) -> Iterator[Frame]:
    """Yield the selected frames but those that were done, by number and time."""
    times = count_frames(path)
    if not times:
        raise ValueError("it holds no frames")
    times = [time - times[0] for time in times]
    chosen = selection.choose(times)
    if [(index, times[index]) for index in chosen[: len(done)]] != list(done):
        raise ValueError("its frames are not those that it lists")
    wanted = iter(chosen[len(done) :])
    index = next(wanted, None)
    with open_video(path) as (container, stream):
        for number, frame in enumerate(decode(container, stream)):
            if number == index:
                yield Frame(index, times[index], _picture(frame, stream.sample_aspect_ratio))
                index = next(wanted, None)
            if index is None:
                return


def _picture(frame: Any, aspect: Fraction | None) -> np.ndarray:
    """Return a decoded frame as people see it, uint8 (H, W, 3).

    Args:
        frame: as decoded.
        aspect: width of a pixel by its height.
    """
    if frame.is_corrupt:
        raise ValueError(f"the frame at {frame.time or 0:.2f} s is corrupt")
    image = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    image = _square(image, float(aspect or 1))
    return image if matrix is None else _upright(image, np.frombuffer(matrix, np.int32).reshape(3, 3))


def _square(image: np.ndarray, aspect: float) -> np.ndarray:
    """Enlarge one side so that pixels are square."""
    height, width = image.shape[:2]
    size = (round(width * max(aspect, 1)), round(height * max(1 / aspect, 1)))
    if size == (width, height):
        return image
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"in square pixels it has {size[0]} x {size[1]}, more than {MAX_PIXELS}")
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn and mirror an image by its display matrix; turns by other than right angles are left.

    Args:
        image: uint8 (H, W, 3).
        matrix: int32 (3, 3); it takes (x, y, 1) as stored, y downwards, from the left, to the place on the screen.
    """
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if b == c == 0:
        across, down = a, d
    elif a == d == 0:
        image, across, down = image.transpose(1, 0, 2), c, b
    else:
        return image
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _reason(error: Exception) -> str:
    if isinstance(error, IndexError):  # PyAV before 19, amid the packets
        return "it has a stream that its beginning does not announce"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
