"""Pictures that lie in several splits, exactly or nearly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lae_tf.audit.codes import agreeing, differing_bits
from lae_tf.audit.findings import Finding, counted, finding

DISTANCE = 5  # bits of 63 by which near-duplicates may differ
_LEVELS = 8.0  # mean difference of their thumbnails
# More bands than bits may differ: two near-duplicates agree in at least one band entirely.
_BANDS = tuple((11 * i, 11 if i < 5 else 8) for i in range(6))


def check_duplicates(pairs: Sequence[tuple[str, str]]) -> list[Finding]:
    """Tell of images of one split that have a near-duplicate in another: of ``near_duplicates``."""
    if not pairs:
        return []
    message = (
        f"{counted(len(pairs), 'pair')} of near-identical pictures in different splits: what is measured there was "
        "seen in training. Give the pictures of a pair one group, and so one split."
    )
    return [finding("fault", "duplicates", message, pairs)]


def near_duplicates(facts: pd.DataFrame) -> list[tuple[str, str]]:
    """Return pairs of files of different splits that show nearly the same, the most similar first.

    Near-duplicates are our definition: perceptual hashes that differ by at most 5 of 63 bits, and 8 x 8 thumbnails
    that differ by at most 8 levels in the mean. Flat pictures are left out, and of pictures in one split with the same
    hash only the first is compared.

    Args:
        facts: of ``read_facts``.
    """
    table = facts[facts["hash"] >= 0].drop_duplicates(["hash", "split"]).reset_index(drop=True)
    hashes = table["hash"].to_numpy(dtype=np.uint64)
    splits = pd.factorize(table["split"])[0]
    close: dict[tuple[int, int], int] = {}
    for start, bits in _BANDS:
        band = (hashes >> np.uint64(start)) & np.uint64((1 << bits) - 1)
        for first, second in agreeing(band):
            across = splits[first] != splits[second]
            first, second = first[across], second[across]
            distances = differing_bits(hashes[first], hashes[second])
            for k in np.flatnonzero(distances <= DISTANCE).tolist():
                pair = sorted((int(first[k]), int(second[k])))
                close[pair[0], pair[1]] = int(distances[k])
    paths, thumbnails = table["path"].tolist(), table["thumbnail"].tolist()
    pairs = []
    for (i, j), distance in close.items():
        levels = float(np.abs(thumbnails[i].astype(int) - thumbnails[j]).mean())
        if levels <= _LEVELS:
            pairs.append((distance, levels, paths[i], paths[j]))
    return [(one, other) for _, _, one, other in sorted(pairs)]
