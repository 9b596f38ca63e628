"""`lae-tf explain`: explanations side by side, and which of them to trust."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from lae_tf.cli.evidence import max_side_option
from lae_tf.cli.inputs import ManifestPath
from lae_tf.cli.model_choice import choose_model, model_option
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow


@click.command("explain")
@click.argument("paths", nargs=-1, required=True, metavar="[RUN] PATHS...", type=click.Path())
@model_option
@click.option("-o", "--output", type=OutputPath(file_okay=False), required=True, help="Folder for panels and page.")
@click.option("--masks", type=click.Path(exists=True, file_okay=False), help="Folder of masks named as the images.")
@click.option("--manifest", type=ManifestPath(exists=True), help="Manifest that knows the images' labels and masks.")
@click.option("--overlays", is_flag=True, help="Write each map over its image, too, in the size of the file.")
@max_side_option("With --overlays: scale them down to this many pixels on the longer side.")
@click.option("--methods", help="Comma-separated; default: all.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of noise and the random control.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    paths: tuple[str, ...],
    preset: str | None,
    output: str,
    masks: str | None,
    manifest: str | None,
    overlays: bool,
    max_side: int | None,
    methods: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Explain decisions by several methods, and measure each.

    PATHS are files, folders or glob patterns; before them stands a trained RUN, or a ready model is asked, as by
    `lae-tf predict`. Methods: attention (the model's own), grad_cam, grad_cam_pp, score_cam, smoothgrad,
    reconstruction_error, and random as a control. Each is measured by deletion and insertion, and against the mask
    where it is known. Writes one panel per image, tables and OUTPUT/report.html; with --overlays also
    OUTPUT/overlays/METHOD/IMAGE.png. Of runs of the views windows and faces the most suspicious
    window or face is explained. A file that cannot be read is reported and skipped; the exit code is then 1.

    \b
    Example:
      lae-tf explain runs/first photos/ --masks masks/ -o explained/
    """
    from tqdm import tqdm

    from lae_tf.data.finding import find_images
    from lae_tf.errors import UsageError
    from lae_tf.files.walking import LeftOut
    from lae_tf.images.files import printable
    from lae_tf.predict.heatmap_names import heatmap_names

    if masks and manifest:
        raise UsageError("--masks and --manifest both say what is known of an image; give one of them.")
    if max_side and not overlays:
        raise UsageError("--max-side is the size of overlays; give --overlays too.")
    source, paths = choose_model(click.get_current_context(), paths, preset)
    left_out: list[LeftOut] = []
    files = find_images(paths, left_out)
    import_tensorflow()
    from lae_tf.explain.explaining import explain_files
    from lae_tf.explain.known_masks import Lookup, nothing_known, truth_from_folder, truth_from_manifest
    from lae_tf.explain.report import ExplanationWriter

    truth: Lookup = nothing_known
    if masks:
        truth = truth_from_folder(masks, files)
    elif manifest:
        truth = truth_from_manifest(manifest, files)
    model = source.load()
    made_by = source.record(model)
    writer = ExplanationWriter(Path(output), heatmap_names(files))
    wanted = [name.strip() for name in methods.split(",")] if methods else []
    images: list[dict[str, object]] = [{"path": one.path, "error": one.sentence} for one in left_out]
    problems = [one.sentence for one in left_out]
    for problem in problems:
        click.echo(f"Skipped: {problem}", err=True)
    explanations = explain_files(model, files, truth, wanted, seed)
    for explanation in tqdm(explanations, total=len(files), desc="explain", unit=" images", file=sys.stderr):
        record = explanation.prediction.record()
        for problem in filter(None, (explanation.prediction.error, explanation.mask_error)):
            problems.append(problem)
            tqdm.write(f"Skipped: {problem}", file=sys.stderr)
        if not explanation.prediction.error:
            record.update(made_by)
            square = explanation.prediction.square
            record["square"] = square and square._asdict()
            record["panel"] = str(writer.add(explanation))
            if overlays:
                record["overlays"] = writer.add_overlays(explanation, max_side)
            record["methods"] = {row["method"]: _numbers(row) for row in explanation.rows()}
        images.append(record)
    if not any("panel" in image for image in images):
        raise UsageError("none of the files could be explained; the reasons stand above.")
    asked = [source.run] if source.run else ["--model", made_by["model"]]
    shown = ["lae-tf", "explain", *asked, *paths[:3], *(["..."] if len(paths) > 3 else []), "-o", output]
    summary = writer.finish(
        f"Explanations of {made_by['model']}", {"command": printable(shlex.join(shown)), "seed": str(seed)}
    )
    page = writer.folder / "report.html"
    if as_json:
        rows = [_numbers(row) for row in summary.to_dict("records")]
        click.echo(json.dumps({"report": str(page), "summary": rows, "images": images}))
    else:
        click.echo(summary.to_string(index=False, float_format="{:.3f}".format))
        click.echo(f"Report: {page}", err=True)
    sys.exit(1 if problems else 0)


def _numbers(row: dict) -> dict:
    """Return a row for JSON: what identifies the image is left out, and what does not apply is null."""
    kept = {name: value for name, value in row.items() if name not in ("path", "score", "label", "verdict")}
    return {name: None if isinstance(value, float) and value != value else value for name, value in kept.items()}
