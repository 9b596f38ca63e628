"""From a manifest to batches: tf.data with parallel decoding in the graph, augmentation and composition.

A batch is a dict with fixed keys:

===============  ========================  ===============================================================
``image``        float32 (B, S, S, 3)      in [0, 1]
``label``        float32 (B, 1)            1 = fake, 0 = real
``mask``         float32 (B, S, S, 1)      {0, 1}; zeros where it is not known, which ``mask_weight`` tells
``mask_weight``  float32 (B, 1)            1 for annotated fakes and for real images, 0 for unlabelled fakes
===============  ========================  ===============================================================
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from lae_tf.config.sections import AugmentConfig
from lae_tf.data.augment import augment
from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError
from lae_tf.forge.on_the_fly import self_forge
from lae_tf.images.files import read_mask
from lae_tf.runtime.graph_calls import call_python


class Decoder(Protocol):
    """What the pipeline needs of ``lae_tf.model.preprocessing.Preprocessor``."""

    image_size: int

    def decode(self, data: Any) -> Any: ...

    def resize(self, images: Any) -> Any: ...


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


def training_dataset(
    manifest: Manifest,
    preprocessor: Decoder,
    batch_size: int,
    augmentation: AugmentConfig,
    seed: int,
    epochs: range,
    composition: Composition | None = None,
    use_masks: bool = True,
    share: tuple[int, int] = (0, 1),
) -> tuple[tf.data.Dataset, int]:
    """Return an endless-looking dataset over the given epochs, and the number of steps of one epoch.

    Order and augmentation depend on (seed, epoch, position) alone, so that a resumed run sees the batches
    that it would have seen.

    Args:
        manifest: the images to train on.
        preprocessor: decodes and resizes.
        batch_size: B; the last, smaller batch of an epoch is left out.
        augmentation: probabilities and ranges.
        seed: of order and augmentation.
        epochs: for example ``range(3, 20)`` after three finished epochs.
        composition: fixed numbers of each kind of image in every batch; None shuffles all images alike.
        use_masks: False gives annotated fakes weight 0 too (stage 1 uses no person's mask).
        share: (i, n) for the part of every batch that the i-th of n machines trains on: its images i, i + n,
            i + 2n and so on, B / n of them. Only these are decoded and augmented, and as they would be in the
            whole batch; the parts of all machines together are that batch. B must be a multiple of n.

    Raises:
        LAEError: fewer images than a batch needs.
    """
    steps = len(manifest) // batch_size
    if steps == 0:
        raise LAEError(f"{len(manifest)} training images are fewer than one batch of {batch_size}.")
    order = _composed(manifest, composition, steps) if composition else _shuffled(len(manifest), steps * batch_size)
    sources: np.ndarray = composition.sources() if composition else np.arange(batch_size)
    kept = int(sources.max()) + 1  # the forged come last in every batch
    forge = np.tile(np.arange(batch_size) >= kept, steps)
    reals = np.flatnonzero(~manifest.is_fake)

    def visits(epoch: np.ndarray) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng((seed, int(epoch)))
        indices = order(rng).reshape(steps, kept)[:, sources].reshape(-1)
        numbers = epoch * len(indices) + np.arange(len(indices)).reshape(steps, batch_size)
        draws, looks = (
            np.stack([np.full(len(indices), seed), chosen.reshape(-1)], axis=1).astype(np.int64)
            for chosen in (numbers, numbers[:, sources])
        )
        donors = np.where(forge, rng.choice(reals, len(indices)), indices)
        return indices, draws, looks, forge, donors

    def visits_of(epoch: Any) -> tf.data.Dataset:
        found = call_python(visits, [epoch], [tf.int64, tf.int64, tf.int64, tf.bool, tf.int64])
        shapes = ((None,), (None, 2), (None, 2), (None,), (None,))
        return tf.data.Dataset.from_tensor_slices(tuple(map(tf.ensure_shape, found, shapes)))

    columns = _columns(manifest, use_masks)
    dataset = tf.data.Dataset.range(epochs.start, epochs.stop, epochs.step).flat_map(visits_of)
    index, machines = share
    dataset = dataset.shard(machines, index)

    def load(row: Any, draw: Any, look: Any, forged: Any, donor: Any) -> dict[str, Any]:
        example = _load({name: column[row] for name, column in columns.items()}, preprocessor)
        if kept < batch_size:
            path = columns["path"][donor]
            example = tf.cond(forged, lambda: _forge(example, path, draw, preprocessor), lambda: example)
        example["image"], example["mask"] = augment(example["image"], example["mask"], look, augmentation)
        return _known_if_marked(example)

    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size // machines, drop_remainder=True).prefetch(tf.data.AUTOTUNE), steps


def evaluation_dataset(
    manifest: Manifest,
    preprocessor: Decoder,
    batch_size: int,
    forge_seed: int | None = None,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Return every image once, in the manifest's order, without augmentation.

    Args:
        manifest: the images.
        preprocessor: decodes and resizes.
        batch_size: B; the last batch may be smaller.
        forge_seed: where it is given, a forgery made from each real image follows (``lae_tf.forge.on_the_fly``),
            the same ones for the same seed.
        share: (i, n) for the part of the i-th of n machines, as in :func:`training_dataset`; the last batches may
            then be empty on some machines.
    """
    columns = _columns(manifest, use_masks=True)
    index, machines = share
    dataset = tf.data.Dataset.from_tensor_slices(columns).shard(machines, index)
    dataset = dataset.map(lambda row: _known_if_marked(_load(row, preprocessor)), num_parallel_calls=tf.data.AUTOTUNE)
    if forge_seed is not None:
        reals = np.flatnonzero(~manifest.is_fake)
        # By their place among the real images, so that fakes beside them change nothing.
        draws = np.stack([np.full(len(reals), forge_seed), np.arange(len(reals))], axis=1).astype(np.int64)
        own = {name: tf.gather(column, reals) for name, column in columns.items()}
        donors = tf.gather(columns["path"], np.random.default_rng(forge_seed).permutation(reals))
        # They follow the manifest's images, so the first of them is not always the first machine's.
        part = tf.data.Dataset.from_tensor_slices((own, donors, draws)).shard(
            machines, (index - len(manifest)) % machines
        )
        forged = part.map(
            lambda row, donor, draw: _forge(_load(row, preprocessor), donor, draw, preprocessor),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        dataset = dataset.concatenate(forged)
    return dataset.batch(batch_size // machines).prefetch(tf.data.AUTOTUNE)


CACHE_AT_MOST = 2**31  # bytes


def cached(dataset: tf.data.Dataset, images: int, image_size: int) -> tf.data.Dataset:
    """Keep an :func:`evaluation_dataset` in memory for the epochs to come, unless it may need too much of it.

    Args:
        dataset: its batches.
        images: of the manifest, each of which may have a forgery too.
        image_size: S; an image and its mask take 16 S * S bytes.
    """
    return dataset.cache() if 2 * images * 16 * image_size**2 <= CACHE_AT_MOST else dataset


def image_dataset(paths: list[str], preprocessor: Decoder, batch_size: int) -> tf.data.Dataset:
    """Return batches of images alone, float32 (B, S, S, 3), in the order of ``paths``."""
    dataset = tf.data.Dataset.from_tensor_slices(paths)
    dataset = dataset.map(
        lambda path: _load_image(path, preprocessor),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _columns(manifest: Manifest, use_masks: bool) -> dict[str, tf.Tensor]:
    frame, state = manifest.frame, manifest.mask_state
    known = (state == "real") | ((state == "annotated") & use_masks)
    return {
        "path": tf.constant(frame["path"].to_numpy(dtype=object)),
        "mask": tf.constant(frame["mask"].to_numpy(dtype=object)),
        "label": tf.constant(manifest.is_fake.astype(np.float32)[:, None]),
        "mask_weight": tf.constant(known.astype(np.float32)[:, None]),
    }


def _load_image(path: Any, preprocessor: Decoder) -> Any:
    size = preprocessor.image_size
    image = preprocessor.resize(preprocessor.decode(tf.io.read_file(path)))
    return tf.ensure_shape(image, (size, size, 3))


def _load(row: dict[str, Any], preprocessor: Decoder) -> dict[str, Any]:
    size = preprocessor.image_size
    mask = tf.cond(
        tf.strings.length(row["mask"]) > 0,
        lambda: _load_mask(row["mask"], size),
        lambda: tf.zeros((size, size, 1), tf.float32),
    )
    return {
        "image": _load_image(row["path"], preprocessor),
        "label": row["label"],
        "mask": tf.ensure_shape(mask, (size, size, 1)),
        "mask_weight": row["mask_weight"],
    }


def _known_if_marked(example: dict[str, Any]) -> dict[str, Any]:
    """Take a fake's mask for unknown where resizing or cropping left nothing of it, or it said "nothing is forged"."""
    marked = tf.reduce_max(example["mask"])
    return {**example, "mask_weight": example["mask_weight"] * tf.maximum(1.0 - example["label"], marked)}


def _load_mask(path: Any, size: int) -> tf.Tensor:
    """Read a mask and resize it with nearest neighbour, so that it stays binary.

    Not decoded in the graph: masks come as palettes, single colours and 16 bits too, and few images have one.
    """
    binary = call_python(lambda name: read_mask(os.fsdecode(name))[..., None], [path], tf.uint8)
    binary.set_shape((None, None, 1))
    return tf.cast(tf.image.resize(binary, (size, size), method="nearest"), tf.float32)


def _forge(example: dict[str, Any], donor: Any, draw: Any, preprocessor: Decoder) -> dict[str, Any]:
    """Turn a real example into a forged one; its mask is known."""

    def run(image: np.ndarray, other: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.float32]:
        forged, mask = self_forge(image, other, np.random.default_rng(seed))
        return forged.astype(np.float32), mask.astype(np.float32), np.float32(mask.any())

    types = (tf.float32, tf.float32, tf.float32)
    inputs = [example["image"], _load_image(donor, preprocessor), draw]
    image, mask, label = call_python(run, inputs, types)
    return {
        "image": tf.ensure_shape(image, example["image"].shape),
        "label": tf.reshape(label, (1,)),  # nothing to change in a uniform image: it stays real
        "mask": tf.ensure_shape(mask, example["mask"].shape),
        "mask_weight": tf.ones((1,)),
    }


def _shuffled(count: int, length: int) -> Any:
    return lambda rng: rng.permutation(count)[:length]


def _composed(manifest: Manifest, composition: Composition, steps: int) -> Any:
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
