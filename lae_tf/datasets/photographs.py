"""Real colour photographs that come with scikit-image and scikit-learn, cut to tiles.

Nothing is downloaded: these ten files lie inside the installed packages. ``ihc`` (stained tissue under a
microscope), ``hubble`` and ``retina`` are photographs too, though unlike what a phone takes. Drawings, grey
images and the second view of the motorcycle are left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from lae_tf.errors import LAEError
from lae_tf.images.files import read_image, write_png

_FLATTEST = 8.0  # standard deviation of luminance in levels; below it a tile is sky or a black surround


@dataclass(frozen=True)
class Photograph:
    """A photograph in an installed package, and the split that its tiles belong to."""

    package: str
    file: str
    split: str


PHOTOGRAPHS = {
    "astronaut": Photograph("skimage", "data/astronaut.png", "train"),
    "chelsea": Photograph("skimage", "data/chelsea.png", "val"),
    "china": Photograph("sklearn", "datasets/images/china.jpg", "test"),
    "coffee": Photograph("skimage", "data/coffee.png", "test"),
    "flower": Photograph("sklearn", "datasets/images/flower.jpg", "train"),
    "hubble": Photograph("skimage", "data/hubble_deep_field.jpg", "train"),
    "ihc": Photograph("skimage", "data/ihc.png", "train"),
    "motorcycle": Photograph("skimage", "data/motorcycle_left.png", "train"),
    "retina": Photograph("skimage", "data/retina.jpg", "train"),
    "rocket": Photograph("skimage", "data/rocket.jpg", "val"),
}


def read_photograph(name: str) -> np.ndarray:
    """Read one of ``PHOTOGRAPHS``: uint8 (H, W, 3).

    Raises:
        LAEError: the installed package does not hold it.
    """
    return read_image(photograph_file(name))


def photograph_file(name: str) -> Path:
    """Return the file of one of ``PHOTOGRAPHS``.

    Raises:
        LAEError: the installed package does not hold it.
    """
    photograph = PHOTOGRAPHS[name]
    spec = find_spec(photograph.package)
    if spec is None or spec.origin is None:
        raise LAEError(f"the photograph '{name}' needs the package {photograph.package}, which is not installed")
    path = Path(spec.origin).parent / photograph.file
    if not path.is_file():
        raise LAEError(f"{path}: is not in the installed {photograph.package}; install another release of it")
    return path


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
