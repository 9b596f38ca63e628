"""The threshold at which a trained run calls a given share of real images fake, as its validation tells."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lae_tf.errors import UsageError
from lae_tf.metrics.decision import Threshold
from lae_tf.training.calibrate import threshold_at_fpr
from lae_tf.training.run import Run


def threshold_at_false_alarms(run: Run, rate: float) -> Threshold:
    """Return the threshold at which at most a share of the real validation images are called fake.

    Args:
        run: a trained run.
        rate: the share, in (0, 1).

    Raises:
        UsageError: the rate is none, the run keeps no scores of its validation, or real images are too few: less than
            one of them would be the share.
    """
    asked = f"--max-false-alarms {100 * rate:g}%"
    if not 0 < rate < 1:
        raise UsageError(f"{asked}: expected a share above 0 and below 100 %, such as 1% or 0.01.")
    images = _validation(run)
    reals = int((images["label"] == 0).sum())
    needed = math.ceil(1 / rate - 1e-9)
    if reals < needed:
        raise UsageError(
            f"{asked} needs at least {needed} real validation images to be known; {run.path} was validated on {reals}, "
            f"so that rates below {100 / max(reals, 1):.3g}% are not. Ask for more, give --threshold, or train with "
            "more real images in the split 'val'."
        )
    value = threshold_at_fpr(images["score"].to_numpy(), images["label"].to_numpy(), rate)
    return Threshold(value, f"{asked} on {reals} real validation images")


def _validation(run: Run) -> pd.DataFrame:
    path = run.validation_scores
    if not path.is_file():
        raise UsageError(
            f"{path} is missing: --max-false-alarms needs what validation scored, which runs of older versions do not "
            "keep. Train it again, or give --threshold."
        )
    try:
        images = pd.read_csv(path, float_precision="round_trip").astype({"label": int, "score": np.float32})
    except (ValueError, KeyError) as error:
        raise UsageError(f"{path}: expected columns label and score ({error}); train the run again.") from None
    if images["score"].isna().any():
        raise UsageError(f"{path}: expected columns label and score, a number in each row; train the run again.")
    # Degraded copies are no images of their own.
    return images[~images["degraded"].astype(bool)] if "degraded" in images else images
