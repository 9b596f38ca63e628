"""The threshold of a trained run by a person's own real images: what it calls fake among them is a false alarm."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from lae_tf.data.finding import images_below
from lae_tf.data.ingestion import ingest
from lae_tf.data.views import look
from lae_tf.errors import UsageError
from lae_tf.files.walking import LeftOut
from lae_tf.images.files import read_image
from lae_tf.model import load_model
from lae_tf.model.lae import LAE
from lae_tf.training.calibrate import threshold_at_fpr
from lae_tf.training.callbacks import save_model
from lae_tf.training.run import Run


@dataclass(frozen=True)
class Decision:
    """Where a run decides, before and after.

    Attributes:
        images: how many real images were scored.
        threshold: new, and ``before``, old.
        before: the threshold that the run had.
        false_alarms: share of the images called fake, at the new threshold.
        false_alarms_before: at the old one.
        left_out: one sentence for each file that looks like an image and cannot be read.
    """

    images: int
    threshold: float
    before: float
    false_alarms: float
    false_alarms_before: float
    left_out: list[str]


def calibrate_on_folder(run: Run, folder: str | os.PathLike[str], rate: float) -> Decision:
    """Set a run's threshold so that at most a share of real images are called fake; nothing is trained.

    The model keeps its scores. ``calibration.json`` says what the threshold rests on, and what it was before.

    Args:
        run: a trained run.
        folder: of real images, searched with its sub-folders.
        rate: the share, in (0, 1).

    Raises:
        UsageError: the rate is none, the run is not trained, or the images are too few: less than one of them would
            be the share.
        ProblemsError: images that cannot be used, all named.
        LAEError: another command is changing the run.
    """
    asked = f"--max-false-alarms {100 * rate:g}%"
    if not 0 < rate < 1:
        raise UsageError(f"{asked}: expected a share above 0 and below 100 %, such as 1% or 0.01.")
    unread: list[LeftOut] = []
    files = sorted(images_below(folder, left_out=unread))
    needed = math.ceil(1 / rate - 1e-9)
    if len(files) < needed:
        raise UsageError(
            f"{asked} needs at least {needed} real images to be known; {os.fspath(folder)} holds {len(files)}. Add "
            "some, or ask for a higher rate."
        )
    decision: dict[str, Any] = run.require_json("calibration.json")
    run.load_model()  # says how to finish a run that is not trained
    with run.locked():
        model = load_model(run.model_path)
        scores = _scores(model, ingest(files, run.image_cache))
        if len(scores) < needed:
            raise UsageError(f"{asked} needs at least {needed} real images that show a face; {len(scores)} do.")
        before = float(model.calibration.threshold)
        threshold = threshold_at_fpr(scores, np.zeros(len(scores), int), rate)
        model.calibration.threshold.assign(threshold)
        threshold = float(model.calibration.threshold)
        save_model(model, run.model_path)
        own = {"folder": os.path.abspath(folder), "images": len(scores), "max_false_alarms": rate}
        own |= {"before": {"threshold": decision["threshold"], "rule": decision["rule"]}}
        rule = f"at most {100 * rate:g} % of {len(scores)} own real images called fake"
        run.write_json("calibration.json", {**decision, "threshold": threshold, "rule": rule, "own_images": own})
    alarms, alarms_before = (float((scores >= level).mean()) for level in (threshold, before))
    return Decision(len(scores), threshold, before, alarms, alarms_before, [one.sentence for one in unread])


def _scores(model: LAE, files: list[str]) -> np.ndarray:
    """Return the images' scores in the model's view, float32; a photograph that shows no face has none."""
    seen = (look(model, read_image(file)) for file in tqdm(files, desc="calibrate", unit=" images", file=sys.stderr))
    logits = np.array([one.logit for one in seen], np.float32)
    logits = logits[~np.isnan(logits)]
    return np.asarray(model.calibration(logits)) if len(logits) else logits
