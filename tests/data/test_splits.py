"""Splits: groups whole, each with every label and method, by the shares, the same for the same seed."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lae_tf.data.splits import divide, most_splits
from lae_tf.errors import UsageError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
METHODS = ("", "a", "b", "c")


def groups_of(kinds):
    """Groups by what they hold: lists of methods, '' for real images; a group has 1 to 20 images of each."""
    one = st.dictionaries(st.sampled_from(kinds), st.integers(1, 20), min_size=1, max_size=len(kinds))
    return st.dictionaries(st.text(max_size=4), one, min_size=1, max_size=14)


def labels(groups, home, split):
    return {bool(method) for group in groups if home[group] == split for method in groups[group]}


def images(groups, method, within=None):
    return sum(methods.get(method, 0) for group, methods in groups.items() if within is None or group in within)


@given(groups=groups_of(METHODS), seed=st.integers(0, 3))
def test_each_split_has_every_label_or_it_is_refused(groups, seed):
    """Three groups of each label, whether or not they hold both, are enough and necessary."""
    present = {bool(method) for methods in groups.values() for method in methods}
    holding = [sum(any(bool(m) == label for m in methods) for methods in groups.values()) for label in present]
    assert most_splits(groups) == min(holding)
    if min(holding) < 3:
        with pytest.raises(UsageError, match=r"cannot fill the splits train, val, test.*--splits"):
            divide(groups, SHARES, seed)
        return
    home = divide(groups, SHARES, seed)
    assert home.keys() == groups.keys()
    assert all(labels(groups, home, split) == present for split in SHARES)


@settings(max_examples=40)
@given(groups=groups_of(("", "a")).filter(lambda groups: len(groups) <= 6))
def test_it_refuses_only_what_no_division_could_give(groups):
    present = {bool(method) for methods in groups.values() for method in methods}
    every = (dict(zip(groups, choice, strict=True)) for choice in itertools.product(SHARES, repeat=len(groups)))
    possible = any(all(labels(groups, home, split) == present for split in SHARES) for home in every)
    assert possible == (most_splits(groups) >= 3)


@given(
    numbers=st.fixed_dictionaries({"": st.integers(3, 12), "a": st.integers(1, 8), "b": st.integers(3, 8)}),
    size=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_each_method_is_in_train_and_in_each_split_where_it_has_groups_enough(numbers, size, seed):
    groups = {f"{method}{i}": {method: size} for method, number in numbers.items() for i in range(number)}
    home = divide(groups, SHARES, seed)
    for method, number in numbers.items():
        found = {home[f"{method}{i}"] for i in range(number)}
        expected = {1: {"train"}, 2: {"train", "test"}}.get(number, set(SHARES))
        assert found == expected


@given(groups=groups_of(METHODS).filter(lambda groups: most_splits(groups) >= 3), seed=st.integers(0, 3))
def test_the_order_of_groups_and_methods_says_nothing(groups, seed):
    shuffled = [(name, dict(random.sample(list(methods.items()), len(methods)))) for name, methods in groups.items()]
    random.shuffle(shuffled)
    assert divide(dict(shuffled), SHARES, seed) == divide(groups, SHARES, seed)


@settings(max_examples=20)
@given(
    sizes=st.lists(st.tuples(st.sampled_from(("", "a", "b")), st.integers(1, 5)), min_size=30, max_size=150),
    seed=st.integers(0, 3),
)
def test_shares_hold_for_each_label_and_method(sizes, seed):
    groups = {
        f"{i}": {method: size} for i, (method, size) in enumerate([*sizes, *[(m, 2) for m in ("", "a", "b") * 3]])
    }
    home = divide(groups, SHARES, seed)
    for method in ("", "a", "b"):
        for split, share in SHARES.items():
            within = {group for group in groups if home[group] == split}
            # A group has up to 5 images, and one goes to a split before the others are known.
            assert abs(images(groups, method, within) - share * images(groups, method)) <= 5


def test_groups_of_one_image_are_apportioned_exactly():
    groups = {f"{i}": {"" if i % 2 else "m": 1} for i in range(200)}
    home = divide(groups, SHARES, 0)
    for parity in (0, 1):
        found = [home[f"{i}"] for i in range(parity, 200, 2)]
        assert [found.count(split) for split in SHARES] == [70, 10, 20]
    assert divide(groups, SHARES, 0) == home != divide(groups, SHARES, 1)


def test_a_large_group_goes_where_it_fits():
    groups = {"film": {"": 500}} | {f"{i}": {"" if i % 2 else "m": 5} for i in range(100)}
    assert divide(groups, SHARES, 0)["film"] == "train"


def test_three_and_three_videos_with_methods_in_the_groups_of_their_sources():
    groups = {f"r{i}": {"": 8} for i in range(3)} | {f"f{i}": {"swap": 8} for i in range(3)}
    for seed in range(20):
        home = divide(groups, SHARES, seed)
        assert {home[f"r{i}"] for i in range(3)} == {home[f"f{i}"] for i in range(3)} == set(SHARES)
    both = {"pair": {"": 8, "swap": 8}, "r": {"": 8}, "f": {"swap": 8}, "other": {"": 1, "swap": 1}}
    home = divide(both, SHARES, 0)
    assert home["r"] == home["f"] != home["pair"] != home["other"] != home["r"]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"r": {"": 5}, **{f"f{i}": {"m": 5} for i in range(9)}}, "1 group with real images .*--splits 1 0 0"),
        ({**{f"r{i}": {"": 5} for i in range(9)}, "a": {"m": 5}, "b": {"m": 1}}, "2 groups with fake .* 0.8 0.2 0"),
        ({"a": {"": 5}, "b": {"": 5}}, "2 groups cannot fill the splits train, val, test.*add other ones"),
    ],
)
def test_what_cannot_be_divided_is_refused_with_the_remedy(groups, said):
    with pytest.raises(UsageError, match=said):
        divide(groups, SHARES, 0)
    fewer = {"train": 0.8, "val": 0.2} if most_splits(groups) == 2 else {"train": 1.0}
    assert set(divide(groups, fewer, 0).values()) == set(fewer)
