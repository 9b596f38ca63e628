"""The gallery of channels: an HTML page by which a person may overrule what superficiality says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lae_tf.data.pipeline import image_dataset
from lae_tf.evaluation import panels, plots
from lae_tf.evaluation.report import Picture, Section, Table, write_report
from lae_tf.model.lae import LAE

if TYPE_CHECKING:
    from lae_tf.selection.select import Choice

SHOWN_CHANNELS = 24


def write_gallery(path: Path, model: LAE, choice: Choice) -> None:
    """Write the page: all channels as a table, and the strongest with their top images and mean map.

    Args:
        path: of the HTML file.
        model: gives each channel's activation on its top images.
        choice: holds the pool and the concepts.
    """
    concepts = choice.concepts
    strongest = np.argsort(-concepts.on_fakes)
    table = pd.DataFrame(
        {
            "channel": [str(channel) for channel in strongest],
            "superficiality": concepts.superficiality[strongest],
            "evidence on fakes": concepts.on_fakes[strongest],
            "evidence on real images": concepts.on_reals[strongest],
            "share inside masks": concepts.inside[strongest],
            "row": concepts.centroid[strongest, 0],
            "column": concepts.centroid[strongest, 1],
            "spread": concepts.spread[strongest],
        }
    )
    pictures = []
    for channel in strongest[:SHOWN_CHANNELS]:
        if concepts.on_fakes[channel] <= 0:
            break
        value = concepts.superficiality[channel]
        said = "by verdict" if concepts.judged[channel] else f"{value:.2f}"
        caption = f"Channel {channel}: superficiality {said}. Last: where it fires on average."
        pictures.append(Picture(_strip(model, choice, int(channel)), caption, f"Top images of channel {channel}", True))
    how = (
        "A channel is superficial where it also fires on real images or outside known forged regions. To overrule "
        "it, write a YAML file such as\n\n17: superficial\n40: keep\n\nand give it to lae-tf select --verdicts FILE."
    )
    write_report(
        path,
        "Channel gallery",
        [
            Section("How to use this page", how),
            Section("Top images", pictures=pictures),
            Section("All channels", tables=[Table(table, "Strongest first")]),
        ],
        subtitle=f"{len(concepts.on_fakes)} channels of the last feature maps",
    )


def _strip(model: LAE, choice: Choice, channel: int) -> bytes:
    rows = choice.concepts.top[channel]
    files = [str(choice.pool.frame["path"][row]) for row in rows]
    tiles, captions = [], []
    for images in image_dataset(files, model.preprocessor, len(files)):
        maps = model.forward(images, training=False)["features"].numpy()[..., channel]
        for image, heat in zip(images.numpy(), maps, strict=True):
            tiles.append(panels.overlay(image, _full_size(heat, model.image_size)))
            captions.append(f"{choice.features.evidence[rows[len(tiles) - 1], channel]:.2f}")
    mean = _full_size(choice.concepts.maps[..., channel], model.image_size)
    tiles.append(np.rint(255 * np.repeat(mean[..., None], 3, axis=-1)).astype(np.uint8))
    captions.append("mean")
    return plots.png(panels.contact_sheet(tiles, captions, columns=len(tiles)))


def _full_size(heat: np.ndarray, size: int) -> np.ndarray:
    """Scale a map (h, w) to its own maximum and enlarge it to (size, size)."""
    peak = heat.max()
    scaled = np.clip(heat / peak, 0, 1) if peak > 0 else np.zeros_like(heat)
    return np.kron(scaled, np.ones((size // heat.shape[0], size // heat.shape[1])))
