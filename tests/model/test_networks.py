"""The layers of encoder and decoder, each against NumPy, SciPy or Keras' own."""

import keras
import numpy as np
import pytest
from scipy.ndimage import correlate

from lae_tf.model.networks import Contrast, Doubling, HighPass, SubPixels

# Second derivative across, and the 3 x 3 and 5 x 5 kernels of the spatial rich model, with the largest entry -1.
KERNELS = [
    np.array([[1, -2, 1]]) / 2,
    np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4,
    np.array([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]) / 12,
]


def normal(*shape):
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


def test_residuals_are_those_of_the_rich_model():
    levels = np.random.default_rng(0).integers(100, 110, (12, 12, 3))
    found = HighPass(truncation=8.0)((levels[None] / 255).astype(np.float32)).numpy()[0]
    for channel in range(3):
        for number, kernel in enumerate(KERNELS):
            expected = np.clip(correlate(levels[..., channel].astype(float), kernel, mode="mirror") / 8, -1, 1)
            np.testing.assert_allclose(found[..., 3 * channel + number], expected, atol=1e-4)


def test_a_smooth_image_has_no_residuals_and_an_edge_is_cut_off():
    ramp = np.tile(np.linspace(0, 1, 16, dtype=np.float32)[None, None, :, None], (1, 16, 1, 3))
    for layer in (HighPass(), HighPass(truncation=8.0)):
        np.testing.assert_allclose(layer(ramp).numpy()[:, :, 2:-2], 0, atol=1e-4)
    edge = np.zeros((1, 16, 16, 3), np.float32)
    edge[:, :, 8:] = 1.0
    assert np.abs(HighPass(truncation=8.0)(edge).numpy()).max() == 1.0


def test_compressed_residuals_keep_their_order_and_the_distances_of_the_small():
    """A step of k levels has second derivatives of -k / 2 and k / 2 across; asinh is about linear below 1."""
    steps = np.array([0, 1, 2, 100, 200])
    images = np.zeros((5, 8, 8, 3), np.float32)
    images[:, :, 4:] = steps[:, None, None, None] / 255
    found = HighPass()(images).numpy()[:, 4, 4, 0]
    np.testing.assert_allclose(found, np.arcsinh(-steps / 2) / 3, rtol=1e-4)
    assert (np.diff(found) < 0).all()


def test_the_largest_residual_stays_within_the_stated_range():
    pixel = np.zeros((1, 9, 9, 3), np.float32)
    pixel[:, 4, 4] = 1.0
    kernel = np.pad(KERNELS[2], 2)[None, :, :, None] * np.ones(3)
    worst = (kernel > 0).astype(np.float32)  # white wherever the largest kernel is positive
    largest = max(np.abs(HighPass()(image).numpy()).max() for image in (pixel, worst))
    assert 2.0 < largest < 2.6


def test_contrast_is_the_distance_from_each_images_own_mean():
    x = normal(3, 4, 6, 5)
    found = Contrast()(x).numpy()
    np.testing.assert_array_equal(found[..., :5], x)
    np.testing.assert_allclose(found[..., 5:], x - x.mean(axis=(1, 2), keepdims=True), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_contrast_of_a_flat_map_is_zero_in_half_precision_too(policy):
    """64 x 64 values of 100 add up to more than float16 can hold."""
    found = Contrast(dtype=policy)(np.full((1, 64, 64, 1), 100.0, np.float32))
    np.testing.assert_array_equal(np.asarray(found, np.float32)[..., 1], 0)


def test_doubling_repeats_pixels_as_keras_does():
    x = normal(2, 3, 5, 4)
    np.testing.assert_array_equal(Doubling()(x), keras.layers.UpSampling2D(2)(x))


def test_four_channels_become_four_pixels():
    """Of one colour: top left, top right, bottom left, bottom right."""
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
    np.testing.assert_array_equal(SubPixels()(x).numpy()[0, ..., 0], [[0, 1, 4, 5], [2, 3, 6, 7]])


def test_residuals_of_faint_noise_survive_half_precision():
    """Rounded to bfloat16 before they are taken, they would be those of the rounding."""
    images = 0.7 + np.random.default_rng(0).normal(0, 0.001, (1, 32, 32, 3)).astype(np.float32)
    exact = np.asarray(HighPass()(images))
    half = np.asarray(HighPass(dtype="mixed_bfloat16")(images)).astype(np.float32)
    assert np.corrcoef(exact.ravel(), half.ravel())[0, 1] > 0.999
