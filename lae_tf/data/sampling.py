"""Which images stand in which batch: composition, order, and the seeds of what befalls each of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError

Order = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Composition:
    """How many images of each kind every batch holds, in this order.

    Attributes:
        annotated: fakes with a mask.
        unlabelled: fakes without one.
        fake: fakes of either kind, drawn alike.
        real: real images.
        forged: forgeries made on the fly from real images (``lae_tf.forge.on_the_fly``): from those of this batch,
            and augmented as they are, so that nothing but the forged region tells the two apart.
    """

    annotated: int = 0
    unlabelled: int = 0
    fake: int = 0
    real: int = 0
    forged: int = 0

    def __post_init__(self) -> None:
        if self.forged and not self.real:
            raise ValueError(f"forgeries are made from the batch's real images. Received {self!r}.")

    def sources(self) -> np.ndarray:
        """Return for each place of a batch the place of the image that it is made from: its own, if not forged."""
        kept = self.annotated + self.unlabelled + self.fake + self.real
        forged = kept - self.real + np.arange(self.forged) % max(1, self.real)
        return np.concatenate([np.arange(kept), forged])

    @classmethod
    def pretrain(cls, batch_size: int, forged: float) -> Composition:
        """Half real images; of the other half ``forged``, a share of the batch below 0.5, is made on the fly."""
        made = round(batch_size * forged)
        real = batch_size // 2
        return cls(fake=batch_size - real - made, real=real, forged=made)

    @classmethod
    def forged_alone(cls, batch_size: int) -> Composition:
        """Half real images, and forgeries made from them on the fly: where there are no other fakes."""
        return cls(real=batch_size - batch_size // 2, forged=batch_size // 2)

    @classmethod
    def align(cls, batch_size: int, annotated: float, real: float, forged: float, has_unlabelled: bool) -> Composition:
        """Turn shares of the batch into counts: an annotated fake and a real image in every batch.

        Forgeries made on the fly take the place of unlabelled fakes first.
        """
        reals = min(max(1, round(batch_size * real)), batch_size - 1)
        fakes = batch_size - reals
        drawn = min(max(1, round(batch_size * annotated)), fakes)
        made = min(round(batch_size * forged), fakes - drawn)
        left = fakes - drawn - made
        if has_unlabelled:
            return cls(annotated=drawn, unlabelled=left, real=reals, forged=made)
        return cls(annotated=drawn + left, real=reals, forged=made)


@dataclass(frozen=True)
class Sampling:
    """How training images are drawn into batches.

    Attributes:
        batch_size: B; the last, smaller batch of an epoch is left out.
        seed: of order, forgeries and augmentation.
        epochs: for example ``range(3, 20)`` after three finished epochs.
        composition: fixed numbers of each kind of image in every batch; None shuffles all images alike.
        share: (i, n) for the part of every batch that the i-th of n machines trains on: its images i, i + n,
            i + 2n and so on, B / n of them. Only these are decoded and augmented, and as they would be in the
            whole batch; the parts of all machines together are that batch. B must be a multiple of n.
    """

    batch_size: int
    seed: int
    epochs: range
    composition: Composition | None = None
    share: tuple[int, int] = (0, 1)


class Visit(NamedTuple):
    """One place in a batch; of N places, arrays.

    Attributes:
        row: int64 (N,), of the manifest.
        draw: int64 (N, 2), seed of the forgery.
        look: int64 (N, 2), seed of the augmentation; a forgery has that of its source.
        forged: bool (N,), whether the image is forged on the fly.
        donor: int64 (N,), row of the image that a forgery may take pixels of.
    """

    row: Any
    draw: Any
    look: Any
    forged: Any
    donor: Any


class Visits:
    """The visits of every epoch. They depend on (seed, epoch, position) alone, so that a resumed run sees its batches.

    Args:
        manifest: the images to train on.
        sampling: how they are drawn.

    Attributes:
        steps: batches of one epoch.
        forges: whether any image is forged on the fly.

    Raises:
        LAEError: fewer images than a batch needs.
    """

    def __init__(self, manifest: Manifest, sampling: Sampling):
        size, composition = sampling.batch_size, sampling.composition
        self.steps = len(manifest) // size
        if self.steps == 0:
            raise LAEError(f"{len(manifest)} training images are fewer than one batch of {size}.")
        self._seed, self._size = sampling.seed, size
        shuffled = _shuffled(len(manifest), self.steps * size)
        self._order = _composed(manifest, composition, self.steps) if composition else shuffled
        self._sources: np.ndarray = composition.sources() if composition else np.arange(size)
        self._kept = int(np.max(self._sources)) + 1  # the forged come last in every batch
        self.forges = self._kept < size
        self._reals = np.flatnonzero(~manifest.is_fake)

    def of_epoch(self, epoch: int) -> Visit:
        """Return the visits of one epoch, batch after batch."""
        rng = np.random.default_rng((self._seed, int(epoch)))
        rows = self._order(rng).reshape(self.steps, self._kept)[:, self._sources].reshape(-1)
        numbers = epoch * len(rows) + np.arange(len(rows)).reshape(self.steps, self._size)
        draw, look = (
            np.stack([np.full(len(rows), self._seed), chosen.reshape(-1)], axis=1).astype(np.int64)
            for chosen in (numbers, numbers[:, self._sources])
        )
        forged = np.tile(np.arange(self._size) >= self._kept, self.steps)
        donors = np.where(forged, rng.choice(self._reals, len(rows)), rows)
        return Visit(rows, draw, look, forged, donors)


def _shuffled(count: int, length: int) -> Order:
    return lambda rng: rng.permutation(count)[:length]


def _composed(manifest: Manifest, composition: Composition, steps: int) -> Order:
    """Return a function from a generator to indices in which every batch holds the composition but the forged."""
    state = manifest.mask_state
    pools = {
        "annotated": np.flatnonzero(state == "annotated"),
        "unlabelled": np.flatnonzero(state == "unlabelled"),
        "fake": np.flatnonzero(state != "real"),
        "real": np.flatnonzero(state == "real"),
    }
    parts = []
    for kind, count in asdict(composition).items():
        if kind == "forged":
            continue
        if count and not len(pools[kind]):
            raise LAEError(f"every batch needs {kind} images, but the training split has none.")
        parts.append((pools[kind], count))

    def order(rng: np.random.Generator) -> np.ndarray:
        streams = [_cycle(pool, steps * count, rng).reshape(steps, count) for pool, count in parts if count]
        return np.concatenate(streams, axis=1).reshape(-1)

    return order


def _cycle(pool: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``length`` indices of the pool, every one as often as any other up to one."""
    rounds = math.ceil(length / len(pool))
    return np.concatenate([rng.permutation(pool) for _ in range(rounds)])[:length]
