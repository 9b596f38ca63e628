"""`lae-tf check-data`: is the data sound? Needs no TensorFlow."""

from __future__ import annotations

import json
import sys

import click

from lae_tf.cli.inputs import ManifestPath
from lae_tf.cli.output_path import OutputPath


@click.command("check-data")
@click.argument("manifest", type=ManifestPath(exists=True))
@click.option("--html", type=OutputPath(dir_okay=False), help="Write a page with samples to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(manifest: str, html: str | None, as_json: bool) -> None:
    """Check a data set for give-aways, leaks, bad masks and labels.

    Looks for corrupt files, missing labels, masks that are empty or misplaced, labels that other images
    contradict, near-identical pictures and overlapping crops in different splits, and labels that a trivial
    classifier can tell from file size, JPEG tables, dimensions, colour or sharpness. The exit code is 1 if there
    is a fault; a warning leaves it at 0.

    \b
    Example:
      lae-tf check-data data/manifest.csv --html check.html
    """
    from lae_tf.audit import check_data
    from lae_tf.audit.findings import counted
    from lae_tf.audit.page import write_page

    checked = check_data(manifest)
    if as_json:
        click.echo(json.dumps(checked.as_dict(), indent=2))
    else:
        for one in checked.findings:
            click.echo(f"{one.severity.upper():<8} {one.check}: {one.message}")
            for files in one.files[:3]:
                click.echo(f"         {' ~ '.join(files)}")
            if one.count > 3:
                click.echo(f"         ... and {one.count - 3} more")
        warnings = len(checked.findings) - checked.faults
        images = "" if checked.manifest is None else f" in {len(checked.manifest)} images"
        click.echo(f"{counted(checked.faults, 'fault')} and {counted(warnings, 'warning')}{images}.")
    if html:
        write_page(checked, html)
        if not as_json:
            click.echo(f"Report: {html}")
    if checked.faults:
        sys.exit(1)
