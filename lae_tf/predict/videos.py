"""Scores for videos: frame by frame, over time, and in the mean; with pictures for people."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from lae_tf.data.views import look, whole_map
from lae_tf.errors import VideoError
from lae_tf.files.atomic import replacing, write_bytes
from lae_tf.metrics.decision import label_of, score_text
from lae_tf.metrics.verdict import NO_BOUNDS, ConformalBounds, verdict_of
from lae_tf.model.lae import LAE
from lae_tf.report import panels, plots
from lae_tf.video.crops import Crop, read_crops
from lae_tf.video.decoding import import_av
from lae_tf.video.faces import Track
from lae_tf.video.frames import Selection

SHOWN = 12
"""Frames on the contact sheet."""
_DRAWS = 2000
_COLOURS = {"fake": (213, 94, 0), "real": (0, 114, 178)}
_CLOCK = 90_000


@dataclass(frozen=True)
class VideoPrediction:
    """What the model says of one video.

    Attributes:
        path: the video.
        indices: int (N,), numbers of the scored frames.
        times: float64 (N,), seconds.
        scores: float64 (N,), calibrated P(fake) of each.
        attention: float16 (N, h, w) in [0, 1], of the crops or frames, with their aspect.
        threshold: of the decision.
        without_face: selected frames that show no face, and so have no score.
        bounds: of the verdict.
    """

    path: str
    indices: np.ndarray
    times: np.ndarray
    scores: np.ndarray
    attention: np.ndarray
    threshold: float
    without_face: int
    bounds: ConformalBounds = NO_BOUNDS

    @property
    def score(self) -> float:
        """Mean of the frames' scores."""
        return float(self.scores.mean())

    @property
    def label(self) -> str:
        """``fake`` where the mean reaches the threshold (our rule), else ``real``."""
        return label_of(self.score, self.threshold)

    @property
    def verdict(self) -> str:
        """The label, or ``unsure`` as an image of the mean score would be (our rule)."""
        return verdict_of(self.score, self.threshold, self.bounds)

    def record(self) -> dict[str, Any]:
        """Return the fields for JSON, without attention."""
        frames = [
            {"index": int(index), "time": round(float(time), 3), "score": float(score)}
            for index, time, score in zip(self.indices, self.times, self.scores, strict=True)
        ]
        return {
            "path": self.path,
            "score": self.score,
            "interval": list(mean_interval(self.scores)),
            "label": self.label,
            "verdict": self.verdict,
            "threshold": self.threshold,
            "without_face": self.without_face,
            "frames": frames,
        }

    def most_suspicious(self) -> list[int]:
        """Return positions of up to ``SHOWN`` frames with the highest scores, one of each stretch of time.

        The scored time is cut into ``2 * SHOWN`` stretches, since neighbouring frames look alike.
        """
        start, length = self.times[0], max(float(np.ptp(self.times)), 1e-9)
        taken: set[int] = set()
        chosen: list[int] = []
        for position in np.argsort(-self.scores, kind="stable"):
            stretch = int((self.times[position] - start) / length * 2 * SHOWN)
            if stretch not in taken:
                taken.add(stretch)
                chosen.append(int(position))
        return chosen[:SHOWN]


def predict_video(
    model: LAE,
    path: str | os.PathLike[str],
    selection: Selection,
    track: Track | None,
    batch_size: int = 32,
    seconds: float | None = None,
) -> VideoPrediction:
    """Score the selected frames of a video.

    Args:
        model: trained on crops of the same kind, or of the view ``windows``, which looks all over whole frames.
        path: the video.
        selection: of its frames.
        track: of the face to crop, by :func:`lae_tf.video.crops.find_track`; None takes whole frames.
        batch_size: frames a step; in the view ``windows`` they are looked at one by one.
        seconds: for the windows of one frame: no more are looked at after it.

    Raises:
        VideoError: the video cannot be used, or shows no face.
    """
    in_windows = model.view == "windows"
    crops = iter(
        tqdm(
            read_crops(path, selection, track),
            desc=Path(path).name,
            total=selection.count,
            unit=" frames",
            leave=False,
            disable=not in_windows,  # else they are soon done
        )
    )
    indices, times, scores, attention = [], [], [], []
    without = 0
    while batch := list(islice(crops, 1 if in_windows else batch_size)):
        with_face = [crop for crop in batch if crop.image is not None]
        without += len(batch) - len(with_face)
        for crop, (score, one) in zip(with_face, _judged(model, with_face, seconds), strict=True):
            indices.append(crop.frame.index)
            times.append(crop.frame.time)
            scores.append(score)
            attention.append(one.astype(np.float16))
    if not scores:
        raise VideoError(f"{path}: shows no face in {without} frames; --whole scores frames without faces")
    return VideoPrediction(
        path=os.fspath(path),
        indices=np.array(indices),
        times=np.array(times),
        scores=np.array(scores),
        attention=np.stack(attention),
        threshold=float(model.calibration.threshold),
        without_face=without,
        bounds=model.calibration.bounds,
    )


def _judged(model: LAE, crops: Sequence[Crop], seconds: float | None) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the score of each crop, all with an image, and its attention with its aspect."""
    images: list[Any] = [crop.image for crop in crops]
    if model.view == "windows":
        for image in images:
            seen = look(model, image, seconds)
            yield float(model.calibration(np.array([seen.logit], np.float32))[0]), seen.attention
    elif images:
        outputs = model.score_on_batch(np.stack([model.preprocessor.resize(image) for image in images]))
        for image, score, attention in zip(images, outputs["score"][:, 0], outputs["attention"], strict=True):
            yield float(score), whole_map(attention, image.shape[:2], model.view)


def mean_interval(scores: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return an interval of the mean score over a video's frames, by a circular block bootstrap.

    Neighbouring frames are alike, so blocks of about the square root of N frames are drawn, not frames. It
    says how much the mean depends on the frames taken, not how right the model is.

    Args:
        scores: (N,), in the order of time.
        level: share of the draws inside.
        seed: of the draws.
    """
    count = len(scores)
    length = math.isqrt(count)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, count, (_DRAWS, -(-count // length)))
    rows = (starts[:, :, None] + np.arange(length)).reshape(_DRAWS, -1)[:, :count] % count
    low, high = np.quantile(scores[rows].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def write_report(prediction: VideoPrediction, track: Track | None, folder: Path) -> list[Path]:
    """Write the table, the plot of scores over time, and the contact sheet of the most suspicious frames.

    Args:
        prediction: of the video.
        track: as for :func:`predict_video`.
        folder: made if it is missing.

    Returns:
        The files.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["index", "time", "score"])
    writer.writerows(zip(prediction.indices, prediction.times.round(3), prediction.scores, strict=True))
    write_bytes(folder / "scores.csv", table.getvalue().encode())
    write_bytes(folder / "scores.png", plots.png(scores_over_time(prediction)))
    write_bytes(folder / "suspicious.png", plots.png(_contact_sheet(prediction, track)))
    return [folder / name for name in ("scores.csv", "scores.png", "suspicious.png")]


def scores_over_time(prediction: VideoPrediction) -> Figure:
    """Draw the scores over time, with the threshold, and the mean with its interval."""
    figure = Figure(figsize=(plots.WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    low, high = mean_interval(prediction.scores)
    axes.axhspan(low, high, color=plots.COLOURS[0], alpha=0.15, linewidth=0)
    mean = score_text(prediction.score, prediction.threshold, 2)
    axes.axhline(prediction.score, color=plots.COLOURS[0], label=f"mean {mean} [{low:.2f}, {high:.2f}]")
    axes.axhline(prediction.threshold, color=plots.GREY, linestyle=":", label=f"threshold {prediction.threshold:.2f}")
    axes.plot(prediction.times, prediction.scores, color=plots.COLOURS[1], marker=".", linewidth=1, label="frames")
    axes.set(xlabel="time (s)", ylabel="P(fake)", ylim=(-0.02, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return figure


def annotate_video(prediction: VideoPrediction, track: Track | None, path: Path) -> None:
    """Write a copy of the video with the attention laid over what was scored, and the score.

    Each frame shows the last scored one's attention and score. H.264 in MP4, upright, with the times of the
    original and without its sound.

    Raises:
        VideoError: the video cannot be read or written.
    """
    av = import_av()
    try:
        with (
            replacing(path) as temporary,
            av.open(str(temporary), "w", options={"movflags": "faststart"}) as container,
        ):
            stream, last = None, -1
            for crop in read_crops(prediction.path, Selection(every=1), track):
                picture = _even(_drawn(prediction, crop))
                if stream is None:
                    stream = container.add_stream("libx264", rate=30)
                    stream.options = {"crf": "20", "preset": "veryfast"}
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    stream.codec_context.time_base = Fraction(1, _CLOCK)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                last = max(round(crop.frame.time * _CLOCK), last + 1)  # frames may share a time, but not here
                frame.pts, frame.time_base = last, Fraction(1, _CLOCK)
                container.mux(stream.encode(frame))
            if stream is not None:
                container.mux(stream.encode())
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: cannot be written: {error}") from error


def _contact_sheet(prediction: VideoPrediction, track: Track | None) -> Figure:
    chosen = prediction.most_suspicious()
    wanted = {int(prediction.indices[position]): position for position in chosen}
    pictures: dict[int, np.ndarray] = {}
    # read again: to keep all frames until the highest scores are known would take too much memory
    for crop in read_crops(prediction.path, Selection(indices=tuple(sorted(wanted))), track):
        if crop.image is not None:
            position = wanted[crop.frame.index]
            heat = prediction.attention[position]
            small = cv2.resize(crop.image, heat.shape[::-1], interpolation=cv2.INTER_AREA)
            pictures[position] = panels.overlay(small / np.float32(255), heat)
    captions = [f"{prediction.times[position]:.2f} s: {prediction.scores[position]:.2f}" for position in chosen]
    legend = (
        "Attention over the frame in grey, from none to full. Above each frame its time and its score, P(fake); "
        f"the threshold is {prediction.threshold:.2f}."
    )
    return panels.contact_sheet([pictures[position] for position in chosen], captions, legend)


def _drawn(prediction: VideoPrediction, crop: Crop) -> np.ndarray:
    """Return a frame with its crop's attention and the score, uint8 (H, W, 3)."""
    picture = crop.frame.image.copy()
    if crop.place is None:
        return picture
    position = max(int(np.searchsorted(prediction.indices, crop.frame.index, side="right")) - 1, 0)
    top, left, height, width = crop.place
    heat = cv2.resize(prediction.attention[position].astype(np.float32), (width, height)).clip(0, 1)
    part = picture[top : top + height, left : left + width]
    part[:] = panels.overlay(part / 255.0, heat)
    score = prediction.scores[position]
    colour = _COLOURS[label_of(score, prediction.threshold)]
    size = max(min(picture.shape[:2]) / 480, 0.35)
    thick = max(round(2 * size), 1)
    cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), colour, thick)
    place = (left + 2 * thick, top + height - 3 * thick)
    text = f"P(fake) {score_text(score, prediction.threshold, 2)}"
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)
    return picture


def _even(image: np.ndarray) -> np.ndarray:
    """Repeat the last row or column where a side is odd: 4:2:0 video has even sides."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
