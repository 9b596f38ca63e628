"""`lae-tf info`: versions, the stack, extras and devices."""

from __future__ import annotations

import json
from typing import Any

import click

from lae_tf.cli.quiet import import_tensorflow


@click.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Print versions, the stack, extras and devices.

    \b
    Example:
      lae-tf info --json
    """
    import_tensorflow()
    from lae_tf.runtime.addons import STACK, STACKS
    from lae_tf.runtime.environment import describe, extras

    facts: dict[str, Any] = {**describe(), "extras": extras()}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    devices = facts["devices"]
    there = [name for name, installed in facts["extras"].items() if installed]
    missing = [name for name, installed in facts["extras"].items() if not installed]
    (other,) = STACKS.keys() - {STACK}
    facts |= {
        "stack": f"{STACK}: {STACKS[STACK]}",
        "devices": ", ".join(devices),
        "extras": ", ".join(there) or "none",
    }
    width = max(map(len, facts))
    for key, value in facts.items():
        click.echo(f"{key:<{width}}  {value}")
    click.echo(f"\nThe {other} stack is {STACKS[other]}: install into an environment of such a Python.")
    if missing:
        click.echo(f"Extras that are not installed: {', '.join(missing)}. In the folder of lae_tf's sources:")
        click.echo(f"  pip install '.[{missing[0]}]'")
    if not any("GPU" in device for device in devices):
        click.echo("TensorFlow sees no GPU; for NVIDIA's on Linux: pip install '.[gpu]', beside the system's driver.")
