"""Strategies: which candidates to ask for, all with one signature.

``strategy(features, k, rng) -> (indices, utilities)``: k distinct rows of the candidates (all of it where it is
smaller), best first, and their utilities, which never increase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from lae_tf.errors import UsageError
from lae_tf.selection.clusters import probability_cover, typical, typical_concept
from lae_tf.selection.features import Features, directions

Strategy = Callable[[Features, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def _best(utilities: np.ndarray, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the k highest; equal ones in random order, so that no file order leaks in."""
    shuffled = rng.permutation(len(utilities))
    order = shuffled[np.argsort(-utilities[shuffled], kind="stable")][:k]
    return order, utilities[order]


def channel_concept(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Much of the evidence from superficial channels, and not from the same ones as those chosen before.

    The method's "challenging", our reading. With q_i the share of image i's evidence that superficial channels
    bring, and p_i its evidence as shares of the channels, the next image maximises q_i * d_i, where d_i is the
    total variation distance |p_i - p_j|_1 / 2 to the nearest j already chosen (1 for the first). By q alone one
    superficial channel fills the whole choice with images that fail in the same way.
    """
    shuffled = rng.permutation(len(features))  # equal utilities in random order, so that no file order leaks in
    share = features.superficial[shuffled].astype(np.float64)
    evidence = features.evidence[shuffled].astype(np.float64)
    total = evidence.sum(axis=1, keepdims=True)
    profile = np.divide(evidence, total, out=np.zeros_like(evidence), where=total > 0)
    distance = np.ones(len(features))
    chosen: list[int] = []
    utilities: list[float] = []
    left = np.ones(len(features), bool)
    for _ in range(min(k, len(features))):
        utility = np.where(left, share * distance, -1.0)
        index = int(np.argmax(utility))
        chosen.append(index)
        utilities.append(float(utility[index]))
        left[index] = False
        distance = np.minimum(distance, np.abs(profile - profile[index]).sum(axis=1) / 2)
    return shuffled[chosen].astype(int), np.array(utilities)


def uncertainty(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Highest entropy of the score, in bits."""
    p = np.clip(features.score.astype(np.float64), 1e-12, 1 - 1e-12)
    return _best(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)), k, rng)


def margin(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Smallest distance between the two class probabilities."""
    return _best(1.0 - np.abs(2.0 * features.score.astype(np.float64) - 1.0), k, rng)


def attention_spread(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Attention spread most evenly: the model does not know where to look."""
    return _best(features.spread.astype(np.float64), k, rng)


def disagreement(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Score and reconstruction error rank the image most differently (ours)."""
    count = max(1, len(features) - 1)
    ranks = [_ranks(values) / count for values in (features.score, features.reconstruction_error)]
    return _best(np.abs(ranks[0] - ranks[1]), k, rng)


def k_center(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-center on the latent (Sener and Savarese 2018, arXiv 1708.00489).

    Seeded with what is annotated already, else with a random image. The utility is the distance to the
    nearest centre at the moment of choice.
    """
    latent = features.latent.astype(np.float64)
    k = min(k, len(latent))
    if not k:
        return np.zeros(0, int), np.zeros(0)
    chosen: list[int] = []
    utilities: list[float] = []
    if len(features.annotated_latent):
        distance = np.full(len(latent), np.inf)
        for centre in features.annotated_latent.astype(np.float64):
            distance = np.minimum(distance, np.linalg.norm(latent - centre, axis=1))
    else:
        distance = np.linalg.norm(latent - latent[rng.integers(len(latent))], axis=1)
    for _ in range(k):
        index = int(np.argmax(distance))
        chosen.append(index)
        utilities.append(float(distance[index]))
        distance = np.minimum(distance, np.linalg.norm(latent - latent[index], axis=1))
        distance[chosen] = -1.0
    return np.array(chosen), np.array(utilities)


def stratified(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Any, but of every group once before of any twice: the baseline where groups differ in size.

    Images without a group are groups of their own, and masks that there are count. Utilities are 1 for a group's first
    mask, 1/2 for its second, and so on.
    """
    count = Counter(features.annotated_group)
    turn = np.ones(len(features))
    for row in rng.permutation(len(features)):
        if group := features.group[row]:
            count[group] += 1
            turn[row] = count[group]
    return _best(1 / turn, k, rng)


def random_order(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Any: the baseline that every other strategy has to beat."""
    return _best(rng.random(len(features)), k, rng)


STRATEGIES: dict[str, Strategy] = {
    "channel-concept": channel_concept,
    "uncertainty": uncertainty,
    "margin": margin,
    "attention-spread": attention_spread,
    "disagreement": disagreement,
    "k-center": k_center,
    "typical": typical,
    "typical-concept": typical_concept,
    "probability-cover": probability_cover,
    "stratified": stratified,
    "random": random_order,
}
DESCRIBED = frozenset({"typical", "typical-concept", "probability-cover"})
"""Strategies that look at ``Features.description``."""


def get_strategy(name: str) -> Strategy:
    """Return a strategy by name; ``a+b`` combines by the mean of their ranks.

    Raises:
        UsageError: unknown name.
    """
    parts = name.split("+")
    for part in parts:
        if part not in STRATEGIES:
            raise UsageError(f"strategy '{part}' is unknown; expected one of {', '.join(STRATEGIES)}, or a+b.")
    if len(parts) == 1:
        return STRATEGIES[name]

    def combined(features: Features, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        points = np.zeros(len(features))
        for part in parts:
            order, _ = STRATEGIES[part](features, len(features), rng)
            points[order] += np.arange(len(order), 0, -1) / len(parts)
        return _best(points / max(1, len(features)), k, rng)

    return combined


def diversify(order: np.ndarray, features: Features, k: int, per_group: int, similarity: float | None) -> np.ndarray:
    """Take the first k rows of ``order`` that are neither too many of a group nor near-duplicates.

    Args:
        order: rows, best first.
        features: of the candidates.
        k: how many to take at most.
        per_group: at most so many masks in one group, those that it has included. Images without a group are not
            limited.
        similarity: skip a row whose latent has a cosine above this with one already taken, or with one that has a
            mask; None keeps all.

    Returns:
        Positions in ``order`` of the rows taken.
    """
    latent, annotated = directions(features.latent), directions(features.annotated_latent)
    taken: list[int] = []
    count = Counter(features.annotated_group)
    for position, row in enumerate(order):
        if len(taken) == k:
            break
        group = features.group[row]
        if group and count[group] >= per_group:
            continue
        if similarity is not None and any(
            len(known) and (known @ latent[row]).max() > similarity for known in (annotated, latent[order[taken]])
        ):
            continue
        taken.append(position)
        count[group] += 1
    return np.array(taken, int)


def fewest_per_group(features: Features, k: int) -> int:
    """Return the smallest limit of masks per group with which k candidates, or all there are, can be taken."""
    sizes, have = Counter(features.group), Counter(features.annotated_group)
    wanted = min(k, len(features)) - sizes.pop("", 0)  # of images that have a group
    limit = 1
    while sum(min(size, max(0, limit - have[group])) for group, size in sizes.items()) < wanted:
        limit += 1
    return limit


def _ranks(values: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks
