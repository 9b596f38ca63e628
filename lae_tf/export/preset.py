"""A trained run as a preset: its model, with a card that says what the run knows of it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from lae_tf.errors import UsageError
from lae_tf.export.model_card import card_page, describe_model
from lae_tf.export.parity import Parity, check_reloaded, write_golden
from lae_tf.model.lae import LAE
from lae_tf.model.preset import build_from, preset_of
from lae_tf.presets.folder import FORMAT, write_preset
from lae_tf.training.run import Run

_TOLERANCE = 1e-6  # the same weights in the same network


def export_preset(run: Run, folder: Path) -> Parity:
    """Write a run's model as a preset.

    Args:
        run: the trained run.
        folder: is made.

    Returns:
        What golden images scored by the run's model and by the preset's differ in.

    Raises:
        UsageError: the folder exists, or the run is not trained.
        ParityError: the preset scores differently; nothing is written.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already; a preset is never overwritten. Choose another folder.")
    model, name = run.load_model(), folder.resolve().name
    preset = preset_of(model, name)
    reloaded = build_from(LAE, preset)
    if model.view == "faces":  # the golden images show none
        model.view = reloaded.view = "whole"
    with tempfile.TemporaryDirectory() as work:
        write_golden(model, Path(work, "golden"), _TOLERANCE)
        parity = check_reloaded(reloaded, Path(work, "golden"))
        empty = Path(work, "files")  # SHA256SUMS has the hashes, the card's own among them
        empty.mkdir()
        card = {**describe_model(run, FORMAT, "preset", empty, parity), "name": name}
    write_preset(folder, replace(preset, card=card_page(card)))
    return parity
