"""`lae-tf loop`: the whole selection study, unattended, on data whose masks are known."""

from __future__ import annotations

from pathlib import Path

import click

from lae_tf.cli.inputs import ConfigPath
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.overrides import set_option
from lae_tf.cli.quiet import import_tensorflow


@click.command("loop")
@click.argument("config", type=ConfigPath(exists=True))
@click.option("--oracle", is_flag=True, required=True, help="The manifest's own masks answer for the annotators.")
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    default=("3%",),
    show_default=True,
    metavar="SHARE",
    help="Of training images.",
)
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="Split a single budget evenly.")
@click.option(
    "--strategy", "strategies", multiple=True, default=("channel-concept", "stratified", "random"), show_default=True
)
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(0, 2**31 - 1), default=(0,), show_default=True)
@set_option
@click.option("--output", type=OutputPath(file_okay=False), help="Default: the configuration's output.")
@click.option("--json", "as_json", is_flag=True, help="Print the cells as JSON.")
def command(
    config: str,
    oracle: bool,
    budgets: tuple[str, ...],
    rounds: int,
    strategies: tuple[str, ...],
    seeds: tuple[int, ...],
    overrides: tuple[str, ...],
    output: str | None,
    as_json: bool,
) -> None:
    """Compare strategies of selection on data whose masks are known.

    Runs select, reveal, align and evaluate, unattended, for each strategy and seed. CONFIG is that of `lae-tf train`;
    `lae-tf config` lists its keys. Several budgets are cumulative, one a round. A killed study goes on where it
    stopped when it is started again. All masks of the manifest take part, whatever data.mask_share says.

    \b
    Example:
      lae-tf loop config.yaml --oracle --budget 0.5% --budget 1% --budget 3% --strategy random --seed 0 --seed 1
    """
    from lae_tf.config.sections import Config
    from lae_tf.errors import UsageError

    shares = tuple(share_of(text) for text in budgets)
    if rounds > 1:
        if len(shares) > 1:
            raise UsageError("--rounds splits a single --budget; give several budgets or several rounds, not both.")
        shares = tuple(shares[0] * number / rounds for number in range(1, rounds + 1))
    parsed = Config.read(config, overrides)
    import_tensorflow()
    from lae_tf.selection.loop import Study, run_study
    from lae_tf.selection.study_tables import summarise

    study = Study(parsed, Path(output or parsed.output), shares, strategies, seeds)
    table = run_study(study)
    if as_json:
        click.echo(table.to_json(orient="records"))
        return
    columns = ["strategy", "masks", "seeds", "seen_auroc", "seen_matched_pixel_auroc", "unseen_auroc"]
    click.echo(summarise(table)[columns].to_string(index=False, float_format="%.3f"))
    click.echo(f"Report: {study.folder / 'study.html'}")


def share_of(text: str) -> float:
    """Read ``0.5%`` as 0.005."""
    from lae_tf.errors import UsageError

    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise UsageError(f"--budget {text}: expected a share such as 0.5% or 0.005.") from None
