"""Splits for what the data set leaves open: whole groups, by a seed."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from lae_tf.data.contract import SPLITS, require_shares
from lae_tf.data.layouts.samples import Sample
from lae_tf.errors import UsageError


def assign(samples: Sequence[Sample], shares: tuple[float, float, float], seed: int) -> tuple[list[Sample], list[str]]:
    """Give every sample a split.

    Groups with a split of the data set keep it. Where the data set puts a group into several splits, the
    last of train, val, test wins and the members in the others are left out. All other groups are divided
    among the splits that the data set does not name, and go to train if it names each (our rules).

    Args:
        samples: their ``split`` is set in place.
        shares: of images for train, val and test.
        seed: same seed and groups, same splits.

    Returns:
        The samples to use, and one sentence for each group of which members were left out.

    Raises:
        UsageError: the shares are not shares, or there are too few groups.
    """
    require_shares(shares)
    given: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.split:
            given[sample.group].add(sample.split)
    home = {group: max(splits, key=SPLITS.index) for group, splits in given.items()}
    kept: list[Sample] = []
    left: Counter[str] = Counter()
    for sample in samples:
        if sample.split and sample.split != home[sample.group]:
            left[sample.group] += 1
        else:
            kept.append(sample)
    sentences = [
        f"group {group}: {count} images left out, since others of the group are in the data set's {home[group]} split"
        for group, count in left.items()
    ]
    sizes = Counter(sample.group for sample in kept if sample.group not in home)
    named = set(home.values())
    wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if share > 0 and split not in named}
    if sizes:
        if not wanted:
            wanted = {"train": 1.0}
        home.update(_divide(sizes, wanted, seed))
    for sample in kept:
        sample.split = home[sample.group]
    return kept, sentences


def _divide(sizes: Counter[str], shares: dict[str, float], seed: int) -> dict[str, str]:
    """Give each group to the split that lacks most, those too large for the smallest split first."""
    if len(sizes) < len(shares):
        raise UsageError(f"{len(sizes)} groups cannot fill the splits {', '.join(shares)}; set a share to 0")
    total, whole = sum(sizes.values()), sum(shares.values())
    lacking = {split: share / whole * total for split, share in shares.items()}
    large = min(lacking.values())
    order = sorted(
        sizes,
        key=lambda group: (
            -max(sizes[group] - large, 0),
            hashlib.sha256(f"{seed}\0{group}".encode("utf-8", "surrogateescape")).digest(),
        ),
    )
    home: dict[str, str] = {}
    empty = set(shares)
    for position, group in enumerate(order):
        # the last groups are kept for splits that would have none
        choice = empty if len(order) - position == len(empty) else set(shares)
        split = max(sorted(choice), key=lambda name: lacking[name])
        home[group] = split
        lacking[split] -= sizes[group]
        empty.discard(split)
    return home
