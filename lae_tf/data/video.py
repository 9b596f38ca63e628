"""Frames of videos: chosen by number, reached by seeking, upright, with their exact times.

PyAV decodes: unlike OpenCV's reader it gives every frame's own time, seeks to it exactly, and says what is wrong
with a damaged file. A first pass over the packets, which decodes nothing, yields the times and the key frames;
so frames are numbered rightly whatever the frame rate, and only the stretches that hold wanted ones are decoded.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lae_tf.data.images import MAX_PIXELS
from lae_tf.errors import MissingExtraError, UsageError, VideoError

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
"""Suffixes by which videos are found in a folder."""

# Formats such as playlists, which open other files and addresses, are refused.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,m4v,h264,hevc",
}


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
        with av.open(path, options=_OPTIONS) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise VideoError(f"{path}: has {stream.width} x {stream.height} pixels, more than {MAX_PIXELS}")
            stream.codec_context.thread_count = 1  # videos are worked on in parallel
            # Their times alone: the packets together are as large as the file.
            packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size]
            times = sorted(time for time, _ in packets if time is not None)
            if not packets:
                raise VideoError(f"{path}: holds no frames")
            if len(times) < len(packets) or len(set(times)) < len(times):
                times, keys = _decoded_times(container, stream), []
            else:
                keys = sorted(time for time, is_key in packets if is_key)
            base = float(stream.time_base)
            chosen = selection.choose([time * base for time in times])
            if not chosen:
                return
            for number, frame in _decode(container, stream, [times[index] for index in chosen], keys):
                image = _upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                yield Frame(chosen[number], (times[chosen[number]] - times[0]) * base, image)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VideoError(f"{path}: is damaged or not a video: {reason}") from error


def _decode(container: Any, stream: Any, wanted: Sequence[int], keys: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Yield (position in ``wanted``, frame) for the wanted times, by way of the key frames before them."""
    container.seek(min(wanted[0], 0), stream=stream)
    frames = container.decode(stream)
    reached: int | None = None
    for position, time in enumerate(wanted):
        key = keys[max(bisect_right(keys, time) - 1, 0)] if keys else None
        if key is not None and (reached is None or key > reached):
            container.seek(key, stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            if frame.pts is None or frame.pts < time:
                continue
            if frame.is_corrupt:
                raise ValueError(f"the frame at {frame.time:.2f} s is corrupt")
            reached = frame.pts
            yield position, frame
            break
        else:
            raise ValueError(f"ends before its frame at {float(time * stream.time_base):.2f} s")


def _decoded_times(container: Any, stream: Any) -> list[int]:
    """Return the times of all frames of a file whose packets do not tell them."""
    container.seek(0, stream=stream)
    times = [frame.pts for frame in container.decode(stream)]
    if any(time is None for time in times) or not times:
        raise ValueError("its frames have no times")
    return sorted(set(times))


def _upright(image: np.ndarray, rotation: int) -> np.ndarray:
    """Turn an image by the display rotation, degrees counter-clockwise; other than right angles are left."""
    return np.ascontiguousarray(np.rot90(image, round(rotation / 90))) if rotation % 90 == 0 else image


def import_av() -> Any:
    """Return PyAV, quiet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("reading videos", "video") from None
    av.logging.set_level(av.logging.PANIC)
    return av
