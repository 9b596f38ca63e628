"""From a manifest to batches: tf.data with parallel decoding in the graph, and augmentation.

A batch is a dict with fixed keys:

===============  ========================  ===============================================================
``image``        float32 (B, S, S, 3)      in [0, 1]
``label``        float32 (B, 1)            1 = fake, 0 = real
``mask``         float32 (B, S, S, 1)      {0, 1}; zeros where it is not known, which ``mask_weight`` tells
``mask_weight``  float32 (B, 1)            1 for annotated fakes and for real images, 0 for unlabelled fakes
``degraded``     float32 (B, S, S, 3)      in training: what may have become of ``image`` on its way
``stored``       float32 (B, 1)            in training: 1 where ``degraded`` has the pixels that were stored, but for a
                                           flip and colour; 0 where it was laundered, resampled, blurred and so on
===============  ========================  ===============================================================
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from lae_tf.config.sections import AugmentConfig
from lae_tf.data.augment import augment, degrade
from lae_tf.data.manifest import Manifest
from lae_tf.data.sampling import Sampling, Visit, Visits
from lae_tf.forge.degradations import launder
from lae_tf.forge.on_the_fly import self_forge
from lae_tf.images.files import read_mask, read_mask_of
from lae_tf.runtime.graph_calls import call_python

# Nothing in the functions below is control flow of Python's, and looking for it takes more than a second.
_as_written = tf.autograph.experimental.do_not_convert


class Decoder(Protocol):
    """What the pipeline needs of ``lae_tf.model.preprocessing.Preprocessor``."""

    image_size: int

    def decode(self, data: Any) -> Any: ...

    def resize(self, images: Any) -> Any: ...

    def resize_mask(self, mask: Any) -> Any: ...


def training_dataset(
    manifest: Manifest,
    preprocessor: Decoder,
    sampling: Sampling,
    augmentation: AugmentConfig,
    use_masks: bool = True,
) -> tuple[tf.data.Dataset, int]:
    """Return an endless-looking dataset over the epochs of ``sampling``, and the number of steps of one epoch.

    Args:
        manifest: the images to train on.
        preprocessor: decodes and resizes.
        sampling: how images are drawn into batches.
        augmentation: probabilities and ranges.
        use_masks: False gives annotated fakes weight 0 too (stage 1 uses no person's mask).

    Raises:
        LAEError: fewer images than a batch needs.
    """
    visits = Visits(manifest, sampling)

    @_as_written
    def visits_of(epoch: Any) -> tf.data.Dataset:
        found = call_python(visits.of_epoch, [epoch], [tf.int64, tf.int64, tf.int64, tf.bool, tf.int64])
        shapes = ((None,), (None, 2), (None, 2), (None,), (None,))
        return tf.data.Dataset.from_tensor_slices(Visit(*map(tf.ensure_shape, found, shapes)))

    columns = _columns(manifest, use_masks)
    epochs = sampling.epochs
    dataset = tf.data.Dataset.range(epochs.start, epochs.stop, epochs.step).flat_map(visits_of)
    index, machines = sampling.share
    dataset = dataset.shard(machines, index)

    @_as_written
    def load(visit: Visit) -> dict[str, Any]:
        example = _load({name: column[visit.row] for name, column in columns.items()}, preprocessor)
        if visits.forges:
            path = columns["path"][visit.donor]
            example = tf.cond(visit.forged, lambda: _forge(example, path, visit.draw, preprocessor), lambda: example)
        image, mask, untouched = augment(example["image"], example["mask"], visit.look, augmentation)
        degraded, laundered = degrade(image, visit.look, augmentation)
        stored = tf.cast(untouched & ~laundered, tf.float32)[None]
        example.update(image=image, mask=mask, degraded=degraded, stored=stored)
        return _known_if_marked(example)

    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = dataset.batch(sampling.batch_size // machines, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE), visits.steps


def evaluation_dataset(
    manifest: Manifest,
    preprocessor: Decoder,
    batch_size: int,
    forge_seed: int | None = None,
    share: tuple[int, int] = (0, 1),
    degrade: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> tf.data.Dataset:
    """Return every image once, in the manifest's order, without augmentation.

    Args:
        manifest: the images.
        preprocessor: decodes and resizes.
        batch_size: B; the last batch may be smaller.
        forge_seed: where it is given, a forgery made from each real image follows (``lae_tf.forge.on_the_fly``),
            the same ones for the same seed.
        share: (i, n) for the part of the i-th of n machines, as in :class:`~lae_tf.data.sampling.Sampling`; the
            last batches may then be empty on some machines.
        degrade: what happens to each of the manifest's images before it is resized: uint8 (H, W, 3) and the image's
            place in the manifest to uint8 of the same shape.
    """
    columns = _columns(manifest, use_masks=True)
    index, machines = share
    dataset = tf.data.Dataset.from_tensor_slices((columns, np.arange(len(manifest)))).shard(machines, index)

    @_as_written
    def load(row: dict[str, Any], place: Any) -> dict[str, Any]:
        change = None if degrade is None else lambda image: call_python(degrade, [image, place], tf.uint8)
        return _known_if_marked(_load(row, preprocessor, change))

    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
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

        @_as_written
        def forge(row: dict[str, Any], donor: Any, draw: Any) -> dict[str, Any]:
            return _forge(_load(row, preprocessor), donor, draw, preprocessor)

        dataset = dataset.concatenate(part.map(forge, num_parallel_calls=tf.data.AUTOTUNE))
    return dataset.batch(batch_size // machines).prefetch(tf.data.AUTOTUNE)


def with_degraded(dataset: tf.data.Dataset, originals: tf.data.Dataset, seed: int) -> tf.data.Dataset:
    """Let the batches of an :func:`evaluation_dataset` be followed by laundered copies.

    What befalls an image depends on the seed and its pixels alone, not on its place.

    Args:
        dataset: what comes first.
        originals: batches of the images to copy; the dataset itself, but for the parts of several machines.
        seed: of what befalls the copies.
    """

    def worsen(images: np.ndarray) -> np.ndarray:
        levels = np.rint(255 * images).astype(np.uint8)
        made = [launder(image, np.random.default_rng((seed, zlib.crc32(image.tobytes())))) for image in levels]
        return np.reshape(np.array(made, np.float32) / 255, images.shape)

    @_as_written
    def copy(batch: dict[str, Any]) -> dict[str, Any]:
        worse = tf.ensure_shape(call_python(worsen, [batch["image"]], tf.float32), batch["image"].shape)
        return {**batch, "image": worse}

    return dataset.concatenate(originals.map(copy, num_parallel_calls=tf.data.AUTOTUNE))


CACHE_AT_MOST = 2**31  # bytes


def cached(dataset: tf.data.Dataset, images: int, image_size: int) -> tf.data.Dataset:
    """Keep an :func:`evaluation_dataset` in memory for the epochs to come, unless it may need too much of it.

    Args:
        dataset: its batches.
        images: of the manifest, each of which may have a forgery too, and either a degraded copy.
        image_size: S; an image and its mask take 16 S * S bytes.
    """
    return dataset.cache() if 4 * images * 16 * image_size**2 <= CACHE_AT_MOST else dataset


def image_dataset(paths: list[str], preprocessor: Decoder, batch_size: int) -> tf.data.Dataset:
    """Return batches of images alone, float32 (B, S, S, 3), in the order of ``paths``."""
    dataset = tf.data.Dataset.from_tensor_slices(paths)
    load = _as_written(lambda path: _load_image(path, preprocessor))
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
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


Change = Callable[[Any], Any]


def _load_image(path: Any, preprocessor: Decoder) -> Any:
    return _resized(preprocessor.decode(tf.io.read_file(path)), preprocessor)


def _resized(image: Any, preprocessor: Decoder) -> Any:
    size = preprocessor.image_size
    return tf.ensure_shape(preprocessor.resize(image), (size, size, 3))


def _load(row: dict[str, Any], preprocessor: Decoder, change: Change | None = None) -> dict[str, Any]:
    size = preprocessor.image_size
    image = preprocessor.decode(tf.io.read_file(row["path"]))
    if change is not None:
        image = tf.ensure_shape(change(image), (None, None, 3))
    mask = tf.cond(
        tf.strings.length(row["mask"]) > 0,
        lambda: _load_mask(row["mask"], tf.shape(image)[:2], preprocessor),
        lambda: tf.zeros((size, size, 1), tf.float32),
    )
    return {
        "image": _resized(image, preprocessor),
        "label": row["label"],
        "mask": tf.ensure_shape(mask, (size, size, 1)),
        "mask_weight": row["mask_weight"],
    }


def _known_if_marked(example: dict[str, Any]) -> dict[str, Any]:
    """Take a fake's mask for unknown where resizing or cropping left nothing of it, or it said "nothing is forged"."""
    marked = tf.reduce_max(example["mask"])
    return {**example, "mask_weight": example["mask_weight"] * tf.maximum(1.0 - example["label"], marked)}


def _load_mask(path: Any, size: Any, preprocessor: Decoder) -> tf.Tensor:
    """Read the mask of an image of ``size`` and bring it to where its image is brought; it stays binary."""

    # Not decoded in the graph: masks come as palettes, single colours and 16 bits too, and few images have one.
    def read(name: bytes, size: np.ndarray) -> np.ndarray:
        mask = read_mask(os.fsdecode(name))
        if mask.shape[0] * size[1] != mask.shape[1] * size[0]:  # of one shape, both are brought to the same square
            mask = read_mask_of(os.fsdecode(name), tuple(size))
        return mask[..., None]

    binary = call_python(read, [path, size], tf.uint8)
    binary.set_shape((None, None, 1))
    return preprocessor.resize_mask(binary)


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
