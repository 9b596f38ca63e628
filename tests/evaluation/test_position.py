"""The position prior and the position-matched pixel AUROC, against counts by hand and against scikit-learn."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError
from lae_tf.evaluation.localisation import HISTOGRAM_BINS
from lae_tf.evaluation.position import PositionMeter, position_prior
from lae_tf.images.files import write_png

SIZE = 6


def matched(reals, fakes, masks) -> np.ndarray:
    meter = PositionMeter(None, len(reals))
    if len(reals):
        meter.update(reals, np.zeros_like(reals), np.zeros(len(reals)), np.ones(len(reals)))
    ones = np.ones(len(fakes))
    return meter.update(fakes, masks, ones, ones)["matched_pixel_auroc"]


def images(count: int, rng: np.random.Generator, levels: int = 4) -> np.ndarray:
    """Attention of few levels, so that there are ties."""
    return rng.integers(0, levels + 1, (count, SIZE, SIZE)) / levels


def random_masks(count: int, rng: np.random.Generator) -> np.ndarray:
    masks = (rng.random((count, SIZE, SIZE)) < 0.3).astype(np.float32)
    masks[:, rng.integers(SIZE), rng.integers(SIZE)] = 1
    return masks


def test_two_pixels_by_hand():
    # Forged are the left pixels. The upper: .9 against .2 and .9, one won, one tie: 3/4. The lower: .1 against .5 and
    # .4, both lost: 0. The mean is 3/8; what stands at the right counts for nothing.
    reals = [[[0.2, 0.9], [0.5, 0.9]], [[0.9, 0.9], [0.4, 0.9]]]
    assert matched(reals, [[[0.9, 0.0], [0.1, 0.0]]], [[[1, 0], [1, 0]]]) == [3 / 8]


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_agrees_with_scikit_learn_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    reals, fakes = images(5, rng), images(2, rng)
    masks = random_masks(2, rng)
    for fake, mask, found in zip(fakes, masks, matched(reals, fakes, masks), strict=True):
        labels = [1] + [0] * len(reals)
        expected = [
            roc_auc_score(labels, [fake[p], *reals[:, p[0], p[1]]]) for p in zip(*np.nonzero(mask), strict=True)
        ]
        assert found == pytest.approx(np.mean(expected), abs=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 300))
def test_a_map_that_is_the_same_for_every_image_has_one_half(seed, reals):
    """More than 255 real images need more than a byte for their counts."""
    rng = np.random.default_rng(seed)
    one = rng.random((1, SIZE, SIZE))
    masks = random_masks(3, rng)
    assert matched(np.repeat(one, reals, 0), np.repeat(one, 3, 0), masks).tolist() == [0.5] * 3
    assert matched(np.full((reals, SIZE, SIZE), 0.3), np.full((3, SIZE, SIZE), 0.3), masks).tolist() == [0.5] * 3


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_order_and_the_batches_of_images_change_nothing(seed):
    rng = np.random.default_rng(seed)
    reals, fakes, masks = images(7, rng), images(4, rng), random_masks(4, rng)
    found = matched(reals, fakes, masks)
    order = rng.permutation(4)
    assert matched(reals[rng.permutation(7)], fakes[order], masks[order]).tolist() == found[order].tolist()
    # The last batch of real images may hold the first fakes.
    meter = PositionMeter(None, 7)
    meter.update(reals[:5], np.zeros((5, SIZE, SIZE)), np.zeros(5), np.ones(5))
    both, no_masks = np.concatenate([reals[5:], fakes]), np.zeros((2, SIZE, SIZE))
    together = meter.update(both, np.concatenate([no_masks, masks]), [0, 0, 1, 1, 1, 1], np.ones(6))
    np.testing.assert_array_equal(together["matched_pixel_auroc"], [np.nan, np.nan, *found])


def test_louder_attention_on_fakes_alone_raises_it():
    """A plain pixel AUROC cannot tell these: within each image the map is the same but for its strength."""
    shape = np.linspace(0.1, 0.5, SIZE * SIZE).reshape(SIZE, SIZE)
    reals, masks = np.repeat(shape[None], 3, 0), random_masks(1, np.random.default_rng(0))
    assert matched(reals, shape[None] + 0.1, masks) == [1] and matched(reals, shape[None] - 0.1, masks) == [0]


def test_what_cannot_be_measured_is_nan():
    rng = np.random.default_rng(0)
    fakes, masks = images(3, rng), random_masks(3, rng)
    masks[2] = 0
    assert np.isnan(matched(np.zeros((0, SIZE, SIZE)), fakes, masks)).all()
    meter = PositionMeter(rng.random((SIZE, SIZE)), 2)
    meter.update(images(2, rng), np.full((2, SIZE, SIZE), 7), [0, 0], [1, 1])
    columns = meter.update(fakes, masks, [1, 1, 1], [1, 0, 1])
    for column in columns.values():
        assert np.isnan(column).tolist() == [False, True, True]
    # A mask of the whole image has no untouched pixel for the prior, but its pixels have those of real images.
    columns = meter.update(fakes[:1], np.ones((1, SIZE, SIZE)), [1], [1])
    assert np.isnan(columns["prior_pixel_auroc"][0]) and not np.isnan(columns["matched_pixel_auroc"][0])


def test_real_images_must_come_first():
    rng = np.random.default_rng(0)
    reals, masks = images(2, rng), random_masks(1, rng)
    meter = PositionMeter(None, 2)
    meter.update(reals[:1], masks, [0], [1])
    meter.update(images(1, rng), masks, [1], [1])
    with pytest.raises(LAEError, match="must come before fakes"):
        meter.update(reals[1:], masks, [0], [1])


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_priors_auroc_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    (prior,) = images(1, rng, levels=5)
    masks = random_masks(3, rng)
    found = PositionMeter(prior, 0).update(np.zeros_like(masks), masks, np.ones(3), np.ones(3))["prior_pixel_auroc"]
    assert found == pytest.approx([roc_auc_score(mask.ravel(), prior.ravel()) for mask in masks])


def manifest_of(folder, masks):
    """Write a fake for each (split, mask) and a real image."""
    rows = ["path,label,mask,group,method,split", "real.png,real,,r,,train"]
    write_png(folder / "real.png", np.zeros((4, 4, 3), np.uint8))
    for number, (split, mask) in enumerate(masks):
        write_png(folder / f"{number}.png", np.zeros((*mask.shape, 3), np.uint8))
        write_png(folder / f"{number}-mask.png", mask)
        rows.append(f"{number}.png,fake,{number}-mask.png,g{number},splice,{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return Manifest.read(folder / "manifest.csv")


def test_the_prior_is_the_mean_training_mask_blurred(tmp_path):
    left, lower = np.zeros((64, 64), np.uint8), np.zeros((128, 128), np.uint8)
    left[:, :32], lower[64:] = 255, 255
    held_out = np.full((8, 8), 255, np.uint8)
    trained = manifest_of(tmp_path, [("train", left), ("train", lower), ("val", held_out)])
    prior = position_prior(trained, 64)
    # Far from the edges the blur of two pixels changes nothing: both masks, one, or none.
    assert prior[[60, 60, 4, 4], [4, 60, 4, 60]] == pytest.approx([1, 0.5, 0.5, 0], abs=1e-6)
    # On an edge that is straight for 32 pixels it is the Gaussian's integral: half a pixel away of 2 pixels, 0.599.
    assert prior[4, 31] == pytest.approx(0.5 * 0.599, abs=0.01)
    assert prior[:, 40].tolist() == pytest.approx(cv2.GaussianBlur((lower / 510)[::2], (0, 0), 2)[:, 0], abs=1e-3)


def test_without_training_masks_there_is_no_prior(tmp_path):
    trained = manifest_of(tmp_path, [("val", np.full((8, 8), 255, np.uint8))])
    assert position_prior(trained, 8) is None


def test_attention_of_one_has_the_highest_level():
    reals = np.full((1, SIZE, SIZE), 1 - 1 / HISTOGRAM_BINS)
    mask = np.ones((1, SIZE, SIZE))
    assert matched(reals, np.ones((1, SIZE, SIZE)), mask) == [0.5]  # rounded down to the same level
    assert matched(reals - 1 / HISTOGRAM_BINS, np.ones((1, SIZE, SIZE)), mask) == [1]
