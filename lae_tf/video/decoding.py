"""Which frames a video shows, when, and how to reach them: what a plain decoding from start to end gives, but faster.

MP4, MOV, Matroska and WebM store the time of every frame, so that a pass over the packets, which decodes nothing, tells
the times and the key frames; then only the stretches that hold wanted frames are decoded. What comes out is held
against that list, frame by frame. Elsewhere packets say too little (AVI has no presentation times, a seek in MPEG-TS
may land late), and the frames are counted by decoding them all.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from lae_tf.errors import MissingExtraError, VideoError
from lae_tf.images.files import MAX_PIXELS

# Formats such as playlists, which open other files and addresses, are refused.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,m4v,h264,hevc",
}
_LISTING_FORMATS = ("mov,", "matroska,")
_LONGEST_REORDERING = 16  # frames: the most that any codec holds back
_LONGEST_STILL = 10.0  # seconds; a longer step in a broadcast is a new clock, not a still picture


class UnlistedFrameError(Exception):
    """The frames that come out are not those that the packets announce."""


@dataclass(frozen=True)
class Listing:
    """The frames of a stream, as its packets announce them.

    Attributes:
        stamps: when each frame is shown, in the stream's time base, rising.
        keys: the stamps of the packets with key frames, rising; not all of them need be shown.
    """

    stamps: list[int]
    keys: list[int]


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


@contextmanager
def open_video(path: str) -> Iterator[tuple[Any, Any]]:
    """Open a file and yield its container and its first video stream that is not a cover picture.

    Raises:
        VideoError: it has no such stream, or one of more than ``MAX_PIXELS`` a frame.
    """
    av = import_av()
    with _open(av, path) as container:
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise VideoError(f"{path}: holds no video{', only a picture' if container.streams.video else ''}")
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError(f"{path}: its video is of a codec that is not known here")
        if stream.width * stream.height > MAX_PIXELS:
            raise VideoError(f"{path}: has {stream.width} x {stream.height} pixels, more than {MAX_PIXELS}")
        stream.codec_context.thread_count = 1  # videos are worked on in parallel
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change on the way
        yield container, stream


def _open(av: Any, path: str) -> Any:
    """Open a file whatever the encoding of its tags: PyAV does so from version 19 on, and before that if it is told."""
    try:
        return av.open(path, options=_OPTIONS, metadata_errors="surrogateescape")
    except TypeError:
        return av.open(path, options=_OPTIONS)


def list_frames(path: str) -> Listing | None:
    """Return what the packets announce; None where that is not all the truth, and only counting helps."""
    with open_video(path) as (container, stream):
        if not container.format.name.startswith(_LISTING_FORMATS):
            return None
        codec = stream.codec_context.codec.canonical_name
        stamps, keys = [], []
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.pts is None:
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)
            if not packet.is_discard and _is_shown(codec, memoryview(packet)):
                stamps.append(packet.pts)
    listing = Listing(sorted(stamps), sorted(keys))
    distinct = len(set(stamps)) == len(stamps)
    begins_with_key = bool(keys and stamps and listing.keys[0] <= listing.stamps[0])
    return listing if distinct and begins_with_key and _begins_as_listed(path, listing) else None


def _is_shown(codec: str, packet: memoryview) -> bool:
    """Whether a packet shows a frame: VP8 and VP9 have some that later frames are only predicted from."""
    first, last = packet[0], packet[-1]
    if codec == "vp8":
        return bool(first & 0x10)
    if codec == "vp9" and last & 0xE0 != 0xC0:  # else it is a bundle, of which one is shown
        # the bits for "a frame decoded before" and "show it"; profile 3 has them one place further
        return bool(first & (0x05 if first & 0x30 == 0x30 else 0x0A))
    return True


def _begins_as_listed(path: str, listing: Listing) -> bool:
    """Whether the first frames come out as listed: not all do where a file was cut out of another one."""
    av = import_av()
    with open_video(path) as (container, stream):
        try:
            first = [frame.pts for frame in itertools.islice(decode(container, stream), _LONGEST_REORDERING)]
        except av.error.InvalidDataError:
            return False
    return first == listing.stamps[:_LONGEST_REORDERING]


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames from where the container stands, in the order in which they are shown.

    What a recording cannot decode before its first key frame is passed over.
    """
    av = import_av()
    begun = False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if begun:
                raise
            continue
        for frame in frames:
            if begun or not frame.is_corrupt:
                begun = True
                yield frame


def seek_frames(container: Any, stream: Any, listing: Listing, wanted: Sequence[int]) -> Iterator[Any]:
    """Yield the frames with the wanted stamps, rising, by way of the key frames before them.

    Raises:
        UnlistedFrameError: a frame comes out that the listing does not have at this place, or none.
    """
    frames: Iterator[Any] = iter(())
    position = -1  # in the listing, of the next frame
    for stamp in wanted:
        key = max(bisect_right(listing.keys, stamp) - 1, 0)
        if position < 0 or bisect_left(listing.stamps, listing.keys[key]) > position:
            frames, position = _land(container, stream, listing, key)
        for frame in frames:
            if frame.pts != listing.stamps[position]:
                raise UnlistedFrameError
            position += 1
            if frame.pts == stamp:
                yield frame
                break
        else:
            raise UnlistedFrameError


def _land(container: Any, stream: Any, listing: Listing, key: int) -> tuple[Iterator[Any], int]:
    """Return the frames from a key frame on, or from the one before it if that seek is late, and the first's place."""
    for stamp in {listing.keys[key]: None, listing.keys[max(key - 1, 0)]: None}:
        position = bisect_left(listing.stamps, stamp)
        container.seek(stamp, stream=stream)
        # shown before a key frame but stored behind it: their references may lie before the place of the seek
        frames = decode(container, stream)
        first = next((frame for frame in frames if frame.pts is not None and frame.pts >= stamp), None)
        if first is not None and first.pts == listing.stamps[position]:
            return itertools.chain([first], frames), position
    raise UnlistedFrameError


def count_frames(path: str) -> list[float]:
    """Return the times of all frames in seconds, not falling, by decoding them."""
    av = import_av()
    with open_video(path) as (container, stream):
        stamps = [frame.pts for frame in decode(container, stream)]
        base = float(stream.time_base or 0)
        step = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        broadcast = bool(container.format.flags & av.format.Flags.ts_discont.value)
    if None in stamps or not base:
        return [number * step for number in range(len(stamps))]
    return _in_order(np.array(stamps, np.float64) * base, step, _LONGEST_STILL if broadcast else np.inf)


def _in_order(times: np.ndarray, step: float, longest: float) -> list[float]:
    """Return the times of frames that stand in the order in which they are shown.

    Where a file has no presentation times, those of neighbours are mixed up, and only need sorting. Where the clock
    starts anew, in joined recordings, the next stretch follows after one step.
    """
    steps = np.diff(times)
    breaks = np.flatnonzero((steps < -_LONGEST_REORDERING * step) | (steps > longest)) + 1
    ordered: list[float] = []
    for stretch in np.split(times, breaks):
        stretch = np.sort(stretch)
        ordered += (stretch - stretch[0] + ordered[-1] + step if ordered else stretch).tolist()
    return ordered
