"""`lae-tf predict`: scores and heatmaps for images."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from lae_tf.cli.evidence import NAMES as EVIDENCE
from lae_tf.cli.evidence import evidence_options, evidence_writer
from lae_tf.cli.inputs import RunPath, quoted, require_images
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.recognition import recognise
from lae_tf.cli.threshold_options import chosen_threshold, threshold_options
from lae_tf.errors import ImageError, UsageError
from lae_tf.files.atomic import write_text
from lae_tf.metrics.decision import MODELS_OWN, Threshold, score_text
from lae_tf.predict.evidence_places import EvidencePlaces

FOR_IMAGES = {"seconds", *EVIDENCE, "csv_path", "copies"}
FOR_VIDEOS = {"report", "annotate", "frames"}


@click.command("predict")
@click.argument("paths", nargs=-1, required=True, metavar="[RUN] PATHS...", type=click.Path())
@click.option("--server", metavar="URL", help="Ask this server, in place of RUN; TensorFlow is not needed.")
@click.option("--model-name", default="lae", show_default=True, help="With --server: the model's name there.")
@click.option("--token", envvar="LAE_TF_TOKEN", show_envvar=True, help="With --server: the bearer token to send.")
@evidence_options
@click.option("--csv", "csv_path", type=OutputPath(dir_okay=False), help="Write the table here too.")
@threshold_options
@click.option(
    "--copies",
    is_flag=True,
    help="Score two mildly degraded copies of each image too: where the label of one is another, VERDICT is unsure.",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images a step.")
@click.option("--report", type=OutputPath(file_okay=False), help="Videos: write table, plot and contact sheet here.")
@click.option("--annotate", is_flag=True, help="Videos: write a copy with the attention laid over too (--report).")
@click.option("--frames", type=click.IntRange(1), default=32, show_default=True, help="Videos: frames to score.")
@click.option("--whole", is_flag=True, help="Score whole frames, or whole images with a run of faces, not the faces.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Look at the windows of an image for so long at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image or video, not the table.")
def command(
    paths: tuple[str, ...],
    server: str | None,
    model_name: str,
    token: str | None,
    places: EvidencePlaces,
    csv_path: str | None,
    threshold: float | None,
    max_false_alarms: float | None,
    copies: bool,
    batch_size: int,
    report: str | None,
    annotate: bool,
    frames: int,
    whole: bool,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Score images or videos, and show where.

    PATHS are files, folders or glob patterns; in folders images are found by suffix or content, hidden ones passed
    over. SCORE is the probability that an image is fake if as many are fake as real; LABEL is fake from 0.5 on, or
    from another threshold that you choose. VERDICT is the label, or unsure where the model's validation says that it
    cannot tell at the rate of errors that it was trained for (10 %). With --copies an image is unsure, too, whose label
    changes when it is saved as JPEG 90 or scaled to 3/4; that takes three times as long. A file that cannot be read is
    reported and skipped; the exit code is then 1.

    REGIONS are what attention marks above 0.5, in pixels of the upright file, the most suspicious first; those below
    0.1 % of the image are left out. They are listed whatever the verdict: in a real image they are what was looked at
    most, and no finding.

    \b
    Example:
      lae-tf predict runs/first photos/ --heatmaps out/ --regions out/regions.csv
      lae-tf predict runs/first photos/ --max-false-alarms 1%
      lae-tf predict runs/first clip.mp4 --report out/ --annotate
      lae-tf predict --server http://localhost:8501 photos/
    """
    from tqdm import tqdm

    from lae_tf.data.finding import find_images, videos_among
    from lae_tf.files.walking import LeftOut
    from lae_tf.metrics.verdict import UNSURE

    left_out: list[LeftOut] = []
    context = click.get_current_context()
    run, paths = split_run(context, paths, server)
    videos = videos_among(paths)
    if videos and server:
        raise UsageError("--server scores images; for videos name a RUN in its place.")
    source = context.get_parameter_source
    given = {name for name in FOR_IMAGES | FOR_VIDEOS if source(name) is ParameterSource.COMMANDLINE}
    for name in sorted(given & (FOR_IMAGES if videos else FOR_VIDEOS)):
        kinds = ("images", "videos") if videos else ("videos", "images")
        option = name.removesuffix("_path").replace("_", "-")
        raise UsageError(f"--{option} is for {kinds[0]}; these are {kinds[1]}.")
    if copies and server:
        raise UsageError("--copies needs a RUN, whose model scores them in this process; leave --server out.")
    chosen = chosen_threshold(None if server else run, threshold, max_false_alarms)
    if videos:
        from lae_tf.cli.video_report import VideoRequest, predict_videos

        request = VideoRequest(videos, report, annotate, frames, whole, batch_size, as_json)
        sys.exit(predict_videos(run, chosen, request))
    files = find_images(paths, left_out)
    evidence = evidence_writer(places, files, bool(server))
    if server:
        predictions = ask_server(server, model_name, token, files, batch_size, explain=bool(places.heatmaps))
        if chosen:
            predictions = (one.at(chosen.value) for one in predictions)
    else:
        predictions = ask_run(run, chosen, files, ImageRequest(batch_size, copies, seconds, whole))
    records, failures = report_left_out(left_out, as_json), len(left_out)
    with tqdm(total=len(files), desc="predict", unit=" images", file=sys.stderr) as bar:
        for prediction in predictions:
            record = prediction.record()
            if not prediction.error:
                record["threshold_from"] = chosen.source if chosen else MODELS_OWN
                try:
                    record |= evidence.add(prediction)
                except ImageError as error:  # the file has changed or gone since it was scored
                    record = {"path": prediction.path, "error": str(error)}
            if "error" in record:
                failures += 1
                tqdm.write(f"Skipped: {record['error']}", file=sys.stderr)
            if as_json:
                tqdm.write(json.dumps(record), file=sys.stdout)
            records.append(record)
            bar.update()
    evidence.finish()
    scored = [record for record in records if "error" not in record]
    if not as_json:
        for record in scored:
            score = score_text(record["score"], record["threshold"])
            words = f"{record['label']:<4}  {record['verdict']:<6}"
            click.echo(f"{score}  {words}  {click.format_filename(record['path'])}")
    if csv_path:
        write_csv(Path(csv_path), records)
    if not as_json:
        fakes, unsure = (sum(record["verdict"] == verdict for record in scored) for verdict in ("fake", UNSURE))
        click.echo(f"{len(scored)} scored, {fakes} fake, {unsure} unsure, {failures} skipped.", err=True)
        if chosen:
            click.echo(f"Fake from {chosen.value:.4f} ({chosen.source}).", err=True)
        for place in filter(None, (csv_path, *places.all())):
            click.echo(f"Written: {place}", err=True)
    sys.exit(1 if failures else 0)


def report_left_out(left_out: Sequence[Any], as_json: bool) -> list[dict]:
    """Say what looked like an image in a folder and cannot be read; return a record of each."""
    records = [{"path": one.path, "error": one.sentence} for one in left_out]
    for record in records:
        click.echo(f"Skipped: {record['error']}", err=True)
        if as_json:
            click.echo(json.dumps(record))
    return records


def split_run(context: click.Context, paths: tuple[str, ...], server: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the run, empty where a server is asked, and the paths of images or videos.

    Raises:
        click.UsageError: what stands first is no run or, with a server, is one; or another path is no image.
    """
    run = ""
    if server and os.path.isdir(paths[0]) and recognise(paths[0]).kind == "run":
        raise UsageError(f"--server stands in place of RUN; leave {paths[0]} out.")
    if not server:
        run, *rest = paths
        run = RunPath(exists=True).convert(run, None, context)
        if not rest:
            example = f"For example: lae-tf predict {quoted(run)} photos/"
            raise click.UsageError(f"Missing argument 'PATHS...', images or videos after RUN. {example}", context)
        paths = tuple(rest)
    require_images(paths, context)
    return run, paths


class ImageRequest(NamedTuple):
    """How images are to be scored."""

    batch_size: int
    copies: bool
    seconds: float | None
    whole: bool


def ask_run(run: str, threshold: Threshold | None, files: list[str], request: ImageRequest) -> Iterator[Any]:
    """Yield a prediction for each file, made in this process.

    Raises:
        UsageError: the run's view has no use for an option.
    """
    import_tensorflow()
    from lae_tf.predict.images import predict_files
    from lae_tf.training.run import Run

    batch_size, copies, seconds, whole = request
    model = Run.open(run).load_model(threshold)
    if seconds and model.view != "windows":
        raise UsageError(f"--seconds is for runs of the view 'windows'; that of {run} is '{model.view}'.")
    if whole and model.view == "windows":
        raise UsageError(
            f"--whole is for runs of the view 'faces'; that of {run} is 'windows', which need their windows."
        )
    if whole and model.view == "faces":
        model.view = "whole"
    return predict_files(model, files, batch_size, copies, seconds)


def ask_server(
    url: str, model: str, token: str | None, files: list[str], batch_size: int, explain: bool
) -> Iterator[Any]:
    """Yield a prediction for each file, made by a server."""
    from lae_tf.serving.client.rest_client import Client

    with Client(url, model, token=token, batch_size=batch_size) as client:
        yield from client.explain_files(files) if explain else client.predict_files(files)


def write_csv(path: Path, records: list[dict]) -> None:
    """Write all records, errors included, atomically; a name that is no text keeps its bytes.

    Of regions their number stands in the table.
    """
    copies = dict.fromkeys(name for record in records for name in record if name.startswith("score_"))
    decision = ["score", "label", "verdict", "logit", "threshold", *copies, "threshold_from"]
    columns = ["path", *decision, "width", "height", "regions", "heatmap", "mask", "map", "error"]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, restval="")
    writer.writeheader()
    writer.writerows({**one, "regions": len(one["regions"])} if "regions" in one else one for one in records)
    write_text(path, table.getvalue())
