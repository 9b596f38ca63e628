"""Forgeries made on the fly: exact masks, every kind of content, nothing out of range."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from lae_tf.forge import on_the_fly as module
from lae_tf.forge.on_the_fly import AREA, self_forge, self_forge_within

PHOTOGRAPHS = [
    np.ascontiguousarray(image[100:228, 100:228], np.float32) / 255 for image in (data.astronaut(), data.coffee())
]


@given(st.integers(0, 10_000), st.sampled_from([16, 64, 128]))
@settings(max_examples=60)
def test_the_mask_is_exact(seed, side):
    image, donor = (photograph[:side, :side] for photograph in PHOTOGRAPHS)
    forged, mask = self_forge(image, donor, np.random.default_rng(seed))
    assert forged.dtype == np.float32 and forged.shape == image.shape
    assert mask.dtype == np.uint8 and mask.shape == (side, side, 1) and set(np.unique(mask)) == {0, 1}
    assert forged.min() >= 0 and forged.max() <= 1
    changed = np.abs(forged - image).max(axis=-1) > 0
    assert not changed[mask[..., 0] == 0].any()
    assert changed[mask[..., 0] == 1].mean() > 0.2


def test_areas_lie_in_their_range():
    """The region's share is drawn from AREA; waves, soft outlines and the border move it a little."""
    rng = np.random.default_rng(0)
    areas = [self_forge(*PHOTOGRAPHS, rng)[1].mean() for _ in range(60)]
    assert AREA[0] / 2 < min(areas) and max(areas) < AREA[1] * 1.4
    assert np.quantile(areas, 0.1) < 0.12 and np.quantile(areas, 0.9) > 0.33


def test_the_same_draw_gives_the_same_forgery():
    one, other, third = (self_forge(*PHOTOGRAPHS, np.random.default_rng(seed))[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, third)


def test_where_nothing_changes_the_image_stays_real(monkeypatch):
    monkeypatch.setattr(module, "_content", lambda image, donor, mask, rng: image)
    image, mask = self_forge(*PHOTOGRAPHS, np.random.default_rng(0))
    assert not mask.any()
    np.testing.assert_array_equal(image, PHOTOGRAPHS[0])


def test_a_donor_takes_the_colours_of_the_region():
    """Reds pasted among blues: mean and contrast of the region are the surroundings' own, as a forger matches them."""
    rng = np.random.default_rng(1)
    image = np.clip(rng.normal((60, 90, 160), 10, (64, 64, 3)), 0, 255).astype(np.uint8)
    donor = np.clip(rng.normal((180, 60, 40), 20, (64, 64, 3)), 0, 255).astype(np.uint8)
    mask = np.ones((64, 64), bool)
    # Draws below: do not move, do not leave it as it is.
    pasted = module._from_donor(image, donor, mask, Draws([0.9, 0.9]))
    np.testing.assert_allclose(pasted.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1)
    np.testing.assert_allclose(pasted.std(axis=(0, 1)), image.std(axis=(0, 1)), atol=1)


class Draws:
    """A generator whose next numbers are given."""

    def __init__(self, numbers):
        self.random = iter(numbers).__next__


@pytest.mark.parametrize("change", module._CHANGES)
def test_every_change_changes_a_photograph_and_keeps_its_form(change):
    image = np.rint(PHOTOGRAPHS[0] * 255).astype(np.uint8)
    changed = [change(image, np.random.default_rng(seed)) for seed in range(8)]
    for result in changed:
        assert result.dtype == np.uint8 and result.shape == image.shape
    assert np.mean([np.abs(result.astype(int) - image).mean() for result in changed]) > 1


def test_surroundings_fill_a_region_without_its_own_content():
    """A white square on grey: what fills it is the grey around it, or that with a little of its detail."""
    image = np.full((64, 64, 3), 100, np.uint8)
    image[24:40, 24:40] = 255
    mask = np.zeros((64, 64), bool)
    mask[20:44, 20:44] = True
    filled = module._suggested_by_surroundings(image, mask, Draws([0.9]))
    np.testing.assert_allclose(filled[28:36, 28:36], 100, atol=3)


def test_a_banner_may_be_the_donor_of_a_photograph():
    rng = np.random.default_rng(0)
    image, banner = (rng.integers(0, 256, size, np.uint8) for size in ((300, 400, 3), (4, 3000, 3)))
    forged, mask = self_forge_within(image, banner, np.random.default_rng(1))
    assert forged.shape == image.shape and mask.shape == (300, 400) and mask.any()
    assert (forged == image)[mask == 0].all()
