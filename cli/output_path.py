"""Places for results, refused before the work where nothing can be written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class OutputPath(click.Path):
    """A file or folder that a command will write; what is missing of its path will be made.

    A file is replaced by renaming, so that it is its folder that must be writable.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        converted = super().convert(value, param, ctx)
        path = Path(os.path.abspath(os.fsdecode(converted)))
        place = path if self.dir_okay and path.is_dir() else path.parent
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            self.fail(
                f"{os.fsdecode(converted)}: cannot be made, for {place} is no folder; choose another place.", param, ctx
            )
        if not os.access(place, os.W_OK | os.X_OK):
            self.fail(f"{os.fsdecode(converted)}: {place} cannot be written to; choose another place.", param, ctx)
        return converted
