"""`lae-tf masks`: masks that need no annotator."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group("masks", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make masks without annotators."""


@command.command("diff")
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--sources",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the untouched images.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Masks.  [default: masks-derived]")
@click.option("--blur", type=click.FloatRange(0, 20), default=1.0, show_default=True, help="Sigma in pixels.")
@click.option(
    "--threshold", type=click.FloatRange(0, 255), default=10.0, show_default=True, help="Difference of a channel."
)
@click.option("--closing", type=click.IntRange(1, 99), default=5, show_default=True, help="Gaps to close, in pixels.")
@click.option("--smallest-area", type=click.IntRange(1), default=64, show_default=True, help="In pixels.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(
    manifest: Path,
    sources: Path,
    out: Path | None,
    blur: float,
    threshold: float,
    closing: int,
    smallest_area: int,
    as_json: bool,
) -> None:
    """Make masks of fakes by differencing them with their untouched sources.

    A fake's source has its name (and folders, where needed) or the name of its group in SOURCES. The masks are
    marked as derived in MANIFEST: they do not count in the budget. Fakes that have a mask keep it.

    \b
    Example:
      lae-tf masks diff data/manifest.csv --sources originals/
    """
    from dataclasses import asdict

    from lae_tf.annotation.differencing import Differencing, derive_masks

    out = out or manifest.parent / "masks-derived"
    derived = derive_masks(manifest, sources, out, Differencing(blur, threshold, closing, smallest_area))
    if as_json:
        click.echo(json.dumps(asdict(derived)))
        return
    click.echo(f"{derived.masks} masks derived, in {out}.")
    if derived.without_source or derived.without_difference:
        click.echo(
            f"Left unlabelled: {derived.without_source} without a source, {derived.without_difference} "
            "that differ nowhere or nearly everywhere."
        )
    if derived.backup:
        click.echo(f"Before: {derived.backup}")
