"""Whether videos can be divided among splits, found out before their frames are extracted, which takes long."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lae_tf.data.finding import find_videos
from lae_tf.datasets.extraction import RECORD, copy_side_files
from lae_tf.datasets.layouts import celeb_df, dfdc, faceforensics, folders
from lae_tf.datasets.layouts.originals import require_video_layout
from lae_tf.datasets.layouts.samples import Found
from lae_tf.datasets.layouts.splits import assign
from lae_tf.errors import UsageError
from lae_tf.images.files import write_png

_FINDERS: dict[str, Callable[[Path], Found]] = {
    "faceforensics++": faceforensics.find,
    "celeb-df": celeb_df.find,
    "dfdc": dfdc.find,
    "folders": folders.find_folders,
}


def require_divisible(
    kind: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    shares: tuple[float, float, float],
) -> None:
    """Check that the frames of videos will fill the splits, by a tree with one black image in the place of each video.

    Args:
        kind: a layout of videos.
        source: a video, or a folder searched with its sub-folders.
        out: folder that the frames will be written to; what it holds already counts too.
        shares: of images for train, val and test.

    Raises:
        UsageError: not a layout of videos, no videos or none in this layout, or too few that are real or fake.
    """
    require_video_layout(kind)
    source, out = Path(os.path.abspath(source)), Path(os.path.abspath(out))
    root = source if source.is_dir() else source.parent
    places = {video.relative_to(root).with_suffix("") for video in find_videos(source)}
    places |= {record.parent.relative_to(out) for record in out.rglob(RECORD)}
    with TemporaryDirectory() as temporary:
        tree = Path(os.path.realpath(temporary))
        if source.is_dir():
            copy_side_files(root, tree)
        write_png(tree / "black.png", np.zeros((8, 8, 3), np.uint8))
        black = (tree / "black.png").read_bytes()
        (tree / "black.png").unlink()
        for place in places:
            (tree / place).mkdir(parents=True, exist_ok=True)
            (tree / place / "000000.png").write_bytes(black)
            (tree / place / RECORD).write_text("{}")
        try:
            samples, _ = assign(_FINDERS[kind](tree).samples, shares, 0)
        except UsageError as error:
            raise UsageError(str(error).replace(str(tree), str(root))) from None
    labels = {"fake" if sample.method else "real" for sample in samples}
    if len(labels) < 2 and len({sample.split for sample in samples}) > 1:
        absent = ({"real", "fake"} - labels).pop()
        raise UsageError(
            f"{source}: no video is {absent} in the layout {kind}, and a detector learns from both; add some, ask for "
            "one split (--splits 0 0 1), or leave --layout out"
        )
