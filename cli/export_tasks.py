"""`lae-tf export-tasks`: the selected images, out to other annotation tools."""

from __future__ import annotations

import json
from pathlib import Path

import click

_NEXT = {
    "label-studio": """Start Label Studio with
  LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder}
create a project with labeling_config.xml, add Settings > Cloud Storage > Local files with the path
  {folder}/images
without syncing it, and import tasks.json. Bring masks back as JSON or JSON-MIN:
  lae-tf import-masks {run} EXPORT.json""",
    "coco": """In CVAT make a task with the label "forged" (and "not a fake", for images that are none), and upload
  {folder}/images
Upload annotations.json as "COCO 1.0" if it holds attention. Export as "COCO 1.0", unpack, and
  lae-tf import-masks {run} FOLDER""",
    "png": """Paint white what is forged in
  {folder}/masks
delete the masks of images that you leave out, and
  lae-tf import-masks {run} {folder}/masks""",
}


@click.command("export-tasks")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["label-studio", "coco", "png"]), required=True)
@click.option("--round", "number", type=click.IntRange(1), help="Round of selection.  [default: the last]")
@click.option(
    "--attention/--no-attention",
    default=None,
    help="Add the attention as a starting mask.  [default: for label-studio, where nobody has to take it]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str, out: Path, kind: str, number: int | None, attention: bool | None, as_json: bool) -> None:
    """Write the selected images and tasks for Label Studio, CVAT (COCO) or an image editor (PNG) to OUT.

    With coco and png an attention that nobody corrects comes back as if it were drawn.

    \b
    Example:
      lae-tf export-tasks runs/first tasks --format label-studio
    """
    from lae_tf.annotation.export_tasks import export_tasks
    from lae_tf.annotation.round import Round

    selected = Round.open(run, number)
    export_tasks(selected.items, kind, out, kind == "label-studio" if attention is None else attention)
    if as_json:
        click.echo(json.dumps({"folder": str(out.absolute()), "format": kind, "images": len(selected.items)}))
        return
    click.echo(f"{len(selected.items)} images written to {out}.\n{_NEXT[kind].format(folder=out.absolute(), run=run)}")
