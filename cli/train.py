"""`lae-tf train`: from a folder, a manifest or a configuration to a detector."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_tf.cli.inputs import RunPath, TrainingPath, quoted
from lae_tf.cli.interruption import resumable
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.overrides import set_option
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.recognition import recognise
from lae_tf.errors import UsageError

if TYPE_CHECKING:
    from lae_tf.config.sections import Config
    from lae_tf.datasets.training_folder import Prepared
    from lae_tf.training.run import Run

SHOWN = 20


@click.command("train")
@click.argument("source", type=TrainingPath(exists=True))
@set_option
@click.option("--output", type=OutputPath(file_okay=False), help="Run directory; default: the configuration's.")
@click.option("--from", "start", metavar="RUN", help="Trained run, or preset, whose model is tuned on.")
@click.option(
    "--tune",
    type=click.Choice(["all", "last", "head"]),
    help="With --from: train all weights (default), those from the encoder's last stage on, or the head's alone.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, or with new masks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(
    source: str,
    overrides: tuple[str, ...],
    output: str | None,
    start: str | None,
    tune: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Train a detector from a folder, a manifest or a configuration.

    SOURCE is a folder of images, a manifest (.csv, .parquet), or a YAML file that names one; all but the last keep
    every default, which `lae-tf config` lists. A folder holds real/ and fake/ (in it perhaps one folder for each
    method) and perhaps masks/, whose files have the places and stems of those in fake/; or real images alone, which are
    then forged. Its manifest and forgeries are kept in the run's data/.

    --from RUN begins with the model of a trained run, which decides the model and its image size. Both runs' validation
    images are scored before and after, and a warning says where the new model has forgotten what the old one knew. A
    preset in its place (a name, a folder or hf://user/name) keeps no such images.

    Stage 1 decides and reconstructs, stage 2 aligns attention with the masks. Stops and resumes at any moment; the
    run directory holds everything it made. Several machines train together if TF_CONFIG names them
    (docs/guides/scale.md).

    \b
    Example:
      lae-tf train photos/ --output runs/first
      lae-tf train data/manifest.csv --output runs/first
      lae-tf train config.yaml --set pretrain.epochs=5 --output runs/first
      lae-tf train more_photos/ --from runs/first --tune last --output runs/second
    """
    from lae_tf.config.sections import Config

    is_folder = os.path.isdir(source)
    settings = Config.read("manifest.csv" if is_folder else source, overrides)
    if output:
        settings = settings.model_copy(update={"output": output})
    if is_folder:
        settings = _with_manifest_of(source, settings)
    if start:
        begun = {**_beginning(start), "tune": tune or "all"}
        settings = settings.model_copy(update={"start": settings.start.model_copy(update=begun)})
    elif tune:
        raise UsageError("--tune says which weights of a trained run are tuned; name the run with --from.")
    import_tensorflow()
    from lae_tf.training.distribution import Cluster
    from lae_tf.training.fine_tuning import inherited
    from lae_tf.training.records import STAGES_FILE
    from lae_tf.training.run import Run
    from lae_tf.training.stages import train

    settings = inherited(settings)  # what conflicts is said before a folder is forged
    cluster = Cluster.from_environment()
    if cluster:
        if is_folder:
            raise UsageError(
                f"{source}: several machines train from a manifest that each of them has; make it with 'lae-tf "
                "manifest' or 'lae-tf forge'."
            )
        others = [cluster.name(index) for index in range(len(cluster.tasks)) if index != cluster.index]
        click.echo(f"This is {cluster.name(cluster.index)}; it trains with {', '.join(others)}.", err=True)
    resumable()
    prepared = _prepared(source, settings, resume, as_json) if is_folder else None
    earlier = Run(settings.output).read_json(STAGES_FILE)
    run = train(settings, resume, cluster)
    if earlier is not None and run.read_json(STAGES_FILE) == earlier:
        click.echo("Nothing to train: every stage is done, on the masks that there are.", err=True)
    if cluster and not cluster.is_chief:
        chief = cluster.name(0)
        click.echo(json.dumps({"chief": chief}) if as_json else f"Done; {chief} wrote the run.")
        return
    _say_done(run, prepared, as_json)


def _beginning(start: str) -> dict[str, str | None]:
    """Return the keys of the configuration that name the model to begin with."""
    from lae_tf.presets.finding import SCHEME, built_in

    if start in built_in() or start.startswith(SCHEME):
        return {"run": None, "preset": start}
    if recognise(start).kind == "preset":
        return {"run": None, "preset": os.path.abspath(start)}
    run = RunPath(exists=True).convert(start, None, click.get_current_context())
    return {"run": os.path.abspath(run), "preset": None}


def _with_manifest_of(folder: str, settings: Config) -> Config:
    """Return the settings with the manifest that a folder will get."""
    from lae_tf.datasets.training_folder import manifest_path

    if settings.data.manifest != str(Path("manifest.csv").resolve()):  # as Config.read left it
        raise UsageError(f"data.manifest is that of the folder {folder}; leave it out, or train from the manifest.")
    data = settings.data.model_copy(update={"manifest": str(manifest_path(settings.output))})
    return settings.model_copy(update={"data": data})


def _prepared(folder: str, settings: Config, resume: bool, as_json: bool) -> Prepared:
    """Make the manifest of a folder, and show it."""
    from lae_tf.datasets.training_folder import prepare_folder

    prepared = prepare_folder(folder, settings, resume)
    for sentence in prepared.left_out[:SHOWN]:
        click.echo(f"Left out: {sentence}", err=True)
    if len(prepared.left_out) > SHOWN:
        click.echo(f"... and {len(prepared.left_out) - SHOWN} more, all in {settings.output}/folder.json", err=True)
    if as_json:
        return prepared
    counts = prepared.counts
    if prepared.forged:
        click.echo(f"No fake/ in {folder}: its images are taken for real, and forged by {', '.join(prepared.forged)}.")
    click.echo(f"{'split':<6}{'real':>7}{'fake':>7}{'with a mask':>13}{'groups':>8}")
    for split, numbers in counts.items():
        click.echo(
            f"{split:<6}{numbers['real']:>7}{numbers['fake']:>7}{numbers['annotated']:>13}{numbers['groups']:>8}"
        )
    click.echo(f"Manifest: {prepared.manifest}")
    return prepared


def _say_done(run: Run, prepared: Prepared | None, as_json: bool) -> None:
    data, decision = run.require_json("data.json"), run.require_json("calibration.json")
    tuned = run.read_json("fine_tuning.json")
    if as_json:
        facts: dict[str, Any] = {"run": str(run.path), "model": str(run.model_path), "data": data, "decision": decision}
        if prepared is not None:
            facts["folder"] = {"counts": prepared.counts, "forged": prepared.forged, "left_out": prepared.left_out}
        if tuned is not None:
            facts["fine_tuning"] = tuned
        click.echo(json.dumps(facts))
        return
    if tuned is not None:
        _say_what_was_kept(tuned)
    click.echo(f"Masks used for {100 * data['mask_budget']:.2f} % of the training images.")
    click.echo(f"Threshold {decision['threshold']:.3f} ({decision['rule']}, {decision['validation_images']} images).")
    if "error_rate" in decision:  # runs of older versions know none
        describe_verdicts(decision)
    click.echo(f"Model: {run.model_path}")
    has_test = prepared is not None and "test" in prepared.counts
    manifest = quoted(prepared.manifest) if prepared is not None and has_test else "MANIFEST"
    click.echo(f"Next:  lae-tf evaluate {quoted(str(run.path))} {manifest}")
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


def _say_what_was_kept(tuned: dict[str, Any]) -> None:
    """Show both validations before and after, and warn where something was forgotten."""
    click.echo(f"{'validation of':<20}{'images':>8}{'AUROC before':>15}{'after':>8}{'accuracy before':>18}{'after':>8}")
    for title, found in (("the earlier run", tuned["old_validation"]), ("this run", tuned["new_validation"])):
        if found is not None:
            numbers = [found[when][metric] for metric in ("auroc", "accuracy") for when in ("before", "after")]
            cells = ["-" if number is None else f"{number:.3f}" for number in numbers]
            click.echo(f"{title:<20}{found['images']:>8}{cells[0]:>15}{cells[1]:>8}{cells[2]:>18}{cells[3]:>8}")
    if tuned["old_validation"] is None:
        click.echo(f"What was forgotten is not known: {tuned['old_validation_problem']}.", err=True)
    if tuned["forgotten"]:
        click.echo(
            f"Warning: the model has forgotten part of what {tuned['run']} knew; tune less of it (--tune last or "
            "head), lower the learning rate, or train on the earlier images together with the new ones.",
            err=True,
        )
