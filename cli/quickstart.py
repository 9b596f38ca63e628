"""`lae-tf quickstart`: the whole main job on photographs that come with installed packages."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lae_tf.cli.inputs import quoted
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow


@click.command("quickstart")
@click.argument("output", type=OutputPath(file_okay=False))
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the data and the training."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(output: str, seed: int, as_json: bool) -> None:
    """Train and evaluate on real photographs, in a few minutes.

    Forges tiles of photographs that come with scikit-image and scikit-learn, trains on two manipulations with masks
    for under 3 % of the images, and tests on those two and on two that it has never seen, also as JPEG.

    \b
    Example:
      lae-tf quickstart quickstart-out
    """
    import_tensorflow()
    from lae_tf.evaluation.degraded import format_degradations
    from lae_tf.evaluation.formats import format_table
    from lae_tf.quickstart import quickstart

    run, evaluation, page = quickstart(Path(output), seed)
    budget = run.require_json("data.json")["mask_budget"]
    if as_json:
        record = json.loads((page.parent / "evaluation.json").read_text(encoding="utf-8"))
        click.echo(json.dumps({"run": str(run.path), "report": str(page), "mask_budget": budget, **record}))
        return
    images = evaluation.table[evaluation.table["level"] == "image"]
    click.echo(format_table(images))
    if evaluation.degraded is not None:
        click.echo(f"\nSaved anew as JPEG:\n\n{format_degradations(evaluation.degraded)}")
    click.echo(f"\nMasks used for {100 * budget:.2f} % of the training images.")
    click.echo(f"Look at:  {page}")
    click.echo(f"Try:      lae-tf predict {quoted(str(run.path))} YOUR_IMAGES --heatmaps heatmaps/")
