"""Whether masks can be what they claim to be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lae_tf.audit.comparison import Comparison
from lae_tf.audit.findings import Finding, finding

_FULL = 0.99
_BETWEEN = 0.02  # share of pixels; anti-aliased outlines have fewer
_OUTSIDE = 0.5  # of what differs
_BY_CHANCE = 0.05  # of the masks, where compression or noise may look like an edit
_SHIFTED = 0.05  # of what differs, if a shift of the mask takes most of it away


def check_masks(facts: pd.DataFrame, compared: Sequence[Comparison]) -> list[Finding]:
    """Find masks that are empty, full, of another size, neither black nor white, or not where the image differs.

    A mask is misplaced if more than half of what differs from the source lies outside it, or more than a twentieth
    and moving the mask brings nearly all of that inside. That is a warning instead of a fault if it befalls at most
    5 % of the masks, and only where the whole image was processed after forging. The limits are ours.

    Args:
        facts: of ``read_facts``.
        compared: of ``compare_with_sources``.
    """
    masked = facts[(facts["label"] == "fake") & facts["mask_width"].notna()]
    if masked.empty:
        return []
    found = []

    def report(severity, bad, sentence):  # type: ignore[no-untyped-def]
        if bad.any():
            files = masked.loc[bad, ["path", "mask"]].itertuples(index=False, name=None)
            found.append(finding(severity, "masks", f"{int(bad.sum())} of {len(masked)} masks {sentence}", files))

    ratio = (masked["mask_width"] / masked["mask_height"]) / (masked["width"] / masked["height"])
    # rounding when an image was scaled moves the ratio by up to a pixel
    other_shape = np.abs(np.log(ratio)) > 1.5 / masked[["width", "height", "mask_width", "mask_height"]].min(axis=1)
    other_size = (masked["mask_width"] != masked["width"]) | (masked["mask_height"] != masked["height"])
    empty, full = masked["mask_share"] == 0, masked["mask_share"] > _FULL
    report("fault", empty, "of fakes mark nothing: they claim that nothing was forged; leave the column empty instead.")
    report("warning", full, "mark the whole image: right for images made from nothing, and then they teach no place.")
    report("fault", other_shape, "have another aspect ratio than their image, so they cannot lie on it.")
    report(
        "warning",
        other_size & ~other_shape,
        "have another size than their image: they are scaled to it, and their outlines become coarse.",
    )
    report(
        "warning",
        masked["mask_between"] > _BETWEEN,
        "hold values between black and white: the half is taken as the limit; write masks as PNG in two values.",
    )
    misplaced = [one for one in compared if _is_misplaced(one)]
    if misplaced:
        number = sum(not np.isnan(one.outside) for one in compared)
        moved = [one.shift for one in misplaced if one.outside_shifted < 0.25 * one.outside]
        hint = f"; {len(moved)} would fit if moved, the first by {moved[0]} pixels (right, down)" if moved else ""
        message = (
            f"{len(misplaced)} of {number} masks that could be held against their source are not where the image "
            f"differs from it{hint}. Such masks teach wrong places."
        )
        misplaced.sort(key=lambda one: -one.outside)
        files = [(one.fake, one.mask, one.source) for one in misplaced]
        certain = any(one.exact for one in misplaced) or len(misplaced) > _BY_CHANCE * number
        found.append(finding("fault" if certain else "warning", "masks", message, files))
    return found


def _is_misplaced(one: Comparison) -> bool:
    return one.outside > _OUTSIDE or (one.outside > _SHIFTED and one.outside_shifted < 0.25 * one.outside)
