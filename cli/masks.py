"""`lae-tf masks`: masks without people. Needs no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lae_tf.cli.inputs import ManifestPath
from lae_tf.cli.output_path import OutputPath
from lae_tf.errors import ProblemsError

if TYPE_CHECKING:
    from lae_tf.annotation.deriving import Derived


@click.group("masks")
def command() -> None:
    """Make masks without drawing, from the fakes' sources."""


@command.command("diff")
@click.argument("manifest", type=ManifestPath(exists=True))
@click.option(
    "--sources",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of the untouched images, named as the fakes or as their groups; default: MANIFEST's real images.",
)
@click.option(
    "--masks", type=OutputPath(file_okay=False), help="Folder for the masks; default: masks-derived beside MANIFEST."
)
@click.option("--threshold", type=click.FloatRange(0, 255), help="Levels of 255 by which a forged region differs.")
@click.option("--extent", type=click.FloatRange(0, 255), help="Levels of 255 by which it differs up to its border.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(
    manifest: str,
    sources: str | None,
    masks: str | None,
    threshold: float | None,
    extent: float | None,
    as_json: bool,
) -> None:
    """Derive masks of unlabelled fakes from their untouched sources.

    A fake's mask is where it differs from its source: from --sources, or else the only real image of its
    group in MANIFEST. Such masks are marked as derived, do not count against the budget, and never replace
    another mask. Pairs that cannot be used are left out and listed at the end, with exit code 1. The old
    manifest is kept beside the new one.

    \b
    Example:
      lae-tf masks diff data/manifest.csv --sources data/originals
    """
    from lae_tf.annotation.deriving import derive_masks
    from lae_tf.masks.differencing import Differencing

    parameters = Differencing()
    if threshold is not None:
        parameters = replace(parameters, threshold=threshold)
    if extent is not None:
        parameters = replace(parameters, extent=extent)
    path = Path(manifest)
    folder = Path(masks) if masks else path.parent / "masks-derived"
    derived = derive_masks(path, Path(sources) if sources else None, folder, parameters)
    if as_json:
        click.echo(json.dumps({"manifest": manifest, "folder": str(folder), **asdict(derived)}))
    else:
        _report(derived, manifest, sources, folder)
    if derived.problems:
        raise ProblemsError("fakes that stay unlabelled", derived.problems)


def _report(derived: Derived, manifest: str, sources: str | None, folder: Path) -> None:
    from lae_tf.images.files import printable

    for sentence in derived.left_out:
        click.echo(f"Left out: {printable(sentence)}", err=True)
    click.echo(f"{derived.masks} masks derived, in {folder}")
    if derived.without_source:
        click.echo(f"{_named(derived.without_source)} without a source in {sources or manifest}: unlabelled.")
    if derived.without_difference:
        click.echo(f"{_named(derived.without_difference)} that differ nowhere, or nearly everywhere: unlabelled.")
    click.echo(f"Manifest: {manifest}" + (f" (before: {derived.backup})" if derived.backup else ""))


def _named(fakes: list[str]) -> str:
    from lae_tf.audit.findings import counted
    from lae_tf.images.files import printable

    more = ", ..." if len(fakes) > 3 else ""
    return f"{counted(len(fakes), 'fake')} ({printable(', '.join(fakes[:3]))}{more})"
