"""Which video a fake was made from: its face track is the one to crop by, so that all versions match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from lae_tf.datasets.layouts import celeb_df, dfdc, faceforensics
from lae_tf.errors import UsageError

_FINDERS: dict[str, Callable[[Path, PurePosixPath], str | None]] = {
    "faceforensics++": faceforensics.original_video,
    "celeb-df": celeb_df.original_video,
    "dfdc": dfdc.original_video,
    "folders": lambda root, video: None,  # does not say what a fake was made from
}
VIDEO_LAYOUTS = tuple(_FINDERS)


def require_video_layout(kind: str) -> None:
    """Check a name.

    Raises:
        UsageError: not a layout of videos.
    """
    if kind not in _FINDERS:
        raise UsageError(f"unknown layout of videos '{kind}'; known are {', '.join(VIDEO_LAYOUTS)}")


def original_of(kind: str, root: Path, video: str) -> str | None:
    """Return the video whose faces tell where to crop another one.

    Fakes, their masks and other compressions are cropped as their original, so that they match pixel by pixel.

    Args:
        kind: a name in ``VIDEO_LAYOUTS``.
        root: folder of the data set.
        video: below ``root``, with forward slashes.

    Returns:
        An existing video below ``root``; None if the video is its own original, or the original is not there.

    Raises:
        UsageError: not a layout of videos.
    """
    require_video_layout(kind)
    found = _FINDERS[kind](root, PurePosixPath(video))
    return found if found and found != video and (root / found).is_file() else None
