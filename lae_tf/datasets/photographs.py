"""The photographs that come with scikit-image and scikit-learn, cut to tiles: a data set without a download."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from lae_tf.images.files import write_png
from lae_tf.images.photographs import PHOTOGRAPHS, photograph_file, read_photograph

_FLATTEST = 8.0  # standard deviation of luminance in levels; below it a tile is sky or a black surround


def photograph_tiles(
    out_dir: str | os.PathLike[str], size: int = 64, seed: int = 0, limit: int | None = None
) -> pd.DataFrame:
    """Cut the photographs to tiles that do not overlap, without the flat ones.

    Args:
        out_dir: tiles are written to ``OUT/<photograph>/<row>-<column>.png``.
        size: side of a tile in pixels.
        seed: of the grid's position in each photograph and of the choice under ``limit``.
        limit: most tiles to take from one photograph, chosen at random; without it all.

    Returns:
        One row per tile: ``path`` (absolute), ``group`` (the photograph), ``split`` (a photograph's tiles never
        cross splits), and where it was cut: ``source`` (the photograph's file), ``left`` and ``top`` in pixels.

    Raises:
        LAEError: a photograph is missing from the installed packages.
    """
    rows = []
    for number, (name, photograph) in enumerate(PHOTOGRAPHS.items()):
        image = read_photograph(name)
        rng = np.random.default_rng((seed, number))
        height, width = image.shape[:2]
        top, left = rng.integers(height % size + 1), rng.integers(width % size + 1)
        tiles = {}
        for row in range(height // size):
            for column in range(width // size):
                y, x = top + row * size, left + column * size
                tile = image[y : y + size, x : x + size]
                if (tile @ (0.299, 0.587, 0.114)).std() >= _FLATTEST:
                    tiles[f"{row:02}-{column:02}"] = (tile, int(x), int(y))
        kept = sorted(tiles)
        if limit is not None and len(kept) > limit:
            kept = sorted(rng.choice(kept, limit, replace=False))
        for key in kept:
            path = Path(os.path.abspath(out_dir), name, f"{key}.png")
            tile, x, y = tiles[key]
            write_png(path, tile)
            rows.append((str(path), name, photograph.split, str(photograph_file(name)), x, y))
    return pd.DataFrame(rows, columns=["path", "group", "split", "source", "left", "top"])
