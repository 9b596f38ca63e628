"""Where evidence goes: what a command or a program asks to be written. Imports no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvidencePlaces:
    """Where evidence is written; what is None is not.

    Attributes:
        heatmaps: folder of the images with their attention laid over, as PNG.
        max_side: longest side of these in pixels; None keeps the size of the file.
        masks: folder of masks, PNG of 8 bits and of the file's size, 255 where attention is above 0.5, 0 elsewhere.
        maps: folder of the attention as the model gave it, PNG of 16 bits: a value / 65535 is the attention.
        regions: file of regions, see :class:`lae_tf.predict.regions_file.RegionsFile`.
    """

    heatmaps: Path | None = None
    max_side: int | None = None
    masks: Path | None = None
    maps: Path | None = None
    regions: Path | None = None

    def all(self) -> list[Path]:
        """Return the places that are written to."""
        return [place for place in (self.heatmaps, self.masks, self.maps, self.regions) if place]
