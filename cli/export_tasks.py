"""`lae-tf export-tasks`: the selected images, for other annotation tools. Needs no TensorFlow."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from lae_tf.cli.inputs import RunPath
from lae_tf.cli.output_path import OutputPath

_NEXT = {
    "label-studio": """\
1. Start Label Studio with
     LOCAL_FILES_SERVING_ENABLED=true LOCAL_FILES_DOCUMENT_ROOT={folder} label-studio start
2. New project: paste {folder}/labeling_config.xml under Labeling Interface, Code.
3. Settings, Cloud Storage, Add Source Storage, Local files: {folder}/images. Save it and do not sync.
4. Import {folder}/tasks.json, annotate, and export as JSON.
5. lae-tf import-masks {run} EXPORT.json --round {number}""",
    "coco": """\
1. In CVAT: a task with the labels "forged" and "not a fake", and the files in {folder}/images.
2. Upload annotations, COCO 1.0: {folder}/annotations.json. Draw polygons or masks.
3. Export the task as COCO 1.0 and unpack it.
4. lae-tf import-masks {run} annotations/instances_default.json --round {number}""",
    "png": """\
1. Paint white where an image in {folder}/images is forged, in its canvas in {folder}/masks.
2. Remove the canvases that stay black, or as they were.
3. lae-tf import-masks {run} {folder}/masks --round {number}""",
}


@click.command("export-tasks")
@click.argument("run", type=RunPath(exists=True))
@click.argument("out", type=OutputPath())
@click.option(
    "--format",
    "kind",
    type=click.Choice(["label-studio", "coco", "png"]),
    default="label-studio",
    show_default=True,
    help="The tool to annotate with; coco is for CVAT.",
)
@click.option("--round", "number", type=click.IntRange(1), help="Round of selection; default: the last.")
@click.option(
    "--attention/--no-attention",
    default=None,
    help="Start from the attention; default: in Label Studio alone, which keeps it apart from what people draw.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str, out: str, kind: str, number: int | None, attention: bool | None, as_json: bool) -> None:
    """Export a round's images to annotate them in another tool.

    Writes the new folder OUT with copies of the images and the tool's own files, and says what to do next.
    With --attention, annotators begin with the model's attention; import-masks refuses what nobody corrected.

    \b
    Example:
      lae-tf export-tasks runs/first to_draw/ --format label-studio
    """
    from lae_tf.annotation.export_tasks import export_tasks
    from lae_tf.annotation.round import Round

    selected = Round.open(run, number)
    folder = Path(out).absolute()
    if attention is None:
        attention = kind == "label-studio"
    export_tasks(selected.items, kind, folder, attention)
    if as_json:
        result = {"round": selected.number, "format": kind, "images": len(selected.items), "folder": str(folder)}
        click.echo(json.dumps(result))
        return
    click.echo(f"{len(selected.items)} images of round {selected.number} exported to {folder}\n")
    click.echo(_NEXT[kind].format(folder=shlex.quote(str(folder)), run=shlex.quote(run), number=selected.number))
