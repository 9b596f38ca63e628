"""Strategies for small budgets: what is typical of the candidates, so that no mask is spent on an oddity or twice.

Where few images have masks, the typical teach more than the uncertain (Hacohen et al. 2022, arXiv 2202.02794). All of
these look at ``Features.description``, as directions: what an image shows, before anything was learned from masks. How
they cut the candidates up depends on how many are to be chosen, so that a longer order need not begin as a shorter one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from lae_tf.selection.features import Features, directions

_NEIGHBOURS = 20  # as in TypiClust
_EXACT = 50  # clusters, above which batches are enough, as in TypiClust
_SMALLEST = 5  # images of a cluster on average
_SAMPLE = 1000  # images by which the radius of a ball is chosen
_PURITY = 0.95  # as in ProbCover
_RADII = 40

Ordered = tuple[np.ndarray, np.ndarray]


def typical(features: Features, k: int, rng: np.random.Generator) -> Ordered:
    """TypiClust (arXiv 2202.02794): of each cluster without a mask, the largest first, the most typical image.

    Typical is who has near neighbours: the inverse of the mean distance to the 20 nearest of the cluster. The utility
    is the cluster's share of the candidates.
    """
    points = directions(features.description)
    return _one_of_each(features, k, rng, lambda rows: _typicality(points[rows]))


def typical_concept(features: Features, k: int, rng: np.random.Generator) -> Ordered:
    """As ``typical``, but of each cluster the image whose evidence is most superficial (ours)."""
    return _one_of_each(features, k, rng, lambda rows: features.superficial[rows])


def probability_cover(features: Features, k: int, rng: np.random.Generator) -> Ordered:
    """ProbCover (Yehuda et al. 2022, arXiv 2205.11603): the image whose ball holds most that no chosen ball holds yet.

    The balls are the largest of which 95 % hold images of one cluster alone. The utility is the share of the candidates
    that an image adds.
    """
    points = directions(features.description)
    known = directions(features.annotated_description)
    radius = _pure_radius(points, _cluster_count(features, k), rng)
    near: sparse.csr_matrix = NearestNeighbors(radius=radius).fit(points).radius_neighbors_graph(points).tocsr()
    uncovered = np.ones(len(points))
    if len(known):
        distance, _ = NearestNeighbors(n_neighbors=1).fit(known).kneighbors(points)
        uncovered[distance[:, 0] <= radius] = 0
    shuffled = rng.permutation(len(points))  # of equal ones any, whatever the order of files
    left = np.ones(len(points), bool)
    chosen, utilities = [], []
    for _ in range(min(k, len(points))):
        gain = np.where(left, near @ uncovered, -1.0)[shuffled]
        row = int(shuffled[np.argmax(gain)])
        chosen.append(row)
        utilities.append(float(gain.max()) / len(points))
        left[row] = False
        uncovered[near.indices[near.indptr[row] : near.indptr[row + 1]]] = 0
    return np.array(chosen, int), np.array(utilities)


def _one_of_each(
    features: Features, k: int, rng: np.random.Generator, worth: Callable[[np.ndarray], np.ndarray]
) -> Ordered:
    """Go round the clusters, those with the fewest masks and then the largest first, and take the best of each."""
    points = directions(features.description)
    if len(features.annotated_description):
        points = np.concatenate([points, directions(features.annotated_description)])
    candidates = len(features)
    label = _clusters(points, _cluster_count(features, k), rng)
    members = [rng.permutation(np.flatnonzero(label[:candidates] == one)) for one in range(label.max() + 1)]
    members = [rows[np.argsort(-worth(rows), kind="stable")] if len(rows) else rows for rows in members]
    masks = np.bincount(label[candidates:], minlength=len(members))
    turns = [
        (masks[one] + turn, -len(rows), one, row) for one, rows in enumerate(members) for turn, row in enumerate(rows)
    ]
    turns.sort()
    order = np.array([row for *_, row in turns[:k]], int)
    share = np.array([-size / candidates / (1 + turn) for turn, size, *_ in turns[:k]])
    return order, np.minimum.accumulate(share)


def _cluster_count(features: Features, k: int) -> int:
    """Return as many clusters as there will be masks, but no more than have ``_SMALLEST`` images on average."""
    wanted = len(features.annotated_description) + min(k, len(features))
    return max(1, min(wanted, len(features) // _SMALLEST))


def _clusters(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the cluster (N,) of each point, of so many clusters or, where points are equal, fewer."""
    count = min(count, len(np.unique(points, axis=0)))
    seed = int(rng.integers(2**31))
    method = KMeans(count, n_init=3, random_state=seed)
    if count > _EXACT:
        method = MiniBatchKMeans(count, batch_size=5000, n_init=1, random_state=seed)
    found: np.ndarray = method.fit_predict(points)
    return found


def _typicality(points: np.ndarray) -> np.ndarray:
    """Return the inverse of each point's mean distance to its nearest ones."""
    neighbours = min(_NEIGHBOURS, len(points) - 1)
    if neighbours < 1:
        return np.ones(len(points))
    distance, _ = NearestNeighbors(n_neighbors=neighbours + 1).fit(points).kneighbors(points)
    return np.asarray(1 / (distance[:, 1:].mean(axis=1) + 1e-5))


def _pure_radius(points: np.ndarray, count: int, rng: np.random.Generator) -> float:
    """Return the largest radius at which ``_PURITY`` of the balls hold points of one cluster alone."""
    points = points[rng.permutation(len(points))[:_SAMPLE]]
    label = _clusters(points, count, rng)
    apart = cdist(points, points)
    # A ball is pure up to the nearest point of another cluster.
    pure = np.where(label[:, None] == label[None], np.inf, apart).min(axis=1)
    radii = np.quantile(apart, np.linspace(0, 1, _RADII))
    good = radii[[(pure > radius).mean() >= _PURITY for radius in radii]]
    return float(good.max()) if len(good) else 0.0
