"""What a model gets to see of a video, in training and in prediction alike: steady face crops, or whole frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lae_tf.video.faces import Box, Track, detect, follow
from lae_tf.video.frames import Frame, Selection, read_frames


@dataclass(frozen=True)
class Crop:
    """A frame and the part of it that counts.

    Attributes:
        frame: the whole frame.
        image: uint8 (S, S, 3) around the face; the whole frame if faces do not matter; None without a face.
        place: top, left, height and width of ``image`` in the frame, pixels; None without a face.
    """

    frame: Frame
    image: np.ndarray | None
    place: tuple[int, int, int, int] | None


def find_track(path: str | os.PathLike[str], selection: Selection) -> Track:
    """Follow the main face through the selected frames.

    Raises:
        VideoError: the video cannot be used.
        MissingExtraError: PyAV or the detector is not installed.
    """
    times: list[float] = []
    faces: list[list[Box]] = []
    for frame in read_frames(path, selection):
        times.append(frame.time)
        faces.append(detect(frame.image))
    return follow(times, faces)


def read_crops(path: str | os.PathLike[str], selection: Selection, track: Track | None) -> Iterator[Crop]:
    """Yield the selected frames of a video and what counts of them.

    Args:
        path: the video.
        selection: of its frames.
        track: of the face to crop, by :func:`find_track`; None takes whole frames.

    Raises:
        VideoError: the video cannot be used.
    """
    for frame in read_frames(path, selection):
        height, width = frame.image.shape[:2]
        if track is None:
            yield Crop(frame, frame.image, (0, 0, height, width))
            continue
        box = track.at(frame.time)
        if box is None:
            yield Crop(frame, None, None)
            continue
        top, left, side = box.place(height, width)
        yield Crop(frame, frame.image[top : top + side, left : left + side], (top, left, side, side))
