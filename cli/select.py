"""`lae-tf select`: which images should people draw masks for?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from lae_tf.cli.inputs import RunPath, quoted
from lae_tf.cli.quiet import import_tensorflow


@click.command("select")
@click.argument("run", type=RunPath(exists=True))
@click.option("--budget", default="2%", show_default=True, help="Masks over all rounds: a share (2%) or a count (40).")
@click.option("--strategy", default="stratified", show_default=True, help="One strategy, or a+b to combine.")
@click.option(
    "--per-group",
    type=click.IntRange(1),
    help="At most so many masks in one group; default: the fewest that spend the budget.",
)
@click.option("--verdicts", type=click.Path(exists=True, dir_okay=False), help="YAML of verdicts on channels.")
@click.option("--seed", type=click.IntRange(0), help="Default: the run's.")
@click.option("--allow-over-budget", is_flag=True, help="Permit 3 % of the training images and more; recorded.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images a step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: str,
    budget: str,
    strategy: str,
    per_group: int | None,
    verdicts: str | None,
    seed: int | None,
    allow_over_budget: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Select the images most worth a mask.

    They are unlabelled fakes of the training split. Strategies: channel-concept, uncertainty, margin,
    attention-spread, disagreement, k-center, typical, typical-concept, probability-cover, stratified, random. Writes
    RUN/rounds/N with the list, a contact sheet and a gallery of the model's channels.

    \b
    Example:
      lae-tf select runs/first --budget 2%
    """
    from lae_tf.errors import UsageError
    from lae_tf.training.run import Run

    opened = Run.open(run)
    import_tensorflow()
    from lae_tf.selection.channels import read_verdicts
    from lae_tf.selection.choosing import Criteria
    from lae_tf.selection.select import select_round

    if verdicts and "concept" not in strategy:
        raise UsageError(
            f"--verdicts are for strategies that ask channels, not for '{strategy}'; give --strategy channel-concept."
        )
    judged = read_verdicts(Path(verdicts), opened.config.model.widths[-1]) if verdicts else {}
    criteria = Criteria(strategy, seed, per_group, verdicts=judged, batch_size=batch_size)
    folder = select_round(opened, budget, criteria, allow_over_budget)
    settings = json.loads((folder / "selection.json").read_text(encoding="utf-8"))
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **settings}))
        return
    click.echo(
        f"{settings['selected']} images selected by {strategy}; with them masks for "
        f"{100 * settings['share_after']:.2f} % of {settings['training_images']} training images."
    )
    click.echo(f"List:    {folder / 'selection.csv'}\nSheet:   {folder / 'contact_sheet.png'}")
    click.echo(f"Gallery: {folder / 'channels.html'}\nNext:    lae-tf annotate {quoted(run)}")
