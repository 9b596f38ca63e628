"""Repeated regions: copies planted in noise, and the correlation against NumPy's Fourier transform."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lae_tf.model.self_correlation import SelfCorrelation, _correlate


def noise(size=64, seed=0):
    """Independent whole grey levels, of which no two places are alike."""
    levels = np.random.default_rng(seed).integers(0, 256, (size, size, 3))
    return (levels / 255).astype(np.float32)


def repeated(image, **kwargs):
    return np.asarray(SelfCorrelation(**kwargs)(image[None]), np.float32)[0, ..., 0]


@settings(max_examples=25, deadline=None)
@given(
    source=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    target=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    seed=st.integers(0, 1000),
)
def test_a_copy_and_its_source_are_marked_wherever_they_lie(source, target, seed):
    (y, x), (v, u) = source, target
    assume(max(abs(y - v), abs(x - u)) >= 24)  # else they overlap
    image = noise(seed=seed)
    image[v : v + 24, u : u + 24] = image[y : y + 24, x : x + 24]
    found = repeated(image)
    far = np.ones((64, 64), bool)
    for top, left in (source, target):
        # At least a quarter lies in one block of 16 x 16; the smaller parts may be lost among chance likenesses.
        assert np.mean(found[top + 3 : top + 21, left + 3 : left + 21] > 0.9) > 0.2
        far[max(0, top - 3) : top + 27, max(0, left - 3) : left + 27] = False
    # Likenesses by chance: one image in 400 has pixels between 0.5 and 0.6, at most 4 in 10,000 of them.
    assert np.mean(found[far] > 0.5) < 0.01 and found[far].max() < 0.8


@pytest.mark.parametrize("image", [noise(), np.full((64, 64, 3), 0.5, np.float32)])
def test_nothing_is_marked_where_nothing_is_repeated(image):
    """Every image equals itself and resembles its neighbourhood: neither counts."""
    found = repeated(image)
    assert found.min() > -0.2 and found.max() < 0.5


def test_a_copy_of_changed_brightness_is_found_and_a_noisy_one_less_so():
    image = noise()
    image[36:60, 36:60] = image[2:26, 2:26] * 0.9
    exact, brighter = noise(), image
    exact[36:60, 36:60] = exact[2:26, 2:26]
    noisy = exact.copy()
    noisy[36:60, 36:60] += np.random.default_rng(1).normal(0, 0.1, (24, 24, 3)).astype(np.float32)
    means = [repeated(one)[40:56, 40:56].mean() for one in (exact, brighter, noisy)]
    assert means[0] > means[1] > means[2] > 0.1
    assert means[0] > 0.95


@pytest.mark.parametrize(("size", "side"), [(16, 4), (18, 9), (15, 5)])
def test_correlation_is_that_of_the_fourier_transform(size, side):
    rng = np.random.default_rng(0)
    whole, block = rng.normal(size=(2, size, size)), rng.normal(size=(2, 3, side, side))
    padded = np.zeros((2, 3, size, size))
    padded[..., :side, :side] = block
    expected = np.fft.ifft2(np.conj(np.fft.fft2(padded)) * np.fft.fft2(whole)[:, None]).real * size**2 / 2
    quarters = _correlate(tf.constant(block, tf.float32), tf.constant(whole, tf.float32))
    half = np.arange(size // 2 + 1)
    places = [(down * half % size, across * half % size) for down in (1, -1) for across in (1, -1)]
    for quarter, (rows, columns) in zip(quarters, places, strict=True):
        wanted = expected[..., rows[:, None], columns]
        np.testing.assert_allclose(quarter, wanted, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("size", [18, 20, 24])
def test_small_images_and_sides_that_four_does_not_divide(size):
    image = noise(size)
    image[-8:, -8:] = image[:8, :8]
    found = repeated(image)
    assert found.shape == (size, size)
    assert found[3:5, 3:5].min() > 0.9


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_sees_the_same(policy):
    image = noise()
    image[40:60, 40:60] = image[2:22, 2:22]
    np.testing.assert_allclose(repeated(image, dtype=policy), repeated(image), atol=0.01)
