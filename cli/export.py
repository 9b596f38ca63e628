"""`lae-tf export`: a trained run as SavedModel, TFLite or ONNX, and the files to deploy it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lae_tf.cli.inputs import RunPath, quoted
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow

if TYPE_CHECKING:
    from lae_tf.training.run import Run


@click.command("export")
@click.argument("run", type=RunPath(exists=True))
@click.argument("out", type=OutputPath(file_okay=False, path_type=Path))
@click.option("--version", type=click.IntRange(1), metavar="N", help="Version; default: the highest plus one.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["savedmodel", "tflite", "onnx", "preset"]),
    default="savedmodel",
    show_default=True,
    help="TFLite and ONNX take pixels instead of image files; a preset is for --model of the other verbs.",
)
@click.option("--int8", is_flag=True, help="With tflite: 8-bit convolutions, calibrated on training images.")
@click.option(
    "--deploy",
    type=OutputPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write what TensorFlow Serving needs here: compose file, Kubernetes manifest, models.config, ...",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: str, out: Path, version: int | None, form: str, int8: bool, deploy: Path | None, as_json: bool
) -> None:
    """Export a run for serving, TFLite or ONNX, or as a preset.

    Writes OUT/lae/N, which `lae-tf serve` takes too; a preset is OUT itself. The export is published only if it scores
    golden images as the checkpoint does, but for a preset in a fresh process.

    \b
    Example:
      lae-tf export runs/first exports --deploy deploy
      lae-tf export runs/first my-preset --format preset
    """
    from lae_tf.errors import UsageError
    from lae_tf.training.run import Run

    opened = Run.open(run)
    if deploy is not None and form != "savedmodel":
        raise UsageError(f"--deploy is for TensorFlow Serving, which takes savedmodel, not {form}.")
    if form == "preset":
        if version is not None or int8:
            raise UsageError("--version and --int8 do not go with --format preset.")
        _export_preset(opened, out, as_json)
        return
    import_tensorflow()
    from lae_tf.export.exporting import MODEL_NAME, export_run
    from lae_tf.runtime.addons import STACK
    from lae_tf.serving.deploy import check_deployment, write_deployment

    if deploy is not None:
        check_deployment(deploy)
    export = export_run(opened, out, version, form, int8)
    deployed = write_deployment(deploy, out / MODEL_NAME, export.version, STACK) if deploy else None
    if as_json:
        facts = {
            "path": str(export.path),
            "version": export.version,
            "format": form,
            "golden_images": export.parity.images,
            "largest_difference": export.parity.largest_difference,
            "tolerance": export.parity.tolerance,
            "deploy": {name: [str(p) for p in paths] for name, paths in deployed.items()} if deployed else None,
        }
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"{export.parity.images} golden images score as in the checkpoint: largest difference "
        f"{export.parity.largest_difference:.1e}, allowed {export.parity.tolerance:g}."
    )
    click.echo(f"Export: {export.path}")
    if deploy and deployed:
        for path in deployed["kept"]:
            click.echo(f"Kept:   {path} (exists already)")
        click.echo(f"Next:   docker compose -f {quoted(str(deploy / 'docker-compose.yml'))} up -d")
    elif form == "savedmodel":
        click.echo(f"Next:   lae-tf serve {quoted(str(out))}")


def _export_preset(run: Run, folder: Path, as_json: bool) -> None:
    import_tensorflow()
    from lae_tf.export.preset import export_preset

    parity = export_preset(run, folder)
    if as_json:
        measured = {"golden_images": parity.images, "largest_difference": parity.largest_difference}
        click.echo(json.dumps({"path": str(folder), "format": "preset", **measured, "tolerance": parity.tolerance}))
        return
    click.echo(f"{parity.images} golden images score as in the checkpoint.")
    click.echo(f"Preset: {folder}")
    click.echo(f"Next:   lae-tf predict --model {quoted(str(folder))} photos/")
