"""`lae-tf evaluate`: seen and unseen manipulations in one table."""

from __future__ import annotations

from pathlib import Path

import click

from lae_tf.cli.inputs import ManifestPath, RunPath
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.threshold_options import chosen_threshold, threshold_options


@click.command("evaluate")
@click.argument("run", type=RunPath(exists=True))
@click.argument("manifests", nargs=-1, required=True, type=ManifestPath(exists=True))
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Which split to score.",
)
@click.option(
    "--output", type=OutputPath(file_okay=False), help="Default: RUN/report, RUN/report-2 for other data, and so on."
)
@threshold_options
@click.option(
    "--degrade",
    metavar="NAMES",
    help="Score the images anew after JPEG, scaling, noise and so on: names such as jpeg-75,blur-1, or all.",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images a step.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(
    run: str,
    manifests: tuple[str, ...],
    split: str,
    output: str | None,
    threshold: float | None,
    max_false_alarms: float | None,
    degrade: str | None,
    batch_size: int,
    as_json: bool,
) -> None:
    """Evaluate a run on seen and unseen manipulations.

    Methods that training used count as seen, all others as unseen. Writes tables, predictions and one HTML page.

    \b
    Example:
      lae-tf evaluate runs/first data/manifest.csv
      lae-tf evaluate runs/first data/manifest.csv --degrade all
    """
    from lae_tf.training.run import Run

    opened = Run.open(run)
    chosen = chosen_threshold(run, threshold, max_false_alarms)
    import_tensorflow()
    from lae_tf.evaluation.degraded import chosen_degradations, format_degradations
    from lae_tf.evaluation.evaluate import evaluate_run
    from lae_tf.evaluation.formats import format_table
    from lae_tf.evaluation.page import ABOUT_POSITION, report_folder, write_evaluation

    degradations = () if degrade is None else chosen_degradations(degrade)
    evaluation = evaluate_run(opened, manifests, split, batch_size, chosen, degradations)
    if chosen:
        click.echo(f"Fake from {chosen.value:.4f} ({chosen.source}).", err=True)
    for caution in evaluation.cautions:
        click.echo(f"Warning: {caution}", err=True)
    place = Path(output) if output else report_folder(opened, evaluation)
    page = write_evaluation(opened, evaluation, place)
    if as_json:
        click.echo((page.parent / "evaluation.json").read_text(encoding="utf-8"))
        return
    click.echo(format_table(evaluation.table))
    if evaluation.localisation["annotated_fakes"]:
        click.echo(f"\n{ABOUT_POSITION} {evaluation.no_prior}".rstrip())
    if evaluation.degraded is not None:
        click.echo(f"\n{format_degradations(evaluation.degraded)}")
    click.echo(f"Report: {page}")
