"""`lae-tf predict`: scores and heatmaps for images."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from lae_tf.cli.evidence import NAMES as EVIDENCE
from lae_tf.cli.evidence import evidence_options, evidence_writer
from lae_tf.cli.inputs import ImagePath, require_images
from lae_tf.cli.model_choice import choose_model, choose_source, load_to_score, model_option
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.recognition import recognise
from lae_tf.cli.threshold_options import chosen_threshold, threshold_options
from lae_tf.cli.watching import credentials_text, line_of, watch_folder
from lae_tf.errors import ImageError, MissingExtraError, UsageError
from lae_tf.files.atomic import write_text
from lae_tf.images.credentials import credentials_readable, read_credentials
from lae_tf.metrics.decision import MODELS_OWN, Threshold
from lae_tf.predict.evidence_places import EvidencePlaces

FOR_IMAGES = {*EVIDENCE, "csv_path", "copies"}
FOR_VIDEOS = {"report", "annotate", "frames"}


@click.command("predict")
@click.argument("paths", nargs=-1, metavar="[RUN] PATHS...", type=click.Path())
@model_option
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
@click.option(
    "--watch",
    type=ImagePath(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Score what is in this folder, then what arrives there, until Ctrl-C; in place of PATHS.",
)
@click.option(
    "--credentials/--no-credentials",
    default=None,
    help="Read content credentials (C2PA) too; default: where the extra c2pa is installed.",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images a step.")
@click.option("--report", type=OutputPath(file_okay=False), help="Videos: write table, plot and contact sheet here.")
@click.option("--annotate", is_flag=True, help="Videos: write a copy with the attention laid over too (--report).")
@click.option("--frames", type=click.IntRange(1), default=32, show_default=True, help="Videos: frames to score.")
@click.option("--whole", is_flag=True, help="Score whole frames, or whole images with a run of faces, not the faces.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Look at the windows of an image, or of a video's frame, for so long at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image or video, not the table.")
def command(
    paths: tuple[str, ...],
    preset: str | None,
    server: str | None,
    model_name: str,
    token: str | None,
    places: EvidencePlaces,
    csv_path: str | None,
    threshold: float | None,
    max_false_alarms: float | None,
    copies: bool,
    watch: str | None,
    credentials: bool | None,
    batch_size: int,
    report: str | None,
    annotate: bool,
    frames: int,
    whole: bool,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Score images or videos, and show where.

    Without RUN, a trained run, a ready model is asked: the one that --model names, or the default that `lae-tf models`
    lists. PATHS are files, folders or glob patterns; in folders images are found by suffix or content, hidden ones
    passed over. SCORE is the probability that an image is fake if as many are fake as real, and lower of images that
    look degraded, so that few real ones are called fake; LABEL is fake from 0.5 on, or from another threshold that you
    choose. VERDICT is the label, or unsure where the model's validation says that it
    cannot tell at the rate of errors that it was trained for (10 %). With --copies an image is unsure, too, whose label
    changes when it is saved as JPEG 90 or scaled to 3/4; that takes three times as long. A file that cannot be read is
    reported and skipped; the exit code is then 1.

    REGIONS are what attention marks above 0.5, in pixels of the upright file, the most suspicious first; those below
    0.1 % of the image are left out. They are listed whatever the verdict: in a real image they are what was looked at
    most, and no finding.

    Content credentials, which a few files carry, say who signed them and whether they were generated or edited;
    "valid" means that the file is what was signed, not that the signer can be trusted.

    \b
    Example:
      lae-tf predict photo.jpg
      lae-tf predict runs/first --watch inbox/ --json
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
    if not paths and watch is None:
        missing = next(one for one in context.command.params if one.name == "paths")
        raise click.MissingParameter(None, context, missing)
    source = None
    if credentials is None:
        credentials = credentials_readable()
    elif credentials and not credentials_readable():
        raise MissingExtraError("--credentials", "c2pa")
    if watch is not None and (csv_path or places.regions):
        option = "csv" if csv_path else "regions"
        raise UsageError(f"--{option} is written when all images are scored, and --watch never ends; use --json.")
    if server:
        require_server(context, (*paths, *([watch] if watch else ())), server, preset)
    elif watch is not None:
        source, paths = choose_source(context, paths, preset)
    else:
        source, paths = choose_model(context, paths, preset)
    if watch is not None and paths:
        raise UsageError(f"--watch {watch} says what to score; leave {paths[0]} out.")
    videos = videos_among(paths)
    if videos and server:
        raise UsageError("--server scores images; for videos name a RUN in its place.")
    source_of = context.get_parameter_source
    given = {name for name in FOR_IMAGES | FOR_VIDEOS if source_of(name) is ParameterSource.COMMANDLINE}
    for name in sorted(given & (FOR_IMAGES if videos else FOR_VIDEOS)):
        kinds = ("images", "videos") if videos else ("videos", "images")
        option = name.removesuffix("_path").replace("_", "-")
        raise UsageError(f"--{option} is for {kinds[0]}; these are {kinds[1]}.")
    for option, is_given in (("copies", copies), ("seconds", seconds), ("whole", whole)):
        if is_given and server:
            raise UsageError(f"--{option} needs a RUN, whose model scores in this process; leave --server out.")
    chosen = chosen_threshold(source.run if source else None, threshold, max_false_alarms)
    if videos and source:
        from lae_tf.cli.video_report import VideoRequest, predict_videos

        request = VideoRequest(videos, report, annotate, frames, whole, batch_size, seconds, as_json)
        sys.exit(predict_videos(source, chosen, request))
    files = [] if watch else find_images(paths, left_out)
    evidence = evidence_writer(places, watch or files, bool(server))
    facts: dict[str, Any] = {"threshold_from": chosen.source if chosen else MODELS_OWN}
    if source:
        request_of_images = ImageRequest(batch_size, copies, seconds, whole)
        model = prepared(source, chosen, request_of_images)
        ask: Callable[[list[str]], Iterator[Any]] = partial(ask_model, model, request_of_images)
        facts |= source.record(model)
    else:
        asked = ServerRequest(str(server), model_name, token, batch_size, explain=bool(places.heatmaps))
        ask = partial(ask_server, asked, chosen)
        facts |= {"model": model_name, "version": None, "digest": None, "view": None}  # servers do not say

    def record_of(prediction: Any) -> dict[str, Any]:
        """Return what is printed of a prediction, and write its evidence."""
        record: dict[str, Any] = prediction.record()
        if prediction.error:
            return record
        record |= facts
        if credentials:
            record["credentials"] = asdict(read_credentials(prediction.path))
        try:
            return record | evidence.add(prediction)
        except ImageError as error:  # the file has changed or gone since it was scored
            return {"path": prediction.path, "error": str(error)}

    if watch:
        watch_folder(watch, ask, record_of, as_json)
    records, failures = report_left_out(left_out, as_json), len(left_out)
    with tqdm(total=len(files), desc="predict", unit=" images", file=sys.stderr) as bar:
        for prediction in ask(files):
            record = record_of(prediction)
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
            click.echo(line_of(record))
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


def require_server(context: click.Context, paths: tuple[str, ...], server: str, preset: str | None) -> None:
    """Check what is to be scored by a server.

    Raises:
        UsageError: a model in this process is named too, or a path is no image.
    """
    if preset is not None:
        raise UsageError("--server and --model each name the model to ask; give one of them.")
    if os.path.isdir(paths[0]) and recognise(paths[0]).kind == "run":
        raise UsageError(f"--server stands in place of RUN; leave {paths[0]} out.")
    require_images(paths, context)


class ImageRequest(NamedTuple):
    """How images are to be scored in this process; the fields are options of the verb."""

    batch_size: int
    copies: bool
    seconds: float | None
    whole: bool


def prepared(source: Any, threshold: Threshold | None, request: ImageRequest) -> Any:
    """Return the model to ask.

    Raises:
        UsageError: its view has no use for an option.
    """
    model = load_to_score(source, threshold, request.seconds)
    if request.whole and model.view != "faces":
        raise UsageError(f"--whole is for models of the view 'faces', and for videos; this one's is '{model.view}'.")
    if request.whole:
        model.view = "whole"
    return model


def ask_model(model: Any, request: ImageRequest, files: list[str]) -> Iterator[Any]:
    """Yield a prediction for each file, made in this process."""
    from lae_tf.predict.images import predict_files

    return predict_files(model, files, request.batch_size, request.copies, request.seconds)


class ServerRequest(NamedTuple):
    """How to ask a server; the fields are options of the verb."""

    url: str
    model: str
    token: str | None
    batch_size: int
    explain: bool


def ask_server(request: ServerRequest, threshold: Threshold | None, files: list[str]) -> Iterator[Any]:
    """Yield a prediction for each file, made by a server."""
    from lae_tf.serving.client.rest_client import Client

    with Client(request.url, request.model, token=request.token, batch_size=request.batch_size) as client:
        for one in client.explain_files(files) if request.explain else client.predict_files(files):
            yield one.at(threshold.value) if threshold else one


def write_csv(path: Path, records: list[dict]) -> None:
    """Write all records, errors included, atomically; a name that is no text keeps its bytes.

    Of regions their number stands in the table.
    """
    copies = dict.fromkeys(name for record in records for name in record if name.startswith("score_"))
    decision = ["score", "label", "verdict", "logit", "threshold", *copies, "threshold_from"]
    about = ["model", "version", "digest", "view", "credentials", "width", "height", "regions"]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["path", *decision, *about, "heatmap", "mask", "map", "error"], restval="")
    writer.writeheader()
    writer.writerows(_cells(record) for record in records)
    write_text(path, table.getvalue())


def _cells(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as a row: of regions their number, of credentials a few words."""
    cells = dict(record)
    if "regions" in record:
        cells["regions"] = len(record["regions"])
    if "credentials" in record:
        cells["credentials"] = credentials_text(record["credentials"])
    return cells
