"""The LAE as a Keras model: networks, attention, losses and preprocessing. Knows nothing of files and manifests."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from lae_tf.errors import LAEError

if TYPE_CHECKING:
    from lae_tf.model.lae import LAE


def load_model(path: str | Path, compile: bool = True) -> LAE:
    """Load a ``.keras`` file saved from an :class:`~lae_tf.model.lae.LAE`, weights, optimizer and all.

    Args:
        path: the file.
        compile: bring back losses and optimizer, to train or evaluate; a perceptual loss then needs its weights.

    Raises:
        LAEError: the file does not exist or does not hold an LAE.
    """
    import keras

    from lae_tf.model.lae import LAE

    if not Path(path).is_file():
        raise LAEError(f"{path}: no such model file; expected a .keras file written by training.")
    try:
        model = keras.saving.load_model(str(path), compile=compile)
    except (ValueError, OSError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise LAEError(f"{path}: cannot be read as a Keras model ({str(error).partition(chr(10))[0]}).") from error
    if not isinstance(model, LAE):
        raise LAEError(f"{path}: holds a {type(model).__name__}, expected an LAE.")
    if not compile:
        model.jit_compile = False  # as ``LAE.compile`` has it
    return model
