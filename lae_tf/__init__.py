"""Locality-aware AutoEncoder (LAE): a deepfake detector that looks at the forged region when it decides.

The public names load on first use, so that ``import lae_tf`` costs nothing and does not start TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lae_tf.runtime.registration import register_on_import
from lae_tf.version import __version__

_HOME = {
    "LAE": "lae_tf.model.lae",
    "Preprocessor": "lae_tf.model.preprocessing",
    "Manifest": "lae_tf.data.manifest",
    "Config": "lae_tf.config.sections",
    "Run": "lae_tf.training.run",
    "LAEError": "lae_tf.errors",
    "load_model": "lae_tf.model",
}

__all__ = [*sorted(_HOME), "__version__"]

if TYPE_CHECKING:
    from lae_tf.config.sections import Config as Config
    from lae_tf.data.manifest import Manifest as Manifest
    from lae_tf.errors import LAEError as LAEError
    from lae_tf.model import load_model as load_model
    from lae_tf.model.lae import LAE as LAE
    from lae_tf.model.preprocessing import Preprocessor as Preprocessor
    from lae_tf.training.run import Run as Run

register_on_import()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lae_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
