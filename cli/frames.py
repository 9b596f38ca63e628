"""`lae-tf frames`: videos become images."""

from __future__ import annotations

import json
import sys

import click

from lae_tf.cli.inputs import quoted
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.splits import division_options

DEFAULT_COUNT, SHOWN = 32, 20


@click.command("frames")
@click.argument("source", type=click.Path(exists=True))
@click.argument("out", type=OutputPath(file_okay=False))
@click.option("--every", type=click.IntRange(1), metavar="N", help="Take every N-th frame.")
@click.option(
    "--count",
    type=click.IntRange(1),
    metavar="N",
    help=f"Take N frames, evenly spread over the time.  [default: {DEFAULT_COUNT}, without --every]",
)
@click.option("--whole", is_flag=True, help="Take whole frames instead of faces.")
@click.option(
    "--layout",
    metavar="KIND",
    help="Write OUT/manifest.csv, and crop fakes and masks as their originals: faceforensics++, celeb-df, dfdc, or "
    "folders for real/ and fake/.",
)
@division_options("With --layout: shares of images where the data set gives no splits.", "Of the splits.")
@click.option("--workers", type=click.IntRange(1), help="Videos at a time; default: one per processor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    source: str,
    out: str,
    every: int | None,
    count: int | None,
    whole: bool,
    layout: str | None,
    splits: tuple[float, float, float],
    seed: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Extract faces, or whole frames, from videos.

    SOURCE is a video or a folder of videos; OUT gets a folder of PNG files for each, in the same tree. The main
    face is followed through the video, so that its crops are steady. Interrupted, the same command goes on
    where it stopped. Videos that cannot be used or show no face are reported and skipped; then the exit code
    is 1. `lae-tf manifest` writes other manifests of OUT. With --layout, videos that could not give each split real and
    fake images are refused before the work.

    \b
    Example:
      lae-tf frames videos/ frames/ --count 16 --layout folders
    """
    import_tensorflow()
    from functools import partial
    from pathlib import Path

    from lae_tf.datasets.extraction import Cropping, extract
    from lae_tf.datasets.layouts import Options, build_manifest
    from lae_tf.datasets.layouts.originals import original_of
    from lae_tf.datasets.layouts.rehearsal import require_divisible
    from lae_tf.errors import UsageError
    from lae_tf.video.frames import Selection

    if every is None and count is None:
        count = DEFAULT_COUNT
    if layout:
        require_divisible(layout, source, out, splits)
    finder = None if layout is None else partial(original_of, layout)
    result = extract(source, out, Selection(every, count), Cropping(whole, finder), workers)
    images = sum(result.images.values())
    manifest = str(Path(out, "manifest.csv")) if layout and images else None
    try:
        built = (
            build_manifest(layout, out, manifest, Options(shares=splits, seed=seed)) if layout and manifest else None
        )
    except UsageError as error:
        if not result.problems:
            raise
        raise UsageError(f"{error}; skipped before: {'; '.join(result.problems[:3])}") from None
    if as_json:
        facts = {
            "out": out,
            "manifest": manifest,
            "unmatched": built.unmatched if built else [],
            "images": images,
            "videos": result.images,
            "finished_before": result.skipped,
            "without_face": result.without_face,
            "problems": result.problems,
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        for video, number in result.without_face.items():
            click.echo(f"No face: {video}: {number} frames left out", err=True)
        for problem in result.problems:
            click.echo(f"Skipped: {problem}", err=True)
        click.echo(f"{images} images from {len(result.images)} videos ({result.skipped} finished before): {out}")
        if built and manifest:
            for sentence in built.unmatched[:SHOWN]:
                click.echo(f"Unmatched: {sentence}", err=True)
            click.echo(f"Manifest: {manifest}")
            click.echo(f"Next:  lae-tf train {quoted(manifest)} --output runs/first")
    if result.problems:
        sys.exit(1)
