"""Where presets are: in the package, in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lae_tf.errors import UsageError

if TYPE_CHECKING:  # whoever completes a word on the command line waits for NumPy else
    from lae_tf.presets.folder import Preset

SCHEME = "hf://"
DEFAULT = "lae-photo"
"""Name of the preset that scores where neither a run nor a preset is named, and that new models begin with."""
BUILT_IN = Path(__file__).parent
"""Holds the presets that come with the package, one folder each."""


def built_in() -> list[str]:
    """Return the names of the presets that come with this installation, sorted."""
    from lae_tf.presets.folder import is_preset

    return sorted(folder.name for folder in BUILT_IN.iterdir() if is_preset(folder))


def open_preset(source: str | os.PathLike[str]) -> Preset:
    """Find and read a preset.

    Args:
        source: the name of one that is installed, which goes before a folder of the same name; a folder; or
            ``hf://user/name``, with ``@revision`` if need be.

    Raises:
        UsageError: there is none.
        LAEError: it cannot be fetched, or is damaged.
    """
    from lae_tf.presets.folder import read_preset
    from lae_tf.presets.hub import fetch

    source = os.fspath(source)
    if source.startswith(SCHEME):
        return read_preset(fetch(source), source)
    if source in built_in():
        return read_preset(BUILT_IN / source)
    if os.path.isdir(source):
        return read_preset(Path(source))
    known = ", ".join(built_in()) or "none"
    raise UsageError(
        f"{source}: no such preset; expected the name of one that is installed ({known}), a folder, or "
        f"{SCHEME}user/name."
    )
