"""Every strategy keeps one contract; each ranks what it says it ranks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from lae_tf.errors import UsageError
from lae_tf.selection.features import Features
from lae_tf.selection.strategies import STRATEGIES, diversify, fewest_per_group, get_strategy

CLUSTERING = {"typical", "typical-concept", "probability-cover"}  # cut the candidates up by how many are wanted


def make_features(count: int, seed: int = 0, channels: int = 4) -> Features:
    rng = np.random.default_rng(seed)
    return Features(
        score=rng.random(count).astype(np.float32),
        latent=rng.normal(size=(count, channels)).astype(np.float32),
        evidence=rng.random((count, channels)).astype(np.float32),
        description=rng.normal(size=(count, channels)).astype(np.float32),
        spread=rng.random(count).astype(np.float32),
        reconstruction_error=rng.random(count).astype(np.float32),
        group=np.array([f"g{i % 3}" for i in range(count)], dtype=object),
        superficial=rng.random(count).astype(np.float32),
    )


@pytest.mark.parametrize("name", [*STRATEGIES, "uncertainty+k-center"])
@given(count=st.integers(1, 30), k=st.integers(1, 40), seed=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_contract(name: str, count: int, k: int, seed: int) -> None:
    features = make_features(count, seed)
    strategy = get_strategy(name)
    rows, utilities = strategy(features, k, np.random.default_rng(seed))
    assert len(rows) == len(utilities) == min(k, count)
    assert len(set(rows.tolist())) == len(rows)
    assert all(0 <= row < count for row in rows)
    assert np.all(np.isfinite(utilities))
    assert np.all(np.diff(utilities) <= 1e-9)
    again, _ = strategy(features, k, np.random.default_rng(seed))
    assert rows.tolist() == again.tolist()


def test_each_ranks_by_its_own_measure() -> None:
    features = dataclasses.replace(
        make_features(4),
        score=np.array([0.05, 0.5, 0.9, 0.7], np.float32),
        spread=np.array([0.1, 0.2, 0.9, 0.3], np.float32),
        superficial=np.array([0.9, 0.1, 0.2, 0.3], np.float32),
        # Ranks of score are 0 1 3 2, of the error 3 0 2 1: the first image differs most.
        reconstruction_error=np.array([0.8, 0.1, 0.4, 0.2], np.float32),
    )
    rng = np.random.default_rng(0)
    assert STRATEGIES["uncertainty"](features, 4, rng)[0].tolist() == [1, 3, 2, 0]
    assert STRATEGIES["margin"](features, 4, rng)[0].tolist() == [1, 3, 2, 0]
    assert STRATEGIES["attention-spread"](features, 1, rng)[0].tolist() == [2]
    assert STRATEGIES["channel-concept"](features, 1, rng)[0].tolist() == [0]
    assert STRATEGIES["disagreement"](features, 1, rng)[0].tolist() == [0]
    # A fair coin has one bit of entropy.
    assert STRATEGIES["uncertainty"](features, 1, rng)[1][0] == pytest.approx(1.0)


def test_channel_concept_covers_different_channels() -> None:
    """By hand: shares 0.9, 0.8, 0.6; the second image fails exactly as the first does, the third otherwise."""
    features = dataclasses.replace(
        make_features(3, channels=2),
        superficial=np.array([0.9, 0.8, 0.6], np.float32),
        evidence=np.array([[4, 1], [8, 2], [1, 1]], np.float32),
    )
    rows, utilities = STRATEGIES["channel-concept"](features, 3, np.random.default_rng(0))
    assert rows.tolist() == [0, 2, 1]
    # 0.6 times the distance between (0.8, 0.2) and (0.5, 0.5), which is 0.3; then 0.8 times nothing.
    assert utilities == pytest.approx([0.9, 0.6 * 0.3, 0.0], abs=1e-6)


def test_equal_utilities_do_not_follow_file_order() -> None:
    features = dataclasses.replace(make_features(50), superficial=np.ones(50, np.float32))
    rows, _ = STRATEGIES["channel-concept"](features, 50, np.random.default_rng(1))
    assert rows.tolist() != list(range(50))


@given(seed=st.integers(0, 50), k=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_k_center_against_brute_force(seed: int, k: int) -> None:
    features = dataclasses.replace(
        make_features(12, seed), annotated_latent=np.random.default_rng(seed + 1).normal(size=(2, 4))
    )
    rows, utilities = STRATEGIES["k-center"](features, k, np.random.default_rng(0))
    centres = features.annotated_latent
    for row, utility in zip(rows, utilities, strict=True):
        distances = cdist(features.latent, centres).min(axis=1)
        assert utility == pytest.approx(distances.max(), abs=1e-5)
        assert distances[row] == pytest.approx(distances.max(), abs=1e-5)
        centres = np.concatenate([centres, features.latent[row : row + 1]])


def test_unknown_strategy_names_the_known() -> None:
    with pytest.raises(UsageError, match="channel-concept"):
        get_strategy("entropy")
    with pytest.raises(UsageError, match="'nothing' is unknown"):
        get_strategy("random+nothing")


def test_diversify_caps_groups_and_skips_near_duplicates() -> None:
    features = dataclasses.replace(
        make_features(5),
        latent=np.array([[1, 0], [1, 1e-4], [0, 1], [-1, 0], [0, -1]], np.float32),
        group=np.array(["a", "b", "b", "b", "a"], dtype=object),
    )
    order = np.arange(5)
    assert diversify(order, features, 5, 3, None).tolist() == [0, 1, 2, 3, 4]
    assert diversify(order, features, 5, 3, 0.999).tolist() == [0, 2, 3, 4]
    assert diversify(order, features, 5, 1, None).tolist() == [0, 1]
    assert diversify(order, features, 2, 3, 0.999).tolist() == [0, 2]
    # What has a mask already counts as taken.
    annotated = dataclasses.replace(features, annotated_latent=np.array([[0, 3]], np.float32))
    assert diversify(order, annotated, 5, 3, 0.999).tolist() == [0, 3, 4]
    assert diversify(order, annotated, 5, 3, None).tolist() == [0, 1, 2, 3, 4]
    masked = dataclasses.replace(features, annotated_group=np.array(["b", "b"], dtype=object))
    assert diversify(order, masked, 5, 3, None).tolist() == [0, 1, 4]


@pytest.mark.parametrize(
    ("groups", "annotated", "k", "limit"),
    [
        ("aaab", "", 2, 1),
        ("aaab", "", 3, 2),
        ("aaab", "", 9, 3),
        ("aaab", "b", 1, 1),
        ("aaab", "b", 2, 2),
        (["a", "", ""], "", 3, 1),
        (["", ""], "", 2, 1),
    ],
)
def test_groups_are_limited_to_the_fewest_that_spend_the_budget(groups, annotated, k, limit) -> None:  # type: ignore[no-untyped-def]
    features = dataclasses.replace(
        make_features(len(groups)),
        group=np.array([*groups], dtype=object),
        annotated_group=np.array([*annotated], dtype=object),
    )
    assert fewest_per_group(features, k) == limit


@pytest.mark.parametrize("name", [*sorted(STRATEGIES.keys() - CLUSTERING), "k-center+uncertainty"])
def test_a_longer_order_begins_as_the_shorter_one(name: str) -> None:
    """Selection orders no more candidates than it needs."""
    features = make_features(20)
    whole, utilities = get_strategy(name)(features, 20, np.random.default_rng(3))
    part, first = get_strategy(name)(features, 7, np.random.default_rng(3))
    assert part.tolist() == whole[:7].tolist() and first.tolist() == utilities[:7].tolist()


def test_stratified_takes_each_group_once_before_any_twice() -> None:
    features = dataclasses.replace(make_features(9), group=np.array([*"aaaaaab", "", ""], dtype=object))
    rows, utilities = STRATEGIES["stratified"](features, 6, np.random.default_rng(0))
    assert sorted(rows[:4].tolist())[1:] == [6, 7, 8] and utilities.tolist() == [1, 1, 1, 1, 1 / 2, 1 / 3]
    firsts = {STRATEGIES["stratified"](features, 4, np.random.default_rng(seed))[0].min() for seed in range(40)}
    assert firsts == set(range(6))  # any of group a
    masked = dataclasses.replace(features, annotated_group=np.array(["b"], dtype=object))
    assert sorted(STRATEGIES["stratified"](masked, 3, np.random.default_rng(0))[0].tolist())[1:] == [7, 8]


def clustered(*sizes: int) -> Features:
    """Candidates around far-apart directions, so many around each.

    The first of each lies in the middle: all others are 0.1 away from it, and further from each other.
    """
    parts = []
    for axis, size in enumerate(sizes):
        part = np.zeros((size, len(sizes) + max(sizes)), np.float32)
        part[:, axis] = 1
        part[np.arange(1, size), len(sizes) + np.arange(1, size)] = 0.1
        parts.append(part)
    return dataclasses.replace(make_features(sum(sizes)), description=np.concatenate(parts))


def test_typical_takes_the_middle_of_the_largest_clusters_first() -> None:
    features = clustered(10, 30, 20)
    rows, utilities = STRATEGIES["typical"](features, 3, np.random.default_rng(0))
    assert rows.tolist() == [10, 40, 0]
    assert utilities == pytest.approx([30 / 60, 20 / 60, 10 / 60])
    # Of a cluster where an image has a mask already, none is taken before the others.
    known = dataclasses.replace(features, annotated_description=features.description[[12]])
    assert STRATEGIES["typical"](known, 2, np.random.default_rng(0))[0].tolist() == [40, 0]


def test_typical_concept_takes_of_each_cluster_the_most_superficial() -> None:
    superficial = np.zeros(60, np.float32)
    superficial[[3, 17, 18]] = 0.5, 0.7, 0.8
    features = dataclasses.replace(clustered(10, 30, 20), superficial=superficial)
    rows, _ = STRATEGIES["typical-concept"](features, 3, np.random.default_rng(0))
    assert rows[0] == 18 and rows[2] == 3 and 40 <= rows[1] < 60


def test_probability_cover_takes_who_covers_most_and_leaves_out_what_masks_cover() -> None:
    features = clustered(10, 30, 20)
    for seed in range(3):
        rows, utilities = STRATEGIES["probability-cover"](features, 3, np.random.default_rng(seed))
        assert 10 <= rows[0] < 40 and np.all(np.diff(utilities) <= 0) and sum(utilities) <= 1 + 1e-9
    known = dataclasses.replace(features, annotated_description=features.description[[10]])
    rows, _ = STRATEGIES["probability-cover"](known, 1, np.random.default_rng(0))
    assert not 10 <= rows[0] < 40


@pytest.mark.parametrize("name", sorted(CLUSTERING))
def test_clusters_of_a_large_pool(name: str) -> None:
    """More clusters than are found exactly, and candidates that are all alike."""
    features = make_features(600, channels=8)
    rows, _ = get_strategy(name)(features, 70, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 70
    alike = dataclasses.replace(features, description=np.ones((600, 8), np.float32))
    assert len(set(get_strategy(name)(alike, 7, np.random.default_rng(0))[0].tolist())) == 7
