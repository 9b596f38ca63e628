"""Names of an LAE's weights that both stacks give alike, for files that one writes and the other reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lae_tf.runtime.addons import weight_name


def named_weights(model: Any) -> dict[str, Any]:
    """Return the variables of an LAE by names such as ``encoder/fine/stem_conv/kernel``.

    A name holds those of the layers from the model down, and the variable's own. The discriminator, an aid of training,
    is left out: the stacks keep its weights differently.
    """
    parts = [layer for layer in model.layers if layer is not model.discriminator]
    named = [pair for part in parts for pair in _below(part, part.name)]
    found = dict(named)
    if len(found) < len(named):
        raise ValueError("some weights have the same name; a layer of the model lacks a name of its own")
    return found


def _below(layer: Any, place: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(layer, "layers", ())
    for one in inner:
        yield from _below(one, f"{place}/{one.name}")
    if not inner:
        yield from ((f"{place}/{weight_name(variable)}", variable) for variable in layer.weights)
