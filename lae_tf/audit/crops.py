"""Crops of one picture that lie in several splits: parts of them show the same, though neither is like the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import cv2
import numpy as np
import pandas as pd

from lae_tf.audit.codes import differing_bits
from lae_tf.audit.features import overlapping, read_features, reduced
from lae_tf.audit.findings import Finding, counted, finding

_ALIKE = 6  # bits of 63 by which pictures of one group differ of which one stands for the others
_WINDOW = 11  # pixels a side in which pictures are correlated
_STRUCTURE = 3.0  # standard deviation of grey levels there; below it a window shows nothing
_CORRELATION = 0.9  # median over the windows; crops have 0.94 and more, faces of two people up to 0.84
_LEAST = 0.03  # share of the smaller picture that both must show
_TESTED = 20_000  # pairs; a set with more is lost anyway


def check_crops(facts: pd.DataFrame, known: Iterable[tuple[str, str]], progress: bool = True) -> list[Finding]:
    """Find pictures of different splits and groups that overlap, such as crops of one photograph.

    Such pictures share local features (SIFT) that one scale between 1/3 and 3 and one shift bring together, and once
    they are laid over each other so, the median local correlation of what both show is at least 0.9 (our definition).
    Of pictures in a group that are much alike, such as an image and its forgeries, one stands for all.

    Args:
        facts: of ``read_facts``.
        known: pairs of files that are known for near-duplicates, and are not told again.
        progress: show a progress bar on stderr.
    """
    table = _representatives(facts)
    if table["split"].nunique() < 2:  # all pictures of the others are flat
        return []
    paths, groups = table["path"].tolist(), table["group"].tolist()
    group_of = dict(zip(facts["path"], facts["group"], strict=True))
    told = {frozenset((group_of[one], group_of[other])) for one, other in known}
    pairs = []
    candidates = overlapping(read_features(paths, progress), pd.factorize(table["split"])[0])
    for one, other, mapping in itertools.islice(candidates, _TESTED):
        both = frozenset((groups[one], groups[other]))
        if both not in told and show_the_same(reduced(paths[one]), reduced(paths[other]), mapping):
            told.add(both)
            pairs.append((paths[one], paths[other]))
    if not pairs:
        return []
    message = (
        f"{counted(len(pairs), 'pair')} of pictures in different splits that overlap, as crops of one picture do: part "
        "of what is measured there was seen in training. Give all crops of a picture one group, and so one split."
    )
    return [finding("fault", "crops", message, pairs)]


def show_the_same(first: np.ndarray, second: np.ndarray, mapping: np.ndarray) -> bool:
    """Whether two pictures are the same where they overlap.

    Args:
        first: uint8 (H, W).
        second: uint8 of any size.
        mapping: (2, 3), from places (x, y) in the first picture to those in the second; need not be exact.
    """
    return overlap_correlation(first, second, mapping) >= _CORRELATION


def overlap_correlation(first: np.ndarray, second: np.ndarray, mapping: np.ndarray) -> float:
    """Return the median local correlation of two pictures where they overlap; 0 where too little shows structure."""
    mapping = _aligned(first, second, mapping)
    size = first.shape[::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones(second.shape, np.uint8), mapping, size, flags=flags)
    inside = cv2.erode(inside, np.ones((_WINDOW, _WINDOW), np.uint8), borderValue=0)
    one = cv2.GaussianBlur(first, (0, 0), 1.0).astype(np.float32)
    other = cv2.GaussianBlur(cv2.warpAffine(second, mapping, size, flags=flags), (0, 0), 1.0).astype(np.float32)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, cv2.CV_32F, (_WINDOW, _WINDOW))

    variances = mean(one * one) - mean(one) ** 2, mean(other * other) - mean(other) ** 2
    shown = (inside > 0) & (np.maximum(*variances) > _STRUCTURE**2)
    area = abs(np.linalg.det(mapping[:, :2]))
    if shown.sum() < _LEAST * min(first.size, second.size / max(area, 1e-6)):
        return 0.0
    covariance = mean(one * other) - mean(one) * mean(other)
    return float(np.median(covariance[shown] / np.sqrt(np.maximum(variances[0] * variances[1], 1.0)[shown])))


def _aligned(first: np.ndarray, second: np.ndarray, mapping: np.ndarray) -> np.ndarray:
    """Return the mapping moved to where the pictures match best, or as it was where that cannot be found."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        return cv2.findTransformECC(
            first, second, mapping.astype(np.float32), cv2.MOTION_AFFINE, criteria, np.ones(second.shape, np.uint8), 5
        )[1]
    except cv2.error:  # did not converge
        return mapping.astype(np.float32)


def _representatives(facts: pd.DataFrame) -> pd.DataFrame:
    """Return pictures of each group that are not much alike, without flat ones; real images first."""
    table = facts[facts["hash"] >= 0].sort_values(["group", "label", "path"], ascending=[True, False, True])
    hashes = table["hash"].to_numpy(dtype=np.uint64)
    kept = []
    for rows in table.reset_index(drop=True).groupby("group", sort=False).indices.values():
        remaining = rows
        while remaining.size:
            kept.append(remaining[0])
            remaining = remaining[differing_bits(hashes[remaining], hashes[remaining[0]]) > _ALIKE]
    return table.iloc[kept]
