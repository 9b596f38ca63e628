"""Each peer's learning rate: of three, the one with the best validation after a short training, chosen once a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras

from lae_tf.comparison.peers import build_peer
from lae_tf.comparison.train_peer import fit_peer
from lae_tf.config.sections import Config
from lae_tf.errors import LAEError
from lae_tf.files.atomic import write_text
from lae_tf.files.json_files import read_object
from lae_tf.files.locking import locked

TRIED = (1.0, 1 / 3, 3.0)
"""Times the peer's own rate, which wins where several are equal."""


def choose_rate(name: str, config: Config, file: Path, settings: dict[str, Any]) -> dict[str, float]:
    """Train a peer at each of three learning rates, unless a file tells how that went.

    Args:
        name: of the peer.
        config: of one of these trainings, with the peer's own rate in ``pretrain``.
        file: JSON; is written after each of the trainings, so that a choice cut short goes on.
        settings: all that the outcome depends on; a file that holds others is begun anew.

    Returns:
        The AUROC on validation of each rate, by the rate's digits; 0 where training diverged.

    Raises:
        LAEError: another process is at it.
    """
    auroc = _kept(file, settings)
    if len(auroc) == len(TRIED):
        return auroc
    refusal = f"{name}: another process chooses its learning rate; wait for it, or end it."
    with locked(file.with_suffix(".lock"), refusal):
        auroc = _kept(file, settings)
        for share in TRIED:
            rate = f"{config.pretrain.learning_rate * share:.2e}"
            if rate in auroc:
                continue
            keras.utils.set_random_seed(config.seed)
            try:
                fitted = fit_peer(
                    build_peer(name, config.data.image_size, config.data.view), at_rate(config, float(rate))
                )
                auroc[rate] = fitted.auroc
            except LAEError:  # diverged; data that cannot be trained on are refused by the cell's own training, too
                auroc[rate] = 0.0
            keras.backend.clear_session()
            write_text(file, json.dumps({"settings": settings, "auroc": auroc}, indent=2))
    return auroc


def _kept(file: Path, settings: dict[str, Any]) -> dict[str, float]:
    kept = read_object(file) if file.is_file() else {}
    return kept["auroc"] if kept.get("settings") == settings else {}


def best_rate(auroc: dict[str, float]) -> float:
    """Return the rate with the highest AUROC, of equal ones the first."""
    return float(max(auroc, key=auroc.__getitem__))


def at_rate(config: Config, rate: float) -> Config:
    """Return a configuration with another learning rate for the peers."""
    return config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"learning_rate": rate})})
