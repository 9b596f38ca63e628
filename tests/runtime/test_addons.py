"""Both implementations behind one name: tensorflow-addons and its successors give the same numbers."""

import importlib
import math
import warnings

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from lae_tf.data.augment import affine_transform, project
from lae_tf.runtime import addons

classic_only = pytest.mark.skipif(addons.STACK != "classic", reason="needs tensorflow-addons")


def tensorflow_addons():
    return importlib.import_module("tensorflow_addons")


def smooth_image(size=24, channels=3, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 1, (size, size, channels))
    return scipy.ndimage.gaussian_filter(noise, (2, 2, 0)).astype(np.float32)


# --- Gaussian blur --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, sigma", [(3, 0.5), (5, 1.0), (9, 1.7)])
@pytest.mark.parametrize("blur", [addons.gaussian_filter2d, addons._gaussian_filter2d], ids=["public", "successor"])
def test_blur_equals_scipy(blur, size, sigma):
    image = np.random.default_rng(1).uniform(0, 1, (2, 14, 17, 3)).astype(np.float32)
    radius = size // 2
    # scipy's "mirror" does not repeat the edge pixel; its kernel ends at int(truncate * sigma + 0.5).
    expected = scipy.ndimage.gaussian_filter(image, (0, sigma, sigma, 0), mode="mirror", truncate=radius / sigma)
    np.testing.assert_allclose(blur(tf.constant(image), size, sigma), expected, atol=1e-6)


@classic_only
@pytest.mark.parametrize("size, sigma", [(3, 0.5), (5, 1.0), (9, 1.7)])
def test_successor_of_the_blur_equals_tensorflow_addons(size, sigma):
    image = tf.random.stateless_uniform((2, 14, 17, 3), (1, 2))
    expected = tensorflow_addons().image.gaussian_filter2d(image, size, sigma)
    np.testing.assert_allclose(addons._gaussian_filter2d(image, size, sigma), expected, atol=1e-6)


# --- focal loss -----------------------------------------------------------------------------------------


def focal(label, probability, alpha, gamma):
    p_t = np.where(label == 1, probability, 1 - probability)
    alpha_t = np.where(label == 1, alpha, 1 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * np.log(p_t)


@pytest.mark.parametrize("alpha, gamma", [(0.25, 2.0), (0.5, 1.0), (0.75, 3.0)])
@pytest.mark.parametrize(
    "loss", [addons.SigmoidFocalCrossEntropy, addons._SigmoidFocalCrossEntropy], ids=["public", "successor"]
)
def test_focal_loss_equals_its_definition(loss, alpha, gamma):
    logits = np.linspace(-4, 4, 9, dtype=np.float32)[:, None]
    labels = (np.arange(9) % 2).astype(np.float32)[:, None]
    expected = focal(labels, 1 / (1 + np.exp(-logits.astype(np.float64))), alpha, gamma)
    np.testing.assert_allclose(
        loss(from_logits=True, alpha=alpha, gamma=gamma)(labels, logits), expected[:, 0], rtol=1e-4
    )


@pytest.mark.parametrize(
    "loss", [addons.SigmoidFocalCrossEntropy, addons._SigmoidFocalCrossEntropy], ids=["public", "successor"]
)
def test_focal_loss_sums_over_the_last_axis(loss):
    logits = np.array([[0.5, -1.0]], np.float32)
    labels = np.array([[1.0, 0.0]], np.float32)
    whole = loss(from_logits=True)(labels, logits)
    halves = [loss(from_logits=True)(labels[:, i : i + 1], logits[:, i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(whole, [halves[0] + halves[1]], rtol=1e-6)


@classic_only
def test_successor_of_the_focal_loss_equals_tensorflow_addons():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (16, 2)).astype(np.float32), rng.integers(0, 2, (16, 2)).astype(np.float32)
    for from_logits, predictions in [(True, logits), (False, 1 / (1 + np.exp(-logits)))]:
        ours = addons._SigmoidFocalCrossEntropy(from_logits=from_logits, alpha=0.4, gamma=1.5)
        theirs = tensorflow_addons().losses.SigmoidFocalCrossEntropy(from_logits=from_logits, alpha=0.4, gamma=1.5)
        np.testing.assert_allclose(ours(labels, predictions), theirs(labels, predictions), rtol=1e-4, atol=1e-6)


def test_successor_of_the_focal_loss_has_a_complete_config():
    loss = addons._SigmoidFocalCrossEntropy(from_logits=True, alpha=0.4, gamma=1.5)
    copy = addons._SigmoidFocalCrossEntropy.from_config(loss.get_config())
    assert (copy.from_logits, copy.alpha, copy.gamma) == (True, 0.4, 1.5)


# --- spectral normalisation -----------------------------------------------------------------------------


def test_spectral_normalisation_bounds_the_largest_singular_value():
    layer = addons.SpectralNormalization(keras.layers.Dense(5, use_bias=False))
    images = tf.random.stateless_normal((4, 7), (0, 1)) * 3.0
    for _ in range(50):  # one power iteration a call
        layer(images, training=True)
    kernel = layer(tf.eye(7), training=False)
    assert np.linalg.svd(kernel, compute_uv=False)[0] == pytest.approx(1.0, rel=1e-2)


# --- geometry: the raw op against tensorflow-addons and scipy ---------------------------------------------


def turned(size, degrees, scale=1.0, shift=(0.0, 0.0), flipped=False):
    numbers = [tf.constant(value, tf.float32) for value in (size, math.radians(degrees), scale, *shift)]
    return affine_transform(*numbers, tf.constant(flipped))


CASES = [(17.0, 1.0, (0.0, 0.0), False), (-30.0, 0.8, (2.5, -1.25), False), (8.0, 0.9, (-3.0, 2.0), True)]


@pytest.mark.parametrize("degrees, scale, shift, flipped", CASES)
@pytest.mark.parametrize("interpolation, order", [("BILINEAR", 1), ("NEAREST", 0)])
def test_geometry_equals_scipy(degrees, scale, shift, flipped, interpolation, order):
    image = smooth_image()
    transform = turned(24, degrees, scale, shift, flipped)
    moved = project(tf.constant(image), transform, interpolation).numpy()
    a, b, x, c, d, y = transform.numpy()[0, :6].astype(np.float64)
    # scipy counts (row, column) where the op counts (x, y); both map output to input. Mirror images beyond the
    # border are called "reflect" by both.
    matrix, offset = np.array([[d, c], [b, a]]), (y, x)
    expected = np.stack(
        [
            scipy.ndimage.affine_transform(image[..., i], matrix, offset, order=order, mode="reflect", prefilter=False)
            for i in range(3)
        ],
        axis=-1,
    )
    difference = np.abs(moved - expected).max(axis=-1)
    if order == 0:  # a coordinate halfway between two pixels may round either way
        assert (difference > 1e-6).mean() < 0.01
    else:
        assert difference.max() < 1e-4


@classic_only
@pytest.mark.parametrize("degrees, scale, shift, flipped", CASES)
@pytest.mark.parametrize("interpolation", ["BILINEAR", "NEAREST"])
def test_geometry_equals_tensorflow_addons(degrees, scale, shift, flipped, interpolation):
    image = tf.constant(smooth_image())
    transform = turned(24, degrees, scale, shift, flipped)
    expected = tensorflow_addons().image.transform(image, transform, interpolation, fill_mode="reflect")
    np.testing.assert_allclose(project(image, transform, interpolation), expected, atol=1e-5)


@classic_only
def test_rotation_turns_as_tensorflow_addons_does():
    image = tf.constant(smooth_image())
    expected = tensorflow_addons().image.rotate(image, math.radians(25), "bilinear", fill_mode="reflect")
    same = [np.abs(project(image, turned(24, sign * 25), "BILINEAR") - expected).max() for sign in (1, -1)]
    assert min(same) < 1e-5 < max(same)


def test_half_a_turn_and_a_flip_are_exact():
    image = smooth_image()
    np.testing.assert_allclose(project(image, turned(24, 180.0), "NEAREST"), image[::-1, ::-1])
    np.testing.assert_allclose(project(image, turned(24, 0.0, flipped=True), "NEAREST"), image[:, ::-1])


def test_only_weights_that_are_loaded_elsewhere_may_be_passed_over(recwarn):
    missing = "Skipping nested container at '{}/container_1': no matching group found in the saved file."
    with addons.all_weights_loaded():
        warnings.warn(missing.format("encoder/_operations_by_depth"), stacklevel=1)  # the same layers by another name
        with pytest.raises(UserWarning, match="discriminator"):
            warnings.warn(missing.format("discriminator/convolutions"), stacklevel=1)
    assert not recwarn.list
