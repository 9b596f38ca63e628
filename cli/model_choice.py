"""Which model a verb asks that takes images or videos: a run before them, one that is named, or the default preset."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lae_tf.cli.inputs import RunPath, quoted, require_images, training_steps
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.recognition import recognise
from lae_tf.errors import UsageError

if TYPE_CHECKING:
    from lae_tf.metrics.decision import Threshold
    from lae_tf.model.lae import LAE
    from lae_tf.training.sources import ModelSource

_SCORED = {"image", "images", "sorted images", "video", "videos", "sorted videos"}


def model_option(command: Callable) -> Callable:
    """Add ``--model``."""
    return click.option(
        "--model",
        "preset",
        metavar="PRESET",
        help="Ask this ready model, in place of RUN: a name (lae-tf models), a folder or hf://user/name.",
    )(command)


def choose_model(
    context: click.Context, paths: tuple[str, ...], preset: str | None
) -> tuple[ModelSource, tuple[str, ...]]:
    """Return the model to ask, and the paths of images or videos.

    Args:
        context: of the verb.
        paths: perhaps a run, and what to score.
        preset: what ``--model`` says.

    Raises:
        click.UsageError: there is nothing to score, or a path is neither an image nor a video.
        UsageError: as :func:`choose_source`.
    """
    source, rest = choose_source(context, paths, preset)
    if not rest:
        example = f"For example: {context.command_path} {quoted(paths[0])} photos/"
        raise click.UsageError(f"Missing argument 'PATHS...', images or videos after RUN. {example}", context)
    require_images(rest, context)
    return source, rest


def choose_source(
    context: click.Context, paths: tuple[str, ...], preset: str | None
) -> tuple[ModelSource, tuple[str, ...]]:
    """Return the model to ask, and the paths without the run.

    Args:
        context: of the verb.
        paths: perhaps a run, and what to score; may be empty.
        preset: what ``--model`` says.

    Raises:
        UsageError: what stands first is no run, and there is no ready model; or two models are named.
    """
    from lae_tf.training.sources import ModelSource

    if preset is not None:
        if paths and os.path.isdir(paths[0]) and recognise(paths[0]).kind == "run":
            raise UsageError(f"--model stands in place of RUN; leave {paths[0]} out.")
        return ModelSource.of_preset(preset), paths
    if not paths or _is_scored(paths[0]):
        return ModelSource.of_preset(_default_preset(context, paths)), paths
    run, *rest = paths
    return ModelSource.of_run(RunPath(exists=True).convert(run, None, context)), tuple(rest)


def load_to_score(source: ModelSource, threshold: Threshold | None, seconds: float | None) -> LAE:
    """Load the model to ask.

    Args:
        source: of the model.
        threshold: of the decision, in place of the model's.
        seconds: what ``--seconds`` says.

    Raises:
        UsageError: ``--seconds``, for a model that does not look through windows.
        LAEError: the model cannot be loaded.
    """
    import_tensorflow()
    model = source.load(threshold)
    if seconds and model.view != "windows":
        raise UsageError(f"--seconds is for models of the view 'windows'; this one's is '{model.view}'.")
    return model


def _is_scored(path: str) -> bool:
    """Whether a path is surely what a model scores, and no run."""
    return recognise(path).kind in _SCORED if os.path.exists(path) else glob.has_magic(path)


def _default_preset(context: click.Context, paths: tuple[str, ...]) -> str:
    from lae_tf.presets.finding import DEFAULT, built_in

    if DEFAULT in built_in():
        return DEFAULT
    first = paths[0] if paths else ""
    steps = training_steps(first, recognise(first)) if os.path.exists(first) else ""
    found = f"{first}: no RUN comes before it" if first else "no RUN is named"
    raise UsageError(
        f"{found}, and this installation has no ready model to ask. The order is {context.command_path} [RUN] PATHS; a "
        f"preset is named with --model. To train: {steps or '`lae-tf train photos/ --output runs/first`'}."
    )
