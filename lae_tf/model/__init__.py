"""The LAE as a Keras model: networks, attention, losses and preprocessing. Knows nothing of files and manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lae_tf.errors import LAEError

if TYPE_CHECKING:
    from lae_tf.model.lae import LAE


def load_model(path: str | Path, compile: bool = True) -> LAE:
    """Load a ``.keras`` file saved from an :class:`~lae_tf.model.lae.LAE`, weights, optimizer and all.

    The file may come from a stranger: one that is not exactly what an LAE saves is refused before Keras opens it
    (:mod:`lae_tf.model.archive`). A loss of your own is known once its class is registered with Keras.

    Args:
        path: the file.
        compile: bring back losses and optimizer, to train or evaluate; a perceptual loss then needs its weights.

    Raises:
        LAEError: the file does not exist or does not hold an LAE.
    """
    import keras

    from lae_tf.model.archive import check_archive
    from lae_tf.model.lae import LAE
    from lae_tf.runtime import addons

    if not Path(path).is_file():
        raise LAEError(f"{path}: no such model file; expected a .keras file written by training.")
    version = check_archive(Path(path))
    try:
        with addons.all_weights_loaded():
            model = keras.saving.load_model(str(path), compile=compile)
    except LAEError:  # names the weights of a perceptual loss
        raise
    except Exception as error:  # whatever values that do not fit the model raise, in Keras, TensorFlow or HDF5
        reason = str(error).strip().partition("\n")[0].rstrip(":.") or type(error).__name__
        if version.partition(".")[0] != addons.KERAS_MAJOR:
            reason += f"; it was saved by Keras {version}, and this is {keras.__version__}: open it where it was made"
        remedy = "a model of an earlier lae_tf, whose parts had other shapes, is opened by that or trained anew"
        raise LAEError(f"{path}: cannot be read as a Keras model ({reason}); {remedy}.") from error
    if not isinstance(model, LAE):
        raise LAEError(f"{path}: holds a {type(model).__name__}, expected an LAE.")
    if not compile:
        model.jit_compile = False  # as ``LAE.compile`` has it
    return model
