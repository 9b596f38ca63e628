"""`lae-tf import-masks`: masks drawn by people, into the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("import-masks")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--round", "number", type=click.IntRange(1), help="Round of selection.  [default: the last]")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", "annotations", "label-studio", "coco", "png"]),
    default="auto",
    show_default=True,
    help="What SOURCE is.",
)
@click.option("--allow-over-budget", is_flag=True, help="Permit masks for 3 % of the training images and more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: str, source: Path | None, number: int | None, kind: str, allow_over_budget: bool, as_json: bool
) -> None:
    """Check masks, and bring them into the manifest that RUN trains on.

    SOURCE is what `lae-tf annotate` drew (the default), a JSON or JSON-MIN export of Label Studio, a COCO file
    (CVAT: "COCO 1.0", unpacked), or a folder of PNG masks. Everything is checked first; one problem, and
    nothing is imported. The old manifest is kept beside the new one.

    \b
    Example:
      lae-tf import-masks runs/first
      lae-tf import-masks runs/first export.json
    """
    from dataclasses import asdict

    from lae_tf.annotation.import_masks import detect_format, import_masks
    from lae_tf.annotation.round import Round

    selected = Round.open(run, number)
    source = source or selected.annotations
    imported = import_masks(source, detect_format(source, kind), selected, allow_over_budget)
    if as_json:
        click.echo(json.dumps(asdict(imported)))
        return
    click.echo(
        f"{imported.masks} masks imported ({imported.replaced} replace earlier ones); "
        f"{100 * imported.share:.2f} % of the training images have a mask drawn by people."
    )
    for path in imported.not_fake:
        click.echo(f"Judged not a fake: {path}; check its label.")
    if imported.missing:
        click.echo(f"{len(imported.missing)} of {len(selected.items)} selected images have no mask yet.")
    if imported.backup:
        click.echo(f"Manifest: {imported.manifest}\nBefore:   {imported.backup}")
        click.echo("Next:     lae-tf train CONFIG --resume")
