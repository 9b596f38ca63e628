"""`lae-tf models`: the ready models that are installed, and their cards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lae_tf.presets.folder import Preset


@click.command("models")
@click.argument("name", required=False, metavar="[PRESET]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list, or with PRESET one object.")
def command(name: str | None, as_json: bool) -> None:
    """List the ready models, or show the card of one.

    PRESET is a name, a folder or hf://user/name, as for --model of other verbs. `lae-tf export RUN FOLDER --format
    preset` makes one.

    \b
    Example:
      lae-tf models
      lae-tf models my-preset
      lae-tf predict --model my-preset photos/
    """
    from lae_tf.presets.finding import DEFAULT, built_in, open_preset

    if name is not None:
        preset = open_preset(name)
        click.echo(json.dumps({**_facts(preset), "card": preset.card}) if as_json else preset.card.rstrip())
        return
    presets = [open_preset(one) for one in built_in()]
    if as_json:
        click.echo(json.dumps([{**_facts(one), "default": one.name == DEFAULT} for one in presets]))
        return
    for one in presets:
        click.echo(f"{one.name}{' (default)' if one.name == DEFAULT else ''}  {one.summary}")
    if not presets:
        click.echo(
            "This installation has no ready model; `lae-tf train photos/ --output runs/first` trains one, and --model "
            "of `lae-tf predict` takes a preset's folder or hf://user/name."
        )


def _facts(preset: Preset) -> dict[str, Any]:
    """Return what a program asks of a preset, ready for JSON."""
    facts = {name: getattr(preset, name) for name in ("name", "summary", "config", "calibration", "software")}
    return {**facts, "digest": preset.digest}
