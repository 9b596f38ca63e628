"""`lae-tf calibrate`: a run's threshold by one's own real images."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from lae_tf.cli.inputs import RealImagesPath, RunPath, quoted
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.threshold_options import Share


@click.command("calibrate")
@click.argument("run", type=RunPath(exists=True))
@click.argument("photos", type=RealImagesPath(exists=True, file_okay=False))
@click.option(
    "--max-false-alarms",
    type=Share("a share such as 1% or 0.01"),
    default="1%",
    show_default=True,
    metavar="SHARE",
    help="Call at most this share of PHOTOS fake.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: str, photos: str, max_false_alarms: float, as_json: bool) -> None:
    """Set a run's threshold by your own real images, without training.

    Cameras, sizes and compression differ, and with them how many real images are called fake. PHOTOS is a folder of
    images that are known to be real, are like those to be judged, and were not trained on; a share of 1% needs a
    hundred of them. Scores stay as they are. RUN/calibration.json keeps the threshold from before; training on new
    masks chooses one anew.

    \b
    Example:
      lae-tf calibrate runs/first my_photos/ --max-false-alarms 1%
    """
    import_tensorflow()
    from lae_tf.training.own_images import calibrate_on_folder
    from lae_tf.training.run import Run

    decision = calibrate_on_folder(Run.open(run), photos, max_false_alarms)
    for sentence in decision.left_out:
        click.echo(f"Left out: {sentence}", err=True)
    if as_json:
        click.echo(json.dumps({"run": run, **asdict(decision)}))
        return
    for when, threshold, alarms in (
        ("before", decision.before, decision.false_alarms_before),
        ("now", decision.threshold, decision.false_alarms),
    ):
        click.echo(f"Threshold {when}: {threshold:.4f}, {100 * alarms:.1f} % of {decision.images} images called fake")
    click.echo("A higher threshold misses more fakes: an evaluation tells how many.")
    click.echo(f"Next:  lae-tf evaluate {quoted(run)} MANIFEST")
