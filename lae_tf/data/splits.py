"""Splits in which groups are whole and every split has its share of each label and method."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from lae_tf.data.contract import LABELS, SPLITS
from lae_tf.errors import UsageError

DEFAULT_SHARES = (0.7, 0.1, 0.2)
"""Of train, val and test."""
FEWER_SHARES = {2: (0.8, 0.2, 0.0), 1: (1.0, 0.0, 0.0)}
"""Number of splits -> shares for data of which not all three splits could have each label."""
_ATTEMPTS = 16  # orders tried, of which the best is taken
_MANY = 1000  # groups; with more, chance evens sizes out, and the first order that covers all methods will do

Groups = Mapping[str, Mapping[str, int]]
"""Group -> method -> number of images, more than zero; the method of real images is empty."""
_Stratum = tuple[str, str]


def most_splits(groups: Groups) -> int:
    """Return into how many splits groups can be divided so that none lacks a label that there is."""
    holding = Counter(label for methods in groups.values() for label in _labels(methods))
    return min(holding.values(), default=0)


def divide(groups: Groups, shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Give each group a split, so that the splits are alike.

    Every split gets each label that there is. A method with fewer groups than there are splits is in train first, then
    in the largest other split; one with more is in each, as far as groups that hold several methods allow. Beyond that
    each label and method is divided by the shares, counted in images.

    Args:
        groups: their names and numbers alone decide, not their order.
        shares: split -> share above zero.
        seed: same seed and groups, same splits.

    Raises:
        UsageError: too few groups hold one of the labels; says what to do.
    """
    shares = {split: shares[split] for split in SPLITS if split in shares}
    _require_enough(groups, list(shares))
    smallest = min(shares.values()) / sum(shares.values())
    tried: list[_Division] = []
    for attempt in range(_ATTEMPTS):
        tried.append(_Division(groups, shares))
        for group in _in_order(groups, smallest, f"{seed}\0{attempt}"):
            tried[-1].place(group)
        if len(groups) > _MANY and not tried[-1].faults()[0]:
            return tried[-1].home
    return min(tried, key=_Division.faults).home


def _require_enough(groups: Groups, splits: Sequence[str]) -> None:
    possible = most_splits(groups)
    if possible >= len(splits):
        return
    holding = Counter(label for methods in groups.values() for label in _labels(methods))
    scarce = [label for label in LABELS if holding[label] == possible] if len(holding) > 1 else []
    kind = f" with {' or '.join(scarce)} images" if scarce else ""
    counted = f"{possible} group{'' if possible == 1 else 's'}{kind}"
    fewer = " ".join(f"{share:g}" for share in FEWER_SHARES.get(possible, FEWER_SHARES[1]))
    raise UsageError(
        f"{counted} cannot fill the splits {', '.join(splits)}, as a group (video, identity or source image) stays "
        f"whole; add {' or '.join(scarce) or 'other'} ones, or ask for fewer splits (--splits {fewer})"
    )


def _in_order(groups: Groups, smallest: float, salt: str) -> list[str]:
    """Return the groups too large for the smallest split first, the largest ahead, and all others at random."""
    sizes = {group: sum(methods.values()) for group, methods in groups.items()}
    large = smallest * sum(sizes.values())

    def key(group: str) -> tuple[float, bytes, str]:
        digest = hashlib.sha256(f"{salt}\0{group}".encode("utf-8", "surrogateescape")).digest()
        return -max(sizes[group] - large, 0), digest, group

    return sorted(groups, key=key)


class _Division:
    """Groups placed one after another; a group goes where its labels and methods lack most."""

    def __init__(self, groups: Groups, shares: Mapping[str, float]):
        self.home: dict[str, str] = {}
        self._strata = {group: _strata(groups[group]) for group in sorted(groups)}
        self._labels = {group: _labels(methods) for group, methods in groups.items()}
        self._free = Counter(self._labels.values())
        self._known_labels = frozenset().union(*self._labels.values())
        self._missing = dict.fromkeys(shares, self._known_labels)
        whole = sum(shares.values())
        images: Counter[_Stratum] = Counter()
        self._waiting: Counter[_Stratum] = Counter()  # groups of each stratum that have no split yet
        for strata in self._strata.values():
            images.update(strata)
            self._waiting.update(strata.keys())
        self._wanted = {
            split: {stratum: share / whole * number for stratum, number in images.items()}
            for split, share in shares.items()
        }
        self._placed: dict[str, Counter[_Stratum]] = {split: Counter() for split in shares}
        order = sorted(shares, key=lambda split: (split != "train", -shares[split]))
        self._lacking = {stratum: set(order[:number]) for stratum, number in self._waiting.items()}

    def faults(self) -> tuple[int, float]:
        """Return how often a split lacks a stratum that it should have, and chi squared of all numbers of images."""
        chi_squared = sum(
            (self._placed[split][one] - wanted) ** 2 / wanted
            for split, strata in self._wanted.items()
            for one, wanted in strata.items()
        )
        return sum(map(len, self._lacking.values())), chi_squared

    def place(self, group: str) -> None:
        strata, labels = self._strata[group], self._labels[group]
        self._free[labels] -= 1
        self._waiting.subtract(strata.keys())
        split = min(filter(lambda name: self._leaves_enough(name, labels), self._placed), key=self._cost(strata))
        self.home[group] = split
        self._missing[split] -= labels
        self._placed[split].update(strata)
        for stratum in strata:
            self._lacking[stratum].discard(split)

    def _leaves_enough(self, split: str, labels: frozenset[str]) -> bool:
        """Whether the groups still to come can give every split each label, if this one goes to ``split``."""
        missing = {**self._missing, split: self._missing[split] - labels}
        needs = Counter(missing.values())
        both = frozenset(LABELS)
        # A group of both labels does the most where both are missing; those left over stand in for one of either.
        together = min(self._free[both], needs[both])
        apart = needs[both] - together
        short = sum(max(0, needs[one] + apart - self._free[one]) for one in map(_one, self._known_labels))
        return short <= self._free[both] - together

    def _cost(self, strata: Mapping[_Stratum, int]):  # type: ignore[no-untyped-def]
        """Return the cost of a split: how many strata would then miss one for good, and the growth of chi squared."""

        def cost(split: str) -> tuple[int, float]:
            unmet = sum(len(self._lacking[one] - {split}) > self._waiting[one] for one in strata)
            placed, wanted = self._placed[split], self._wanted[split]
            growth = sum((2 * placed[one] + number) * number / wanted[one] for one, number in strata.items())
            return unmet, growth

        return cost


def _one(label: str) -> frozenset[str]:
    return frozenset((label,))


def _labels(methods: Mapping[str, int]) -> frozenset[str]:
    return frozenset("fake" if method else "real" for method in methods)


def _strata(methods: Mapping[str, int]) -> dict[_Stratum, int]:
    """Return the number of images of each method and each label."""
    strata: Counter[_Stratum] = Counter()
    for method, number in sorted(methods.items()):
        if method:
            strata["method", method] += number
        strata["label", "fake" if method else "real"] += number
    return dict(strata)
