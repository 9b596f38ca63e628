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

from lae_tf.cli.inputs import ImagePath, require_images
from lae_tf.cli.model_choice import choose_model, choose_source, model_option
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.recognition import recognise
from lae_tf.cli.threshold_options import chosen_threshold, threshold_options
from lae_tf.cli.watching import credentials_text, line_of, watch_folder
from lae_tf.errors import MissingExtraError, UsageError
from lae_tf.files.atomic import write_bytes, write_text
from lae_tf.images.credentials import credentials_readable, read_credentials
from lae_tf.metrics.decision import MODELS_OWN, Threshold

FOR_IMAGES = {"heatmaps", "csv_path", "copies"}
FOR_VIDEOS = {"report", "annotate", "frames", "whole"}


@click.command("predict")
@click.argument("paths", nargs=-1, metavar="[RUN] PATHS...", type=click.Path())
@model_option
@click.option("--server", metavar="URL", help="Ask this server, in place of RUN; TensorFlow is not needed.")
@click.option("--model-name", default="lae", show_default=True, help="With --server: the model's name there.")
@click.option("--token", envvar="LAE_TF_TOKEN", show_envvar=True, help="With --server: the bearer token to send.")
@click.option(
    "--heatmaps",
    type=OutputPath(file_okay=False),
    help="Write each image with its attention here, as PNG: grey, where there is any violet to yellow.",
)
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
@click.option("--whole", is_flag=True, help="Videos: score whole frames instead of faces.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image or video, not the table.")
def command(
    paths: tuple[str, ...],
    preset: str | None,
    server: str | None,
    model_name: str,
    token: str | None,
    heatmaps: str | None,
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
    as_json: bool,
) -> None:
    """Score images or videos, and draw heatmaps.

    Without RUN, a trained run, a ready model is asked: the one that --model names, or the default that `lae-tf models`
    lists. PATHS are files, folders or glob patterns; in folders images are found by suffix or content, hidden ones
    passed over. SCORE is the probability that an image is fake if as many are fake as real; LABEL is fake from 0.5 on,
    or from another threshold that you choose. VERDICT is the label, or unsure where the model's validation says that it
    cannot tell at the rate of errors that it was trained for (10 %). With --copies an image is unsure, too, whose label
    changes when it is saved as JPEG 90 or scaled to 3/4; that takes three times as long. A file that cannot be read is
    reported and skipped; the exit code is then 1.

    Content credentials, which a few files carry, say who signed them and whether they were generated or edited;
    "valid" means that the file is what was signed, not that the signer can be trusted.

    \b
    Example:
      lae-tf predict photo.jpg
      lae-tf predict runs/first --watch inbox/ --json
      lae-tf predict runs/first photos/ --heatmaps out/
      lae-tf predict runs/first photos/ --max-false-alarms 1%
      lae-tf predict runs/first clip.mp4 --report out/ --annotate
      lae-tf predict --server http://localhost:8501 photos/
    """
    from tqdm import tqdm

    from lae_tf.data.finding import find_images, videos_among
    from lae_tf.files.walking import LeftOut
    from lae_tf.metrics.verdict import UNSURE
    from lae_tf.predict.heatmap_names import heatmap_names

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
    if watch is not None and csv_path:
        raise UsageError("--csv is written when all images are scored, and --watch never ends; use --json.")
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
        raise UsageError(f"--{name.removesuffix('_path')} is for {kinds[0]}; these are {kinds[1]}.")
    if copies and server:
        raise UsageError("--copies needs a RUN, whose model scores them in this process; leave --server out.")
    chosen = chosen_threshold(source.run if source else None, threshold, max_false_alarms)
    if videos and source:
        from lae_tf.cli.video_report import VideoRequest, predict_videos

        request = VideoRequest(videos, report, annotate, frames, whole, batch_size, as_json)
        sys.exit(predict_videos(source, chosen, request))
    files = [] if watch else find_images(paths, left_out)
    facts: dict[str, Any] = {"threshold_from": chosen.source if chosen else MODELS_OWN}
    if source:
        import_tensorflow()
        from lae_tf.predict.images import predict_files

        model = source.load(chosen)
        ask: Callable[[list[str]], Iterator[Any]] = partial(predict_files, model, batch_size=batch_size, copies=copies)
        facts |= source.record(model)
    else:
        asked = ServerRequest(str(server), model_name, token, batch_size, explain=bool(heatmaps))
        ask = partial(ask_server, asked, chosen)
        facts |= {"model": model_name, "version": None, "digest": None, "view": None}  # servers do not say
    if watch:
        drawn = heatmap_folder(heatmaps, watch)
        watch_folder(watch, ask, lambda one: record_of(one, facts, drawn and drawn(one.path), credentials), as_json)
    names = heatmap_names(files) if heatmaps else {}
    records, failures = report_left_out(left_out, as_json), len(left_out)
    with tqdm(total=len(files), desc="predict", unit=" images", file=sys.stderr) as bar:
        for prediction in ask(files):
            heatmap = Path(heatmaps) / names[prediction.path] if heatmaps else None
            record = record_of(prediction, facts, heatmap, credentials)
            if prediction.error:
                failures += 1
                tqdm.write(f"Skipped: {prediction.error}", file=sys.stderr)
            if as_json:
                tqdm.write(json.dumps(record), file=sys.stdout)
            records.append(record)
            bar.update()
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
        for place in filter(None, (csv_path, heatmaps)):
            click.echo(f"Written: {place}", err=True)
    sys.exit(1 if failures else 0)


def record_of(prediction: Any, facts: dict[str, Any], heatmap: Path | None, with_credentials: bool) -> dict[str, Any]:
    """Return what is printed of a prediction, and draw its heatmap.

    Args:
        prediction: of one file.
        facts: that all records share.
        heatmap: file to draw to.
        with_credentials: read what the file says of itself.
    """
    record: dict[str, Any] = prediction.record()
    if not prediction.error:
        record.update(facts)
        if with_credentials:
            record["credentials"] = asdict(read_credentials(prediction.path))
        if heatmap:
            record["heatmap"] = write_heatmap(heatmap, prediction)
    return record


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


def heatmap_folder(heatmaps: str | None, watched: str) -> Callable[[str], Path] | None:
    """Return where the heatmap of each image of a watched folder goes: to its own place below ``heatmaps``.

    Raises:
        UsageError: heatmaps would arrive in the watched folder.
    """
    if heatmaps is None:
        return None
    if Path(heatmaps).resolve().is_relative_to(Path(watched).resolve()):
        raise UsageError(f"--heatmaps {heatmaps} lies in {watched}, where they would be scored; choose another folder.")
    return lambda path: Path(heatmaps, f"{Path(path).relative_to(watched)}.png")


def write_heatmap(path: Path, prediction: Any) -> str:
    """Write the image with its attention laid over."""
    if hasattr(prediction, "heatmap_png"):  # a server drew it
        write_bytes(path, prediction.heatmap_png)
        return str(path)
    from lae_tf.images.files import write_png
    from lae_tf.report.panels import overlay

    write_png(path, overlay(prediction.image, prediction.attention))
    return str(path)


def write_csv(path: Path, records: list[dict]) -> None:
    """Write all records, errors included, atomically; a name that is no text keeps its bytes."""
    copies = dict.fromkeys(name for record in records for name in record if name.startswith("score_"))
    scores = ["score", "label", "verdict", "logit", "threshold", *copies, "threshold_from"]
    columns = ["path", *scores, "model", "version", "digest", "view", "credentials", "heatmap", "error"]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, restval="")
    writer.writeheader()
    writer.writerows(
        {**record, "credentials": credentials_text(record["credentials"])} if "credentials" in record else record
        for record in records
    )
    write_text(path, table.getvalue())
