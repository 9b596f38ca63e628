"""`lae-tf manifest`: known data sets become a manifest."""

from __future__ import annotations

import json
import os
from typing import Any

import click
from click.core import ParameterSource

from lae_tf.cli.inputs import quoted
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.splits import division_options
from lae_tf.errors import UsageError

SHOWN = 20


class LayoutName(click.ParamType):
    """The name of a layout."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from lae_tf.datasets.layouts import LAYOUTS

        if value not in LAYOUTS:
            order = " The order is lae-tf manifest KIND ROOT." if os.path.exists(value) else ""
            raise UsageError(f"unknown layout '{value}'; known are {', '.join(LAYOUTS)}.{order}")
        return value


@click.command("manifest")
@click.argument("kind", type=LayoutName())
@click.argument("root", type=click.Path(exists=True, file_okay=False))
@click.option(
    "-o",
    "--output",
    type=OutputPath(dir_okay=False),
    default="manifest.csv",
    show_default=True,
    help="Manifest to write (.csv, .parquet).",
)
@click.option("--compression", type=click.Choice(["raw", "c0", "c23", "c40"]), help="Of faceforensics++; default: all.")
@division_options(
    "Shares of images where the data set gives no splits; if not given, splits are left out where too few groups hold "
    "real and fake images.",
    "Of the splits.",
)
@click.option("--derive-masks", is_flag=True, help="Make missing masks by differencing, where the source is at hand.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    kind: str,
    root: str,
    output: str,
    compression: str | None,
    splits: tuple[float, float, float],
    seed: int,
    derive_masks: bool,
    as_json: bool,
) -> None:
    """Write the manifest of a known data set.

    KIND is faceforensics++, celeb-df, dfdc, pairs, folders, casia or coco; ROOT its folder, or what `lae-tf
    frames` made of it. docs/guides/data-sets.md shows the trees. Images and masks are paired by exact stem, and
    whatever has no counterpart is listed. Groups are never torn, and splits are alike in labels and methods.

    \b
    Example:
      lae-tf frames FaceForensics++ frames --every 10 --layout faceforensics++
      lae-tf manifest faceforensics++ frames -o ffpp.csv
    """
    from lae_tf.data.contract import SPLITS
    from lae_tf.datasets.layouts import Options, build_manifest

    asked = click.get_current_context().get_parameter_source("splits") is not ParameterSource.DEFAULT
    shares = splits if asked else None
    built = build_manifest(kind, root, output, Options(compression, shares, seed, derive_masks))
    counts = built.manifest.counts()
    if as_json:
        facts = {"manifest": output, "counts": counts, "derived_masks": built.derived, "unmatched": built.unmatched}
        facts["backup"] = built.backup
        click.echo(json.dumps(facts, indent=2))
        return
    for split, numbers in counts.items():
        click.echo(
            f"{split:<5}  {numbers['real']} real, {numbers['fake']} fake ({numbers['annotated']} with a mask), "
            f"{numbers['groups']} groups"
        )
    click.echo(f"Manifest: {output}" + (f" (before: {built.backup})" if built.backup else ""))
    if not asked and (absent := [split for split in SPLITS if split not in counts]):
        click.echo(
            f"No {' and no '.join(absent)} split: the data set names none, or too few groups hold real and fake images "
            "each; add some of what is rare.",
            err=True,
        )
    for sentence in built.unmatched[:SHOWN]:
        click.echo(f"Unmatched: {sentence}", err=True)
    if built.unmatched:
        click.echo(f"{len(built.unmatched)} unmatched, all listed in {built.report}", err=True)
    click.echo(f"Next:     lae-tf check-data {quoted(output)}")
