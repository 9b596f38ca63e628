"""Real colour photographs that come with scikit-image and scikit-learn.

Nothing is downloaded: these ten files lie inside the installed packages. ``ihc`` (stained tissue under a
microscope), ``hubble`` and ``retina`` are photographs too, though unlike what a phone takes. Drawings, grey
images and the second view of the motorcycle are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lae_tf.errors import LAEError
from lae_tf.images.files import read_image


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
