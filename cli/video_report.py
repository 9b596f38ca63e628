"""`lae-tf predict` for videos."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from lae_tf.cli.model_choice import load_to_score
from lae_tf.errors import UsageError, VideoError
from lae_tf.metrics.decision import MODELS_OWN, Threshold, score_text

if TYPE_CHECKING:
    from lae_tf.training.sources import ModelSource


class VideoRequest(NamedTuple):
    """What ``lae-tf predict`` was asked to do with videos; the fields are its options."""

    files: Sequence[str]
    report: str | None
    annotate: bool
    frames: int
    whole: bool
    batch_size: int
    seconds: float | None
    as_json: bool


def predict_videos(source: ModelSource, threshold: Threshold | None, request: VideoRequest) -> int:
    """Score videos and write what was asked for; return the exit code, 1 if a video was skipped.

    Args:
        source: the model to score with.
        threshold: of a video's mean score, in place of the model's.
        request: what to score and to write.

    Raises:
        UsageError: ``annotate`` without ``report``, or ``seconds`` with a model of another view than ``windows``.
    """
    files, report, annotate, frames, whole, batch_size, seconds, as_json = request
    if annotate and not report:
        raise UsageError("--annotate needs --report, the folder to write the video to.")
    model = load_to_score(source, threshold, seconds)
    from tqdm import tqdm

    from lae_tf.predict.heatmap_names import heatmap_names
    from lae_tf.predict.videos import annotate_video, predict_video, write_report
    from lae_tf.video.crops import find_track
    from lae_tf.video.frames import Selection

    in_windows = model.view == "windows"
    made_by = source.record(model)
    names = heatmap_names(list(files))
    selection = Selection(count=frames)
    failures = 0
    for path in tqdm(files, desc="predict", unit=" videos", file=sys.stderr):
        try:
            track = None if whole or in_windows else find_track(path, selection)
            prediction = predict_video(model, path, selection, track, batch_size, seconds)
            record = {**prediction.record(), "threshold_from": threshold.source if threshold else MODELS_OWN, **made_by}
            if report:
                folder = Path(report) / Path(names[path]).stem
                written = write_report(prediction, track, folder)
                if annotate:
                    written.append(folder / "annotated.mp4")
                    annotate_video(prediction, track, written[-1])
                record["files"] = [str(file) for file in written]
        except VideoError as error:
            failures += 1
            record = {"path": path, "error": str(error)}
            tqdm.write(f"Skipped: {error}", file=sys.stderr)
        if as_json:
            tqdm.write(json.dumps(record), file=sys.stdout)
        elif "error" not in record:
            low, high = record["interval"]
            tqdm.write(
                f"{score_text(prediction.score, prediction.threshold)}  {record['label']:<4}  {record['verdict']:<6}  "
                f"[{low:.2f}, {high:.2f}] over {len(record['frames'])} frames  {click.format_filename(path)}",
                file=sys.stdout,
            )
    if threshold and not as_json:
        click.echo(f"Fake from {threshold.value:.4f} ({threshold.source}).", err=True)
    if report and not as_json:
        click.echo(f"Written: {report}", err=True)
    return 1 if failures else 0
