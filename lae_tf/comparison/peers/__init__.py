"""The peers that LAE is compared with, each after its paper, with the deviations listed, under one small registry."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lae_tf.comparison.peers.peer import Peer

# name -> (module, class); a peer's module is imported when it is built.
PEERS = {
    "mesoinception4": ("mesoinception", "MesoInception4"),
    "xception": ("xception", "XceptionPeer"),
    "forensictransfer": ("forensictransfer", "ForensicTransfer"),
    "residual-cnn": ("residual_cnn", "ResidualCNN"),
    "constrained-cnn": ("constrained_cnn", "ConstrainedCNN"),
    "statistics-cnn": ("statistics_cnn", "StatisticsCNN"),
    "ffd": ("ffd", "FFD"),
    "sbi": ("sbi", "SelfBlendedImages"),
    "lae-encoder": ("lae_encoder", "LAEEncoder"),
    "efficientnet-lite0": ("efficientnet_lite", "EfficientNetLite"),
}
PEER_SIZES = range(32, 257, 16)
"""Sides of the images that every peer takes, in pixels."""
PEER_VIEWS = ("whole", "windows")
"""What every peer can see of an image of another size."""


def peer_class(name: str) -> type[Peer]:
    """Return the class of a peer.

    Raises:
        KeyError: unknown name.
    """
    module, cls = PEERS[name]
    found: type[Peer] = getattr(importlib.import_module(f"lae_tf.comparison.peers.{module}"), cls)
    return found


def build_peer(name: str, image_size: int, view: str = "whole") -> Peer:
    """Return a peer, built and not compiled, for images of ``image_size`` pixels a side in a view.

    Raises:
        KeyError: unknown name.
    """
    cls = peer_class(name)
    return cls(image_size, view=view, name=cls.__name__.lower())
