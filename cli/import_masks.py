"""`lae-tf import-masks`: what annotators drew, checked and brought into the manifest. Needs no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from lae_tf.cli.inputs import RunPath, quoted


@click.command("import-masks")
@click.argument("run", type=RunPath(exists=True))
@click.argument("source", type=click.Path(exists=True), required=False)
@click.option("--round", "number", type=click.IntRange(1), help="Round of selection; default: the last.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", "annotations", "label-studio", "coco", "png"]),
    default="auto",
    show_default=True,
    help="What SOURCE holds; auto tells it from the content.",
)
@click.option("--allow-over-budget", is_flag=True, help="Permit 3 % of the training images and more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: str, source: str | None, number: int | None, kind: str, allow_over_budget: bool, as_json: bool
) -> None:
    """Import masks of a round's images into the manifest.

    SOURCE is what `lae-tf annotate` saved (the default), an export of Label Studio (JSON or JSON-MIN), a
    COCO file such as CVAT's, or a folder of PNG masks. Everything is checked first: if anything is wrong,
    all problems are listed and nothing is changed. The old manifest is kept beside the new one.

    \b
    Example:
      lae-tf import-masks runs/first
      lae-tf import-masks runs/first project-1-at-2026-01-01.json
    """
    from lae_tf.annotation.import_masks import detect_format, import_masks
    from lae_tf.annotation.round import Round

    selected = Round.open(run, number)
    path = Path(source) if source else selected.annotations
    if kind == "auto":
        kind = detect_format(path) if source else "annotations"
    imported = import_masks(path, kind, selected, allow_over_budget)
    if as_json:
        click.echo(json.dumps({"round": selected.number, "format": kind, **asdict(imported)}))
        return
    again = f", {imported.replaced} of them anew" if imported.replaced else ""
    click.echo(f"{imported.masks} masks of round {selected.number} imported{again}.")
    if imported.not_fake:
        gone = f", {imported.withdrawn} masks drawn on them earlier taken back" if imported.withdrawn else ""
        click.echo(f"{len(imported.not_fake)} images judged not to be fakes: decided, without a mask{gone}.")
    for image in imported.not_fake:
        click.echo(f"Judged not to be a fake, still labelled so: {image}")
    if imported.missing:
        click.echo(f"{len(imported.missing)} of {len(selected.items)} selected images have none yet.")
    click.echo(f"Masks drawn by people: {100 * imported.share:.2f} % of the training images.")
    click.echo(f"Manifest: {imported.manifest}" + (f" (before: {imported.backup})" if imported.backup else ""))
    config = Path(run, "config.yaml")
    click.echo(f"Next:     lae-tf train {quoted(str(config))} --output {quoted(run)} --resume")
