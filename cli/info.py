"""`lae-tf info`: versions, the stack and devices."""

from __future__ import annotations

import json

import click

from lae_tf.cli.quiet import import_tensorflow


@click.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Print versions, the stack and devices.

    \b
    Example:
      lae-tf info --json
    """
    import_tensorflow()
    from lae_tf.environment import describe

    facts = describe()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        click.echo(f"{key:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
