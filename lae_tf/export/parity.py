"""The parity gate: an export that does not score as its checkpoint does is never published."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lae_tf.errors import LAEError
from lae_tf.export.golden import golden_faces, golden_files
from lae_tf.model.lae import LAE
from lae_tf.predict.images import Prediction, predict_files
from lae_tf.video.face_places import FACES

_SECONDS = 600


class ParityError(LAEError):
    """An export that scores differently from its checkpoint."""


@dataclass(frozen=True)
class Parity:
    """What the gate measured.

    Attributes:
        images: number of golden images.
        tolerance: largest allowed difference of a score.
        largest_difference: largest seen, over images scored alone and in one batch.
    """

    images: int
    tolerance: float
    largest_difference: float


def write_golden(model: LAE, folder: Path, tolerance: float, pixels: bool = False) -> None:
    """Write the golden images, scored by the checkpoint, and ``golden.json``.

    Args:
        model: the checkpoint.
        folder: is made.
        tolerance: largest allowed difference of a score, stored with the set.
        pixels: for formats that take pixels and not files, also store what the model sees, as ``pixels.npy``,
            float32 (N, S, S, 3).
    """
    folder.mkdir(parents=True)
    files = golden_files(model.image_size, model.view == "windows")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    predictions = list(predict_files(model, [str(folder / name) for name in files], faces=golden_faces))
    record: dict[str, Any] = {
        "tolerance": tolerance,
        "threshold": float(model.calibration.threshold),
        **model.calibration.bounds._asdict(),
        "images": [_record(name, data, one) for (name, data), one in zip(files.items(), predictions, strict=True)],
    }
    if pixels:
        record["pixels"] = "pixels.npy"
        np.save(folder / record["pixels"], np.stack([np.asarray(one.image) for one in predictions]))
    if model.view == "faces":
        for image, one in zip(record["images"], predictions, strict=True):
            image[FACES] = golden_faces(*(one.size or (1, 1)))
    (folder / "golden.json").write_text(json.dumps(record, indent=2), encoding="utf-8")


def check_parity(model_path: Path, golden: Path) -> Parity:
    """Score the golden images with an export in a fresh process and compare.

    Raises:
        ParityError: a score differs by more than the set's tolerance; names the image.
        LAEError: the export cannot be loaded or run there.
    """
    answer = _rescore(model_path, golden)
    return _compare(golden, {"alone": answer["single"]["score"], "in a batch": answer["batch"]["score"]})


def check_reloaded(model: LAE, golden: Path) -> Parity:
    """Score the golden images with a model that was saved and loaded again, and compare.

    Raises:
        ParityError: a score differs by more than the set's tolerance; names the image.
    """
    record = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
    paths = [str(golden / image["file"]) for image in record["images"]]
    ways = {"alone": 1, "in a batch": len(paths)}
    found = {way: predict_files(model, paths, count, faces=golden_faces) for way, count in ways.items()}
    return _compare(golden, {way: [one.score for one in predictions] for way, predictions in found.items()})


def _compare(golden: Path, answers: dict[str, list[float]]) -> Parity:
    record = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
    names = [image["file"] for image in record["images"]]
    expected = np.array([image["score"] for image in record["images"]])
    worst = 0.0
    for way, scores in answers.items():
        # A score that is not a number differs by all there is.
        differences = np.nan_to_num(np.abs(np.array(scores) - expected), nan=1.0)
        worst = max(worst, float(differences.max()))
        if worst > record["tolerance"]:
            place = int(differences.argmax())
            raise ParityError(
                f"the export scores differently from the checkpoint: {names[place]} {way} is {scores[place]:.7f}, "
                f"expected {expected[place]:.7f} within {record['tolerance']:g}; nothing was exported."
            )
    return Parity(len(names), record["tolerance"], worst)


def _record(name: str, data: bytes, one: Prediction) -> dict[str, Any]:
    if one.error:
        raise LAEError(f"the golden image {name} cannot be scored: {one.error}")
    digest = hashlib.sha256(data).hexdigest()
    decision = {"score": one.score, "label": one.label, "verdict": one.verdict, "logit": one.logit}
    return {"file": name, "sha256": digest, **decision}


def _rescore(model_path: Path, golden: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("rescore.py")
    command: Sequence[str] = (sys.executable, str(script), str(model_path), str(golden))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise LAEError(f"scoring the export took more than {_SECONDS} s; nothing was exported.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LAEError(f"the export cannot be loaded in a fresh process ({reason}); nothing was exported.")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
