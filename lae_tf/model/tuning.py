"""Which of a model's weights are trained: all of them, or the part that learns new data without unlearning old."""

from __future__ import annotations

from typing import Any

PARTS = ("all", "last", "head")
"""``all``; ``last``, the fine encoder's last stage, what mixes features, the gate, head and decoder; ``head`` alone."""


def set_tuned(model: Any, part: str) -> None:
    """Freeze all weights of an LAE but those of a part; frozen batch normalisation keeps its statistics.

    Args:
        model: an LAE; compiled before, it has to be compiled again.
        part: one of ``PARTS``.

    Raises:
        ValueError: another part.
    """
    if part not in PARTS:
        raise ValueError(f"tuned is one of {', '.join(PARTS)}. Received {part!r}.")
    last = len(model.hyperparameters.widths) - 1
    tuned = {"all": "", "last": (f"stage{last}_", "mix_", "trunk_mix_", "gate"), "head": ()}[part]
    for layer in model.encoder.layers:
        for piece in layer.layers if layer.name in ("fine", "robust") else [layer]:
            piece.trainable = piece.name.startswith(tuned)
    model.decoder.trainable = part != "head"
    model.tuned = part
