"""The one list of degradations: what each keeps, that harsher is harsher, and odd images."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from lae_tf.forge import degradations
from lae_tf.forge.degradations import DEGRADATIONS, blur, launder, noise, scale, video

PHOTOGRAPH = np.ascontiguousarray(data.astronaut()[:120, 150:290])


def degraded(image, name, seed=0):
    return DEGRADATIONS[name](image, np.random.default_rng(seed))


def distance(image, other):
    return np.abs(image.astype(float) - other).mean()


def test_the_list_begins_with_the_image_as_it_is():
    assert list(DEGRADATIONS) == [
        "none",
        *("jpeg-95", "jpeg-90", "jpeg-75", "jpeg-50", "webp-80", "h264-23", "h264-40"),
        *("scale-3/4", "scale-1/2", "noise-2", "blur-1", "messenger"),
    ]
    np.testing.assert_array_equal(degraded(PHOTOGRAPH, "none"), PHOTOGRAPH)


@pytest.mark.parametrize("name", list(DEGRADATIONS)[1:])
def test_it_changes_the_image_a_little_and_always_alike(name):
    before = PHOTOGRAPH.copy()
    found = degraded(PHOTOGRAPH, name)
    np.testing.assert_array_equal(found, degraded(PHOTOGRAPH, name))
    np.testing.assert_array_equal(PHOTOGRAPH, before)
    own = distance(found, PHOTOGRAPH)
    assert 0.3 < own < 15
    # Channels stay in their order and pixels at their place.
    assert own < distance(found, PHOTOGRAPH[..., ::-1]) and own < distance(found[1:], PHOTOGRAPH[:-1])


@pytest.mark.parametrize(
    "steps", [["jpeg-95", "jpeg-90", "jpeg-75", "jpeg-50"], ["h264-23", "h264-40"], ["scale-3/4", "scale-1/2"]]
)
def test_harsher_is_farther_from_the_original(steps):
    errors = [distance(degraded(PHOTOGRAPH, name), PHOTOGRAPH) for name in ["none", *steps]]
    assert errors == sorted(errors) and len(set(errors)) == len(errors)


@settings(max_examples=40)
@given(
    st.sampled_from([*DEGRADATIONS, "launder"]),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_any_size_and_grey_images_keep_shape_and_type(name, size, is_grey, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 1 if is_grey else 3), dtype=np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(image, (*size, 3)))
    found = launder(image, rng) if name == "launder" else degraded(image, name)
    assert found.shape == image.shape and found.dtype == np.uint8 and found.flags.c_contiguous


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_padding_of_a_video_is_cut_off_again(codec):
    """17 x 35 is no multiple of a macroblock: a ramp keeps its ends."""
    ramp = np.broadcast_to(np.linspace(20, 230, 35)[None, :, None], (17, 35, 3)).astype(np.uint8)
    assert np.abs(video(np.ascontiguousarray(ramp), 18, codec).astype(int) - ramp).max() < 12


def test_noise_has_the_sigma_that_it_names_and_blur_its_own():
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert np.std(noise(grey, 5.0, np.random.default_rng(3)).astype(float)) == pytest.approx(5, rel=0.02)
    # An edge blurred with sigma 1: half a pixel beyond it stands the integral of the Gaussian, 0.309 of the step.
    edge = np.zeros((9, 20, 3), np.uint8)
    edge[:, 10:] = 200
    assert blur(edge, 1.0)[4, 9, 0] == pytest.approx(200 * 0.309, abs=2)


def test_scaling_to_one_half_averages_pairs():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    np.testing.assert_array_equal(scale(stripes, 0.5, cv2.INTER_AREA), np.full((8, 8, 3), 100))


@given(st.integers(0, 10**6))
@settings(max_examples=25)
def test_what_laundering_draws_does_not_depend_on_the_image(seed):
    one, other = (np.random.default_rng(seed) for _ in range(2))
    launder(PHOTOGRAPH, one)
    launder(255 - PHOTOGRAPH[::-1], other)
    assert one.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize("seed", range(12))
def test_a_forgery_and_its_source_are_laundered_alike(seed, monkeypatch):
    """Far from the forged region they stay equal, as long as no step codes a block by what is left of it."""
    for name in ("webp", "video"):
        monkeypatch.setattr(degradations, name, lambda image, *_: image)
    source = np.ascontiguousarray(np.tile(PHOTOGRAPH[:64], (1, 4, 1)))
    forged = source.copy()
    forged[16:48, 8:40] = 255 - forged[16:48, 8:40]
    one, other = (launder(image, np.random.default_rng(seed)) for image in (source, forged))
    np.testing.assert_array_equal(one[:, 256:], other[:, 256:])
    assert distance(one[16:48, 8:40], other[16:48, 8:40]) > 10


@pytest.mark.parametrize("name", ["webp-80", "h264-23", "jpeg-75"])
def test_images_wider_than_a_codec_takes(name):
    image = np.repeat(np.linspace(0, 255, 16_500, dtype=np.uint8)[None, :, None], 16, axis=0).repeat(3, axis=2)
    found = DEGRADATIONS[name](image, np.random.default_rng(0))
    assert found.shape == image.shape and np.abs(found.astype(int) - image).mean() < 3
