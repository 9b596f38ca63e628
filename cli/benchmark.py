"""`lae-tf benchmark`: LAE and its peers on one task, trained on one manipulation and tested on unseen ones."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lae_tf.cli.inputs import ProtocolPath
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow


@click.command("benchmark")
@click.argument("config", type=ProtocolPath(exists=True))
@click.option(
    "--data",
    "data_root",
    type=click.Path(exists=True, file_okay=False),
    help="Folder that the protocol's manifest is relative to; default: the protocol's own folder.",
)
@click.option("--output", type=OutputPath(file_okay=False), help="Default: benchmark/NAME of the protocol's file.")
@click.option("--fast", is_flag=True, help="The protocol's small version: a first answer, not evidence.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only these models; default: all.")
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(0), help="Only these seeds; default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def command(
    config: str,
    data_root: str | None,
    output: str | None,
    fast: bool,
    models: tuple[str, ...],
    seeds: tuple[int, ...],
    as_json: bool,
) -> None:
    """Compare LAE with its peers on manipulations that none has seen.

    All get the same data, free forgeries, degradations, steps and input size, and choose epoch and threshold on the
    same validation. Peers choose a learning rate there, too (rate_epochs of the protocol). Of the data, sbi takes the
    real images alone.

    CONFIG is a protocol (see configs/swap.yaml). Each model and seed runs in a process of its own. Stopped at any
    moment, the same command goes on: what is finished is not run again. Cells of other settings are refused; peers
    that the protocol names under 'earlier' keep theirs, and are marked.

    \b
    Example:
      lae-tf benchmark configs/swap.yaml --data data --fast
    """
    import_tensorflow()
    from lae_tf.comparison.page import write_comparison
    from lae_tf.comparison.protocol import Protocol
    from lae_tf.comparison.run import require_same_settings, run_cells
    from lae_tf.data.manifest import Manifest
    from lae_tf.errors import UsageError

    protocol = Protocol.read(config, fast)
    folder = Path(output or Path("benchmark") / (Path(config).stem + ("-fast" if fast else ""))).resolve()
    cells = list(protocol.cells(data_root or Path(config).parent, folder))
    if fast:  # what is wrong in the rest of the file is better said now than after the quick try
        list(Protocol.read(config).cells(data_root or Path(config).parent, folder))
    for option, wanted, known in (
        ("--model", models, list(dict.fromkeys(cell.model for cell in cells))),
        ("--seed", map(str, seeds), list(dict.fromkeys(str(cell.seed) for cell in cells))),
    ):
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UsageError(f"{option} {unknown[0]}: not in {config}, which has {', '.join(known)}.")
    chosen = [c for c in cells if (not models or c.model in models) and (not seeds or c.seed in seeds)]
    manifest = Manifest.read(cells[0].config.data.manifest)
    protocol.check_data(manifest)
    data = manifest.digest()
    require_same_settings(protocol, cells, data, folder)
    failures = run_cells(protocol, chosen, data, folder)
    page = write_comparison(protocol, cells, folder)
    if as_json:
        click.echo((folder / "comparison.json").read_text(encoding="utf-8"))
    else:
        click.echo((folder / "comparison.md").read_text(encoding="utf-8"))
        click.echo(f"Report: {page}")
    sys.exit(1 if failures else 0)
