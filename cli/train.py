"""`lae-tf train`: both training stages from one configuration."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from lae_tf.cli.inputs import ConfigPath, quoted
from lae_tf.cli.interruption import resumable
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.overrides import set_option
from lae_tf.cli.quiet import import_tensorflow


@click.command("train")
@click.argument("config", type=ConfigPath(exists=True))
@set_option
@click.option("--output", type=OutputPath(file_okay=False), help="Run directory; default: the configuration's.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, or with new masks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(config: str, overrides: tuple[str, ...], output: str | None, resume: bool, as_json: bool) -> None:
    """Train a detector from a manifest or a configuration.

    Stage 1 decides and reconstructs, stage 2 aligns attention with the masks. CONFIG is a YAML file, or a manifest
    (.csv, .parquet), which keeps every default; `lae-tf config` lists the keys. Stops and resumes at any moment; the
    run directory holds everything it made. Several machines train together if TF_CONFIG names them
    (docs/guides/scale.md).

    \b
    Example:
      lae-tf train data/manifest.csv --output runs/first
      lae-tf train config.yaml --set pretrain.epochs=5 --output runs/first
    """
    from lae_tf.config.sections import Config

    settings = Config.read(config, overrides)
    import_tensorflow()
    from lae_tf.training.distribution import Cluster
    from lae_tf.training.records import STAGES_FILE
    from lae_tf.training.run import Run
    from lae_tf.training.stages import train

    cluster = Cluster.from_environment()
    if output:
        settings = settings.model_copy(update={"output": output})
    if cluster:
        others = [cluster.name(index) for index in range(len(cluster.tasks)) if index != cluster.index]
        click.echo(f"This is {cluster.name(cluster.index)}; it trains with {', '.join(others)}.", err=True)
    earlier = Run(settings.output).read_json(STAGES_FILE)
    resumable()
    run = train(settings, resume, cluster)
    if earlier is not None and run.read_json(STAGES_FILE) == earlier:
        click.echo("Nothing to train: every stage is done, on the masks that there are.", err=True)
    if cluster and not cluster.is_chief:
        chief = cluster.name(0)
        click.echo(json.dumps({"chief": chief}) if as_json else f"Done; {chief} wrote the run.")
        return
    data, decision = run.require_json("data.json"), run.require_json("calibration.json")
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "model": str(run.model_path), "data": data, "decision": decision}))
        return
    click.echo(f"Masks used for {100 * data['mask_budget']:.2f} % of the training images.")
    click.echo(f"Threshold {decision['threshold']:.3f} ({decision['rule']}, {decision['validation_images']} images).")
    if "error_rate" in decision:  # runs of older versions know none
        describe_verdicts(decision)
    click.echo(f"Model: {run.model_path}")
    click.echo(f"Next:  lae-tf evaluate {quoted(str(run.path))} MANIFEST")
    if not data["counts"]["train"]["annotated"]:
        click.echo(f"   or  lae-tf select {quoted(str(run.path))}, for masks to align with")


def describe_verdicts(decision: dict[str, Any]) -> None:
    """Print between which scores a verdict is unsure, and which verdict validation has too few images for."""
    rate = f"{100 * decision['error_rate']:g} %"
    real = min(decision["threshold"], decision["lowest_fake"])
    fake = max(decision["threshold"], decision["highest_real"])
    click.echo(
        f"Verdicts, at most {rate} of each kind wrong: real below {real:.3f}, fake above {fake:.3f}, else unsure."
    )
    reals = decision["validation_reals"]
    for verdict, other, count in (("real", "fake", decision["validation_images"] - reals), ("fake", "real", reals)):
        needed = math.ceil(1 / decision["error_rate"] - 1e-9) - 1
        if count < needed:
            click.echo(
                f"Warning: no verdict is {verdict}, since errors of {rate} take at least {needed} {other} validation "
                f"images, and there are {count}.",
                err=True,
            )
