"""What a run is trained and calibrated on: the manifest's images, the masks that it may use, and the views of them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lae_tf.config.sections import Config, StartConfig
from lae_tf.data.manifest import Manifest
from lae_tf.data.parts import cut_parts
from lae_tf.data.pipeline import evaluation_dataset, with_degraded
from lae_tf.data.sampling import Composition
from lae_tf.errors import LAEError, UsageError
from lae_tf.presets.finding import open_preset
from lae_tf.training.run import Run


def training_manifest(config: Config) -> Manifest:
    """Read the manifest and keep the images and masks to train and validate with."""
    manifest = Manifest.read(config.data.manifest)
    methods = config.data.train_methods
    if methods is not None:
        known = set(manifest.frame["method"]) - {""}
        unknown = sorted(set(methods) - known)
        if unknown:
            raise UsageError(f"data.train_methods names {unknown}; {config.data.manifest} has {sorted(known)}.")
        manifest = manifest.select(methods=methods)
    manifest = Manifest(manifest.frame[manifest.frame["split"] != "test"].reset_index(drop=True), manifest.root)
    if config.data.mask_share is not None:
        manifest = limit_masks(manifest, config.data.mask_share, config.seed)
    return manifest


def limit_masks(manifest: Manifest, share: float, seed: int) -> Manifest:
    """Hide masks of training fakes at random until at most ``share`` of the training images have one."""
    frame = manifest.frame.copy()
    in_train = (frame["split"] == "train").to_numpy()
    annotated = np.flatnonzero(in_train & (manifest.mask_state == "annotated"))
    allowed = int(share * in_train.sum())
    hidden = np.random.default_rng((seed, 1)).permutation(annotated)[allowed:]
    frame.loc[hidden, "mask"] = ""
    return Manifest(frame, manifest.root)


def describe_data(config: Config, manifest: Manifest) -> dict[str, Any]:
    """Return what a run is trained on: manifest, counts, hash, share of images with a mask; what it begins with."""
    return {
        "manifest": config.data.manifest,
        "sha256": manifest.digest(),
        "counts": manifest.counts(),
        "methods": sorted(set(manifest.frame["method"]) - {""}),
        "mask_budget": manifest.mask_budget(),
        "begun_with": begun_with(config.start),
    }


def begun_with(start: StartConfig) -> dict[str, str] | None:
    """Return ``name`` and ``sha256`` of the ready model with which a training, or its earlier run, begins; or None."""
    if start.run is not None:
        earlier: dict[str, Any] = Run.open(start.run).require_json("data.json")
        return earlier.get("begun_with")  # runs of older versions have none
    named = start.preset or start.weights
    if named is None:
        return None
    preset = open_preset(named)
    return {"name": preset.name, "sha256": preset.digest}


def batch_composition(config: Config, train_part: Manifest, use_masks: bool) -> Composition | None:
    """Return what every batch of a stage holds; None shuffles all images alike.

    Args:
        config: of the run.
        train_part: training images.
        use_masks: whether the stage learns from people's masks, of which there is at least one.
    """
    size, forged = config.data.batch_size, config.data.self_forged
    if use_masks:
        has_unlabelled = bool((train_part.mask_state == "unlabelled").any())
        return Composition.align(size, config.align.annotated, config.align.real, forged, has_unlabelled)
    if not train_part.is_fake.any():
        return Composition.forged_alone(size)
    return Composition.pretrain(size, forged) if forged else None


def validation_dataset(
    validation: Manifest, model: keras.Model, config: Config, share: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """Return what epochs and the calibration of the scores are chosen on.

    Where training forges images on the fly, a forgery of each real validation image stands beside the known
    manipulations, so that neither epoch nor threshold is chosen for those alone; where it degrades images, a degraded
    copy of each.

    Args:
        validation: images of that split.
        model: with a ``preprocessor``.
        config: of the run.
        share: (i, n) for the part of the i-th of n machines.
    """
    forge_seed = config.seed if config.data.self_forged or not validation.is_fake.any() else None

    def part(share: tuple[int, int]) -> tf.data.Dataset:
        return evaluation_dataset(validation, model.preprocessor, config.data.batch_size, forge_seed, share)

    if not config.augment.degrade:
        return part(share)
    # The copies follow the images, so the first of them is not always the first machine's; and batches are full, so
    # that those of all machines together are the batches of one.
    index, machines = share
    count = len(validation) + (0 if forge_seed is None else int((~validation.is_fake).sum()))
    both = with_degraded(part(share), part(((index - count) % machines, machines)), config.seed)
    batch_size = config.data.batch_size // machines
    batches = both.rebatch(batch_size)
    if machines > 1:
        return batches
    # Where the number is not known, Keras says at the end that the input ran out and training was interrupted.
    return batches.apply(tf.data.experimental.assert_cardinality(-(-2 * count // batch_size)))


def seen_parts(run: Run, config: Config, manifest: Manifest) -> Manifest:
    """Return what the model is shown of the images: themselves, or their parts in the view of the run.

    Args:
        run: whose folder keeps the parts.
        config: of the run.
        manifest: of images that can be read.

    Raises:
        LAEError: there is not one part.
    """
    view = config.data.view
    if view == "whole":
        return manifest
    parts = cut_parts(manifest, view, config.data.image_size, config.seed, run.image_cache / view)
    if parts.without:
        why = "no face"
        if view == "windows":
            why = "fakes of whose windows nobody knows which are forged, without a mask or with next to nothing marked"
        print(f"{parts.without} of {len(manifest)} images are not trained on: {why}.", file=sys.stderr)
    return parts.manifest


def require_classes(part: Manifest, split: str, view: str) -> None:
    """Refuse a split that lacks real images, or fakes, which only windows can do without.

    Raises:
        LAEError: says how many there are of each.
    """
    fakes = int(part.is_fake.sum())
    reals = len(part) - fakes
    if not reals or (not fakes and view != "windows"):
        raise LAEError(f"split '{split}' has {fakes} fake and {reals} real images; training needs both kinds.")


def masks_digest(part: Manifest) -> str:
    """Return a digest of which images have a mask, and of the masks' files."""
    annotated = part.mask_state == "annotated"
    names = np.array(part.relative_paths(), dtype=object)[annotated]
    digest = hashlib.sha256()
    for name, mask in zip(names, part.frame["mask"][annotated], strict=True):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + Path(mask).read_bytes())
    return digest.hexdigest()
