"""The option by which verbs divide images among the splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def splits_option(help_text: str) -> Callable[[Any], Any]:
    """Return the decorator of ``--splits TRAIN VAL TEST``, three shares."""
    return click.option(
        "--splits",
        type=(float, float, float),
        default=(0.7, 0.1, 0.2),
        show_default=True,
        metavar="TRAIN VAL TEST",
        help=help_text,
    )
