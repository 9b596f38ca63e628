"""`lae-tf config`: what a configuration may hold, and what one resolves to. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lae_tf.cli.inputs import ConfigPath
from lae_tf.cli.overrides import set_option

if TYPE_CHECKING:
    from lae_tf.config.sections import Config


@click.command("config")
@click.argument("config", required=False, type=ConfigPath(exists=True))
@set_option
@click.option("--json-schema", is_flag=True, help="Print the JSON Schema of configurations, for editors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every key.")
def command(config: str | None, overrides: tuple[str, ...], json_schema: bool, as_json: bool) -> None:
    """List the keys of a configuration with defaults and meaning.

    With CONFIG, a YAML file or a manifest, print instead what `lae-tf train` makes of it, every default filled in,
    and what differs from the defaults: YAML that may be trained from.

    \b
    Example:
      lae-tf config
      lae-tf config data/manifest.csv --set align.epochs=5 > config.yaml
      lae-tf config --json-schema > lae-tf.schema.json
    """
    from lae_tf.config import schema as config_schema
    from lae_tf.config.sections import Config
    from lae_tf.errors import UsageError

    if json_schema:
        if config or overrides or as_json:
            raise UsageError("--json-schema describes every configuration; give it alone.")
        click.echo(json.dumps(config_schema.json_schema(), indent=2))
        return
    if overrides and not config:
        raise UsageError("--set changes a configuration; give its file, or a manifest, before it.")
    resolved = Config.read(config, overrides) if config else None
    if as_json:
        click.echo(json.dumps({"keys": _records(resolved)}, indent=2))
    elif resolved:
        changed = [record for record in _records(resolved) if record["changed"]]
        click.echo(f"# {config}: {len(changed)} of its values differ from the defaults.")
        for record in changed:
            default = "required" if record["required"] else f"default {written(record['default'])}"
            click.echo(f"#   {record['name']}: {written(record['value'])} ({default})")
        click.echo(resolved.to_yaml(), nl=False)
    else:
        click.echo(_table(), nl=False)


def written(value: object) -> str:
    """Return a value as one writes it in YAML or after ``--set``."""
    return value if isinstance(value, str) else json.dumps(value)


def _records(config: Config | None) -> list[dict]:
    from lae_tf.config.schema import sections, value_of

    records = []
    for key in (key for section in sections() for key in section.keys):
        record = dataclasses.asdict(key)
        if config:
            value = value_of(config, key)
            record |= {"value": value, "changed": key.required or value != key.default}
        records.append(record)
    return records


def _table() -> str:
    from lae_tf.config.schema import sections

    context = click.get_current_context()
    formatter = context.make_formatter()
    for section in sections():
        rows = []
        for key in section.keys:
            name = f"{key.name} (required)" if key.required else f"{key.name} = {written(key.default)}"
            rows.append((name, f"{key.values}. {key.meaning}"))
        formatter.write(f"\n{section.name or 'top level'}: {section.meaning}\n")
        with formatter.indentation():
            formatter.write_dl(rows, col_max=32)
    return formatter.getvalue().lstrip("\n")
