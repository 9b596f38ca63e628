"""`lae-tf score`: batch prediction over pools of any size."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import click

from lae_tf.cli.inputs import PoolPath, RunOrExportPath
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.threshold_options import chosen_threshold, threshold_options


@click.command("score")
@click.argument("model", type=RunOrExportPath(exists=True), metavar="RUN_OR_EXPORT")
@click.argument("pool", type=PoolPath(exists=True))
@click.argument("out", type=OutputPath())
@click.option("--top-k", type=click.IntRange(1), help="Write the K rows of highest score too, to OUT.top.parquet.")
@click.option("--per-group", type=click.IntRange(1), help="With --top-k: at most so many rows of one group.")
@threshold_options
@click.option(
    "--shard-rows",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Rows a shard: held in memory, and lost by a kill.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "beam"]),
    default="local",
    show_default=True,
    help="A stream on this machine, or Apache Beam.",
)
@click.option("--beam-options", default="", help="Pipeline options for Beam, in one string.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str,
    pool: str,
    out: str,
    top_k: int | None,
    per_group: int | None,
    threshold: float | None,
    max_false_alarms: float | None,
    shard_rows: int,
    engine: str,
    beam_options: str,
    as_json: bool,
) -> None:
    """Score pools of any size, on this machine or on a cluster.

    POOL is a Parquet table (columns path, and optionally group and image_bytes), a TFRecord file, or a folder of
    either: every image in it is scored. Memory does not grow with it. Writes OUT with row, path, group, score, label,
    verdict and logit, and what could not be read to OUT.errors.parquet: together exactly one row for each of the
    pool's. Started again after a kill, it goes on where it stopped. docs/guides/scale.md shows how to use a cluster.

    \b
    Example:
      lae-tf score runs/first frames.parquet scores.parquet --top-k 500 --per-group 2
    """
    from lae_tf.errors import UsageError
    from lae_tf.metrics.decision import MODELS_OWN
    from lae_tf.predict.pools.pool import Pool

    if per_group and not top_k:
        raise UsageError("--per-group caps the rows of --top-k; give both.")
    if beam_options and engine != "beam":
        raise UsageError("--beam-options goes with --engine beam.")
    if not out.endswith(".parquet"):
        raise UsageError(f"{out}: the output ends in .parquet.")
    is_run = (Path(model) / "config.yaml").is_file()
    chosen = chosen_threshold(model if is_run else None, threshold, max_false_alarms)
    value = chosen.value if chosen else None
    opened = Pool.open(pool, shard_rows)
    if per_group and "group" not in opened.columns:
        raise UsageError(f"{pool}: has no column 'group', which --per-group needs.")
    import_tensorflow()
    from lae_tf.export.scoring_model import saved_model
    from lae_tf.predict.pools.local import score_pool
    from lae_tf.predict.pools.top import Top

    top = Top(top_k, per_group) if top_k else None
    with saved_model(model) as (path, digest):
        if engine == "beam":
            from lae_tf.predict.pools.beam import score_with_beam

            outcome = score_with_beam(path, opened, Path(out), top, shlex.split(beam_options), value)
        else:
            outcome = score_pool(path, digest, opened, Path(out), top, value)
    if as_json:
        decision = {"threshold": value, "threshold_from": chosen.source if chosen else MODELS_OWN}
        click.echo(json.dumps({**dataclasses.asdict(outcome), **decision}, default=str))
        return
    click.echo(f"{outcome.scored} scored, {outcome.failed} could not be read.")
    if chosen:
        click.echo(f"Fake from {chosen.value:.4f} ({chosen.source}).")
    for place in filter(None, (outcome.scores, outcome.top, outcome.errors)):
        click.echo(f"Written: {place}")
