"""Presets on the Hugging Face Hub: ``hf://user/name``, of which only a preset's own files are fetched."""

from __future__ import annotations

import re
from pathlib import Path

from lae_tf.errors import LAEError, MissingExtraError, UsageError
from lae_tf.presets.folder import FILES

_SOURCE = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def fetch(source: str) -> Path:
    """Fetch a preset, or find it where an earlier fetch left it.

    Args:
        source: ``hf://user/name`` or ``hf://user/name@revision``: a branch, a tag or a commit.

    Returns:
        The folder of the Hub's cache that holds it.

    Raises:
        UsageError: no such address.
        MissingExtraError: the extra ``hub`` is not installed.
        LAEError: the Hub cannot be reached, or has no such model.
    """
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise UsageError(f"{source}: expected hf://user/name, or hf://user/name@revision.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(f"{source}: the Hugging Face Hub", "hub") from None
    repository, revision = match.groups()
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # the Hub's own errors and those of the network have no base in common
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise LAEError(f"{source}: cannot be fetched ({reason}).") from None
