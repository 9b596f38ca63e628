"""The options by which verbs divide images among the splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def division_options(splits_help: str, seed_help: str) -> Callable[[Any], Any]:
    """Return the decorator of ``--splits TRAIN VAL TEST``, three shares, and ``--seed``."""
    splits = click.option(
        "--splits",
        type=(float, float, float),
        default=(0.7, 0.1, 0.2),
        show_default=True,
        metavar="TRAIN VAL TEST",
        help=splits_help,
    )
    seed = click.option("--seed", default=0, show_default=True, help=seed_help)
    return lambda command: splits(seed(command))
