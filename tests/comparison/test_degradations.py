"""Degradations: what they must keep, and that harsher is harsher."""

import numpy as np
import pytest
from skimage import data

from lae_tf.comparison.degradations import DEGRADATIONS, degrade


@pytest.fixture(scope="module")
def images():
    photograph = data.astronaut()[:128, 160:288].astype(np.float32) / 255
    return np.stack([photograph, photograph[::-1]])


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_shape_range_and_seed(name, images):
    for severity in DEGRADATIONS[name][1]:
        degraded = degrade(images, name, severity, seed=1)
        assert degraded.shape == images.shape and degraded.dtype == np.float32
        assert degraded.min() >= 0 and degraded.max() <= 1
        np.testing.assert_array_equal(degraded, degrade(images, name, severity, seed=1))
        assert np.abs(degraded - images).mean() > 1e-3


@pytest.mark.parametrize("name", ["jpeg", "resize", "blur", "noise", "crop"])
def test_severities_grow(name, images):
    errors = [np.abs(degrade(images, name, severity, 0) - images).mean() for severity in DEGRADATIONS[name][1]]
    assert errors == sorted(errors)


def test_brightness_by_hand(images):
    grey = np.full((1, 4, 4, 3), 100 / 255, np.float32)
    np.testing.assert_allclose(degrade(grey, "brightness", 1.3, 0) * 255, 130, atol=1e-4)
    np.testing.assert_allclose(degrade(grey * 2.5, "brightness", 1.3, 0), 1)


def test_crop_keeps_the_middle(images):
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32)[None, :, None], (128, 1, 3))[None]
    cropped = degrade(ramp, "crop", 0.75, 0)[0, 64, :, 0]
    # A ramp from 0 to 1, cut to its middle three quarters, runs from 1/8 to 7/8.
    assert cropped[0] == pytest.approx(0.125, abs=0.01) and cropped[-1] == pytest.approx(0.875, abs=0.01)


def test_noise_has_the_sigma_that_it_names():
    grey = np.full((1, 128, 128, 3), 128 / 255, np.float32)
    assert np.std(degrade(grey, "noise", 5.0, 3) * 255) == pytest.approx(5.0, rel=0.02)
