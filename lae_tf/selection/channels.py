"""Channel concepts: what each channel of the last feature maps responds to, and how superficial that is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lae_tf.config.yaml_values import YAML_ERRORS
from lae_tf.errors import UsageError
from lae_tf.selection.features import ChannelActivity, Features

VERDICTS = {"keep": 0.0, "superficial": 1.0}
TOP_IMAGES = 6


@dataclass(frozen=True)
class ChannelConcepts:
    """What is known of C channels after a pass over fakes and real images.

    Superficiality is our definition. With f_k and r_k the mean evidence of channel k on fakes and on real
    images, the realness is rho_k = min(1, r_k / f_k): 1 for a channel that fires on real images as strongly as
    on fakes. With i_k the share of its evidence inside known masks,

        superficiality_k = 1 - (1 - rho_k) * i_k

    A channel is sound only if it fires on fakes alone *and* inside forged regions. While no fake has a mask, or
    channel k never fires on one that has, i_k is taken as 1 and real images alone decide. A person's verdict
    replaces the value by 0 (keep) or 1 (superficial).

    Attributes:
        on_fakes: (C,) f_k.
        on_reals: (C,) r_k.
        inside: (C,) i_k, NaN where not known.
        superficiality: (C,) in [0, 1].
        centroid: (C, 2) row and column of the evidence on fakes, each in [0, 1].
        spread: (C,) root mean square distance from the centroid, in units of the map's side.
        maps: (h, w, C) mean evidence on fakes.
        top: (C, TOP_IMAGES) rows of the candidates with the most evidence from each channel.
        judged: (C,) bool, True where a person gave a verdict.
    """

    on_fakes: np.ndarray
    on_reals: np.ndarray
    inside: np.ndarray
    superficiality: np.ndarray
    centroid: np.ndarray
    spread: np.ndarray
    maps: np.ndarray
    top: np.ndarray
    judged: np.ndarray

    def superficial_share(self, evidence: np.ndarray) -> np.ndarray:
        """Return for each image (N,) the share in [0, 1] of its evidence that superficial channels bring."""
        total = evidence.sum(axis=1)
        return np.divide(evidence @ self.superficiality, total, out=np.zeros_like(total), where=total > 0)

    def reason(self, evidence: np.ndarray) -> str:
        """Say in words where the evidence (C,) of one image comes from."""
        total = float(evidence.sum())
        if total <= 0:
            return "no evidence for fake at all"
        blame = evidence * self.superficiality
        order = [k for k in np.argsort(-blame)[:3] if blame[k] >= 0.1 * blame.sum() and blame[k] > 0]
        if not order:
            return "evidence from sound channels only"
        share = round(100 * float(evidence[order].sum()) / total)
        names = " and ".join(
            [", ".join(str(k) for k in order[:-1]), str(order[-1])] if len(order) > 1 else [str(order[0])]
        )
        noun = "channels" if len(order) > 1 else "channel"
        verb = "fire" if len(order) > 1 else "fires"
        known = self.inside[order][~np.isnan(self.inside[order])]
        on_reals = float(np.mean(self.on_reals[order] / np.maximum(self.on_fakes[order], 1e-12)))
        if len(known) and 1 - float(known.mean()) > on_reals:
            return f"{share} % of the evidence from {noun} {names}, which {verb} outside known forged regions"
        return f"{share} % of the evidence from {noun} {names}, which also {verb} on real images"


def describe_channels(
    candidates: Features,
    candidate_activity: ChannelActivity,
    annotated: Features | None,
    annotated_activity: ChannelActivity | None,
    reals: Features,
    verdicts: dict[int, str] | None = None,
) -> ChannelConcepts:
    """Describe every channel from the candidates, the annotated fakes and real images.

    Args:
        candidates: unlabelled fakes, with their activity.
        annotated: fakes with masks and their activity; None while there are none.
        reals: real images.
        verdicts: a person's, by channel.
    """
    fakes = candidates.evidence if annotated is None else np.concatenate([candidates.evidence, annotated.evidence])
    on_fakes, on_reals = fakes.mean(axis=0), reals.evidence.mean(axis=0)
    realness = np.minimum(1.0, np.divide(on_reals, on_fakes, out=np.ones_like(on_fakes), where=on_fakes > 0))
    inside = np.full(len(on_fakes), np.nan)
    if annotated_activity is not None:
        fired = annotated_activity.total > 0
        inside[fired] = annotated_activity.inside[fired] / annotated_activity.total[fired]
    superficiality = 1.0 - (1.0 - realness) * np.where(np.isnan(inside), 1.0, inside)
    judged = np.zeros(len(on_fakes), bool)
    for channel, verdict in (verdicts or {}).items():
        superficiality[channel] = VERDICTS[verdict]
        judged[channel] = True
    centroid, spread = _moments(candidate_activity.map)
    return ChannelConcepts(
        on_fakes=on_fakes,
        on_reals=on_reals,
        inside=inside,
        superficiality=superficiality,
        centroid=centroid,
        spread=spread,
        maps=candidate_activity.map,
        top=np.argsort(-candidates.evidence, axis=0, kind="stable")[:TOP_IMAGES].T,
        judged=judged,
    )


def read_verdicts(path: Path, channels: int) -> dict[int, str]:
    """Read a YAML mapping of channel to ``keep`` or ``superficial``.

    Raises:
        UsageError: the file, a channel or a verdict is wrong.
    """
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, *YAML_ERRORS) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: holds {type(values).__name__}, expected a mapping such as '17: superficial'.")
    for channel, verdict in values.items():
        if not isinstance(channel, int) or not 0 <= channel < channels:
            raise UsageError(f"{path}: channel {channel!r} does not exist; the model has 0 to {channels - 1}.")
        if not isinstance(verdict, str) or verdict not in VERDICTS:
            raise UsageError(f"{path}: channel {channel} is {verdict!r}, expected keep or superficial.")
    return values


def _moments(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centroids (C, 2) and spreads (C,) of maps (h, w, C); the middle and 0 where a map is empty."""
    height, width = maps.shape[:2]
    rows = (np.arange(height) + 0.5) / height
    columns = (np.arange(width) + 0.5) / width
    mass = maps.sum(axis=(0, 1))
    safe = np.where(mass > 0, mass, 1.0)
    row = np.einsum("hwc,h->c", maps, rows) / safe
    column = np.einsum("hwc,w->c", maps, columns) / safe
    second = np.einsum("hwc,h->c", maps, rows**2) / safe + np.einsum("hwc,w->c", maps, columns**2) / safe
    spread = np.sqrt(np.maximum(0.0, second - row**2 - column**2))
    centroid = np.where((mass > 0)[:, None], np.stack([row, column], axis=1), 0.5)
    return centroid, np.where(mass > 0, spread, 0.0)
