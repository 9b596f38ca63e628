"""Splits for what the data set leaves open: whole groups, by a seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from lae_tf.data.contract import SPLITS, require_shares
from lae_tf.data.splits import DEFAULT_SHARES, FEWER_SHARES, Groups, divide, most_splits
from lae_tf.datasets.layouts.samples import Sample


def assign(
    samples: Sequence[Sample], shares: tuple[float, float, float] | None, seed: int
) -> tuple[list[Sample], list[str]]:
    """Give every sample a split.

    Groups with a split of the data set keep it. Where the data set puts a group into several splits, the
    last of train, val, test wins and the members in the others are left out. All other groups are divided
    among the splits that the data set does not name, by label and method, and go to train if it names each (our rules).

    Args:
        samples: their ``split`` is set in place.
        shares: of images for train, val and test; None takes the usual ones, and leaves out test, then val, where not
            every split could have each label.
        seed: same seed and groups, same splits.

    Returns:
        The samples to use, and one sentence for each group of which members were left out.

    Raises:
        UsageError: the shares are not shares, or too few groups hold one of the labels.
    """
    require_shares(shares or DEFAULT_SHARES)
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
    groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in kept:
        if sample.group not in home:
            groups[sample.group][sample.method] += 1
    if groups:
        home.update(divide(groups, _wanted(shares, set(home.values()), groups), seed))
    for sample in kept:
        sample.split = home[sample.group]
    return kept, sentences


def _wanted(shares: tuple[float, float, float] | None, named: set[str], groups: Groups) -> dict[str, float]:
    """Return the shares of the splits that groups without one are divided among."""
    for offer in [shares] if shares else [DEFAULT_SHARES, *FEWER_SHARES.values()]:
        wanted = {split: share for split, share in zip(SPLITS, offer, strict=True) if share > 0 and split not in named}
        if len(wanted) <= most_splits(groups):
            break
    return wanted or {"train": 1.0}
