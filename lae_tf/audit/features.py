"""Local features of many images, kept as short codes, and the images that share some of them in one geometry."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from lae_tf.audit.codes import agreeing, differing_bits
from lae_tf.images.files import read_image

SIDE = 256
"""Pixels of the longer side at which images are compared; larger ones are reduced to it."""
_FEATURES = 200  # of an image, the strongest
_CONTRAST = 0.001  # far below SIFT's own, as crops may be smooth; the strongest are taken anyway
_SAMPLE = 64  # images by which descriptors are centred
_PORTION = 64  # images in progress at once
_BITS, _TABLES = 64, 8
_FLIPPED = 8  # bits by which codes of one place may differ
_CROWD = 32  # codes alike of which each is compared; what is as frequent as that tells nothing
_TURN = 15.0  # degrees by which two features of one upright picture may differ
_LARGEST_SCALE = 3.0
_SUPPORT = 3  # matches that agree on one scale and shift
_PIXELS = 3.0  # by which they may miss it


@dataclass(frozen=True)
class Features:
    """Local features of images, one row each.

    Attributes:
        codes: (F,) uint64; codes of one place in two pictures differ in few bits.
        images: (F,) int32, number of the image.
        places: (F, 2) float16, x and y in pixels of the reduced image.
        sizes: (F,) float16, diameters in pixels.
        angles: (F,) float16, degrees.
    """

    codes: np.ndarray
    images: np.ndarray
    places: np.ndarray
    sizes: np.ndarray
    angles: np.ndarray


def reduced(path: str) -> np.ndarray:
    """Read an image in grey, its longer side at most 256 pixels: uint8 (H, W).

    Raises:
        ImageError: the file cannot be used.
    """
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, SIDE / max(grey.shape))
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if scale < 1 else grey


def read_features(paths: Sequence[str], progress: bool = True) -> Features:
    """Find SIFT features in images and hash their descriptors, about 4 kB an image.

    Args:
        paths: of images that can be read, at least one.
        progress: show a progress bar on stderr.
    """
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(128, 128)))[0][:, :_BITS].astype(np.float32)
    parts: list[tuple[np.ndarray, ...]] = []
    remaining = iter(enumerate(paths))
    with ThreadPoolExecutor() as pool, tqdm(total=len(paths), desc="features", disable=not progress) as bar:
        sample = list(pool.map(_detect, paths[:: math.ceil(len(paths) / _SAMPLE) or 1]))
        mean = np.concatenate([descriptors for _, descriptors in sample] + [np.zeros((1, 128), np.float32)]).mean(
            axis=0
        )
        while portion := list(itertools.islice(remaining, _PORTION)):
            found = pool.map(_detect, [path for _, path in portion])
            for (number, _), (points, descriptors) in zip(portion, found, strict=True):
                codes = np.packbits((descriptors - mean) @ axes > 0, axis=1).view(np.uint64).ravel()
                parts.append((codes, np.full(len(codes), number, np.int32), points))
            bar.update(len(portion))
    codes, images, points = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Features(codes, images, points[:, :2], points[:, 2], points[:, 3])


def _detect(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return places, size and angle (F, 4) float16 and descriptors (F, 128) float32 of unit length."""
    detector = cv2.SIFT.create(nfeatures=_FEATURES, contrastThreshold=_CONTRAST)
    keypoints, descriptors = detector.detectAndCompute(reduced(path), None)
    if not keypoints:
        return np.zeros((0, 4), np.float16), np.zeros((0, 128), np.float32)
    points = np.array([(*one.pt, one.size, one.angle) for one in keypoints], np.float16)
    # the square root lets the many small entries of a histogram count as well (RootSIFT)
    return points, np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1))


def overlapping(features: Features, splits: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield pairs of images that share features which one scale and shift brings together, the best supported first.

    Args:
        features: of the images.
        splits: of the images, (N,) int; only images of different splits are compared.

    Yields:
        The numbers of the images and the map from the first to the second, (2, 3): scale, turn and shift.
    """
    first, second = _matches(features, splits)
    pairs = features.images[first].astype(np.int64) * len(splits) + features.images[second]
    order = np.argsort(pairs, kind="stable")
    _, starts, counts = np.unique(pairs[order], return_index=True, return_counts=True)
    supported = []
    for k in np.flatnonzero(counts >= _SUPPORT):
        rows = order[starts[k] : starts[k] + counts[k]]
        here, there = first[rows], second[rows]
        found = cv2.estimateAffinePartial2D(
            features.places[here].astype(np.float32),
            features.places[there].astype(np.float32),
            ransacReprojThreshold=_PIXELS,
        )
        support = 0 if found[0] is None else len(np.unique(features.places[here[found[1].ravel() > 0]], axis=0))
        if support >= _SUPPORT and _is_upright(found[0]):
            supported.append((-support, int(features.images[here[0]]), int(features.images[there[0]]), found[0]))
    for _, one, other, mapping in sorted(supported, key=lambda entry: entry[:3]):
        yield one, other, mapping


def _is_upright(mapping: np.ndarray) -> bool:
    scale = math.hypot(mapping[0, 0], mapping[1, 0])
    turn = math.degrees(math.atan2(mapping[1, 0], mapping[0, 0]))
    return abs(turn) <= _TURN / 2 and 1 / _LARGEST_SCALE <= scale <= _LARGEST_SCALE


def _matches(features: Features, splits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features that look alike, of images in different splits: two arrays of rows, the lower image first."""
    # so many bits that a code by chance has about one like it
    width = min(24, max(14, math.ceil(math.log2(len(features.codes) + 1))))
    found = np.zeros((2, 0), np.int32)
    for table in range(_TABLES):
        parts = [found]
        shift = np.uint64(table * _BITS // _TABLES)
        turned = (features.codes >> shift) | (features.codes << (np.uint64(_BITS - 1) - shift) << np.uint64(1))
        for first, second in itertools.islice(agreeing(turned & np.uint64((1 << width) - 1)), _CROWD):
            keep = splits[features.images[first]] != splits[features.images[second]]
            first, second = first[keep], second[keep]
            keep = differing_bits(features.codes[first], features.codes[second]) <= _FLIPPED
            first, second = first[keep], second[keep]
            angle = features.angles[first].astype(np.float32) - features.angles[second]
            ratio = features.sizes[first].astype(np.float32) / features.sizes[second]
            keep = (np.abs((angle + 180) % 360 - 180) <= _TURN) & (np.abs(np.log(ratio)) <= math.log(_LARGEST_SCALE))
            first, second = first[keep], second[keep]
            swap = features.images[first] > features.images[second]
            parts.append(np.stack([np.where(swap, second, first), np.where(swap, first, second)]).astype(np.int32))
        # each table finds many of those before it once more
        found = _unique(np.concatenate(parts, axis=1))
    return found[0], found[1]


def _unique(pairs: np.ndarray) -> np.ndarray:
    """Return the pairs (2, n), int32, sorted and each once."""
    keys = np.unique((pairs[0].astype(np.int64) << 32) | pairs[1])
    return np.stack([keys >> 32, keys & 0xFFFFFFFF]).astype(np.int32)
