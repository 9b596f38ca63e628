"""The options that put another threshold in the place of the model's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lae_tf.errors import UsageError

if TYPE_CHECKING:
    from lae_tf.metrics.decision import Threshold


class Share(click.ParamType):
    """A number in [0, 1], written ``0.5%`` or ``0.005``."""

    name = "share"

    def __init__(self, expected: str):
        self._expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            self.fail(f"{text}: expected {self._expected}.", param, ctx)
        return share


def threshold_options(command: Callable) -> Callable:
    """Add ``--threshold`` and ``--max-false-alarms``."""
    options = (
        click.option(
            "--threshold",
            type=Share("a score from 0 to 1 such as 0.8"),
            metavar="SCORE",
            help="Call an image fake from this score on.",
        ),
        click.option(
            "--max-false-alarms",
            type=Share("a share such as 1% or 0.01"),
            metavar="SHARE",
            help="Call at most this share of validation's real images fake: 1% or 0.01.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def chosen_threshold(run: str | None, threshold: float | None, max_false_alarms: float | None) -> Threshold | None:
    """Return the threshold that was asked for, None for the model's own.

    Args:
        run: a run; None for a model whose validation is not at hand.
        threshold, max_false_alarms: what the options say.

    Raises:
        UsageError: both were given, or the rate is not known.
    """
    from lae_tf.metrics.decision import given_threshold

    if threshold is not None and max_false_alarms is not None:
        raise UsageError("--threshold and --max-false-alarms each choose the threshold; give one of them.")
    if max_false_alarms is not None:
        if run is None:
            raise UsageError(
                "--max-false-alarms needs a RUN, which keeps what its validation scored; servers, exports and "
                "presets know their threshold alone. Name the run, or give --threshold."
            )
        from lae_tf.training.false_alarms import threshold_at_false_alarms
        from lae_tf.training.run import Run

        return threshold_at_false_alarms(Run.open(run), max_false_alarms)
    return None if threshold is None else given_threshold(threshold)
