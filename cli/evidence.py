"""Where in an image something was found: the options of `lae-tf predict`, and who answers them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_tf.cli.output_path import OutputPath
from lae_tf.errors import UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.predict.evidence_places import EvidencePlaces
from lae_tf.predict.heatmap_names import picture_names

if TYPE_CHECKING:
    from lae_tf.predict.evidence import EvidenceWriter

NAMES = ("heatmaps", "max_side", "masks", "maps", "regions")
"""Of the parameters."""


def evidence_options(command: Callable) -> Callable:
    """Add options for evidence; the command gets them as one argument, ``places``."""
    options = (
        click.option(
            "--heatmaps",
            type=OutputPath(file_okay=False),
            help="Write each image with its attention here, as PNG of its own size (with --server of the model's): "
            "grey, where there is any violet to yellow.",
        ),
        max_side_option("With --heatmaps: scale them down to this many pixels on the longer side."),
        click.option(
            "--masks",
            type=OutputPath(file_okay=False),
            help="Write a mask of each image here, as PNG of its own size: 255 where attention is above 0.5, 0 "
            "elsewhere.",
        ),
        click.option(
            "--maps",
            type=OutputPath(file_okay=False),
            help="Write the attention here as the model gives it, as 16-bit PNG: a value / 65535 is the attention.",
        ),
        click.option(
            "--regions",
            metavar="FILE",
            type=OutputPath(dir_okay=False),
            help="Write the regions of all images here, with box, area and score: as .json, .csv or .coco.json.",
        ),
    )

    @functools.wraps(command)
    def gathered(*arguments: Any, **given: Any) -> Any:
        asked = {name: given.pop(name) for name in NAMES}
        if asked["max_side"] and not asked["heatmaps"]:
            raise UsageError("--max-side is the size of heatmaps; give --heatmaps, the folder to write them to.")
        folders = {name: Path(place) for name, place in asked.items() if place and name != "max_side"}
        return command(*arguments, places=EvidencePlaces(max_side=asked["max_side"], **folders), **given)

    for option in reversed(options):
        gathered = option(gathered)
    return gathered


def max_side_option(text: str) -> Callable[[Callable], Callable]:
    """Return the option ``--max-side`` with its help."""
    return click.option("--max-side", type=click.IntRange(16), metavar="PIXELS", help=text)


def evidence_writer(places: EvidencePlaces, files: list[str] | str, server: bool) -> EvidenceWriter | DrawnByServer:
    """Return what writes the evidence of predictions, one after another.

    Args:
        places: what is asked for.
        files: all images, or the folder that is watched for them.
        server: a server makes the predictions.

    Raises:
        UsageError: a server cannot give it, the name of the file of regions does not say its format, or pictures
            would arrive in the watched folder.
    """
    if isinstance(files, str):
        for place in places.all():
            if place.resolve().is_relative_to(Path(files).resolve()):
                raise UsageError(f"{place} lies in {files}, where pictures would be scored; choose another folder.")
    if not server:
        from lae_tf.predict.evidence import EvidenceWriter

        return EvidenceWriter(places, files)
    for name in NAMES[1:]:
        if getattr(places, name):
            raise UsageError(
                f"--{name.replace('_', '-')} needs the attention itself, and a server sends a drawn heatmap of its "
                "model's size alone; name a RUN in place of --server."
            )
    return DrawnByServer(places.heatmaps, files)


class DrawnByServer:
    """Keeps the heatmaps that a server draws.

    Args:
        folder: for them; None keeps none.
        files: as for :func:`evidence_writer`.
    """

    def __init__(self, folder: Path | None, files: list[str] | str):
        self._folder = folder
        self._name_of = picture_names(files)

    def add(self, prediction: Any) -> dict[str, str]:
        """Write the heatmap of a prediction, where wanted; return the field of its record."""
        if not self._folder:
            return {}
        path = self._folder / self._name_of(prediction.path)
        write_bytes(path, prediction.heatmap_png)
        return {"heatmap": str(path)}

    def finish(self) -> None:
        """Do nothing: all is written."""
