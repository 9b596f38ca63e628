"""The gallery of channels: an HTML page by which a person may overrule what superficiality says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lae_tf.data.pipeline import image_dataset
from lae_tf.model.lae import LAE
from lae_tf.report import panels
from lae_tf.report.page import Example, Section, Shot, Table, write_report
from lae_tf.selection.choosing import Choice

SHOWN_CHANNELS = 24
VERDICTS_EXAMPLE = "17: superficial\n40: keep"


def write_gallery(path: Path, model: LAE, choice: Choice) -> None:
    """Write the page: all channels as a table, and the strongest with their top images and mean map.

    Args:
        path: of the HTML file.
        model: gives each channel's activation on its top images.
        choice: holds the candidates and the concepts.
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
    examples = []
    for channel in strongest[:SHOWN_CHANNELS]:
        if concepts.on_fakes[channel] <= 0:
            break
        value = concepts.superficiality[channel]
        said = "by verdict" if concepts.judged[channel] else f"{value:.2f}"
        examples.append(Example(_strip(model, choice, int(channel)), f"Channel {channel}: superficiality {said}"))
    how = (
        "A channel is superficial where it also fires on real images or outside known forged regions. To overrule "
        "it, write a YAML file such as the one below, and give it to lae-tf select --verdicts FILE."
    )
    heat = (
        "the channel's activation in shares of its maximum in the image; below an image stands the channel's evidence "
        "for fake, and the last picture is where it fires on average"
    )
    write_report(
        path,
        "Channel gallery",
        [
            Section("How to use this page", how, code=VERDICTS_EXAMPLE),
            Section("Top images", heat=heat, examples=examples),
            Section("All channels", tables=[Table(table, "Strongest first")]),
        ],
        subtitle=f"{len(concepts.on_fakes)} channels of the last feature maps",
    )


def _strip(model: LAE, choice: Choice, channel: int) -> list[Shot]:
    rows = choice.concepts.top[channel]
    files = [str(choice.candidates.frame["path"][row]) for row in rows]
    shots: list[Shot] = []
    for images in image_dataset(files, model.preprocessor, len(files)):
        maps = model.forward(images, training=False)["features"].numpy()[..., channel]
        for image, heat in zip(images.numpy(), maps, strict=True):
            evidence = choice.features.evidence[rows[len(shots)], channel]
            shots.append(Shot.of(panels.overlay(image, _full_size(heat, model.image_size)), f"{evidence:.2f}"))
    return [*shots, Shot.of(_full_size(choice.concepts.maps[..., channel], model.image_size), "mean")]


def _full_size(heat: np.ndarray, size: int) -> np.ndarray:
    """Scale a map (h, w) to its own maximum and enlarge it to (size, size)."""
    peak = heat.max()
    scaled = np.clip(heat / peak, 0, 1) if peak > 0 else np.zeros_like(heat)
    return np.kron(scaled, np.ones((size // heat.shape[0], size // heat.shape[1])))
