"""The option by which verbs change single values of a configuration."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem


def _complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the keys, each with its ``=``."""
    from lae_tf.config.schema import sections

    keys = (key for section in sections() for key in section.keys)
    return [CompletionItem(f"{key.name}=", help=key.meaning) for key in keys if key.name.startswith(begun)]


def set_option(command: Any) -> Any:
    """Add ``--set KEY=VALUE``, any number of them, as ``overrides``."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=_complete,
        help="Change one value, e.g. align.epochs=5; `lae-tf config` lists the keys.",
    )(command)
