"""The gate: what its statistics are of images made by hand, and what it learns to tell."""

import keras
import numpy as np
import pytest
from skimage import data
from sklearn.metrics import roc_auc_score

from lae_tf.forge.degradations import jpeg
from lae_tf.model.experts import train_experts
from lae_tf.model.gate import QualityStatistics, build_gate
from lae_tf.model.lae import LAE

HIGHEST, MEAN, ABOVE = 26, 27, 28  # the statistics of blocks
CB, CR = slice(29, 34), slice(34, 39)  # across, down, both, phases across, phases down


def statistics(levels):
    """Return the statistics of one image in levels of 255, (H, W, 3) or grey (H, W)."""
    rgb = levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=-1)
    return QualityStatistics()(rgb[None] / np.float32(255)).numpy()[0]


# --- blocks -----------------------------------------------------------------------------------------------


def test_a_wave_is_far_from_zero_at_every_place_but_those_that_miss_it():
    """One wave across, cos(pi (2 x + 1) 6 / 16), of amplitude 100, has the period 8 / 3 and none but itself to leave.

    Down the image nothing changes, so that of the seven coefficients, i + j = 6, the six with i > 0 are zero and the
    seventh, (0, 6), is 100 * sqrt(8) / 2 / sqrt(2) * sqrt(8) = 400 on the grid: nearness 6 / 7 there. Off it by d
    pixels the coefficient is 400 cos(3 pi d / 4) = 400, -283, 0, 283, -400, ...: zero at d = 2 and at d = 6.
    """
    wave = 128 + 100 * np.cos(np.pi * (2 * np.arange(32) + 1) * 6 / 16)
    found = statistics(np.tile(wave, (32, 1)))
    mean = (2 * 1 + 6 * 6 / 7) / 8
    np.testing.assert_allclose(found[[HIGHEST, MEAN, ABOVE]], [1, mean, 1 - mean], atol=1e-3)


@pytest.mark.parametrize("top, left", [(0, 0), (3, 5)])
def test_jpeg_95_brings_coefficients_to_zero_on_its_grid(top, left):
    """Grey noise of one level, and the same saved with quality 95, cropped so that its grid begins anywhere.

    An orthonormal transform leaves noise as it is: coefficients are N(0, 1 + 1 / 12), with what rounding adds, and
    their mean nearness is E max(0, 1 - |c|) = 0.36. JPEG 95 quantises those with i + j = 6 in steps of 3 to 6 levels
    (a tenth of the standard's 29 to 58): of N(0, 1) at least P(|c| < 1.5) = 0.866 become 0, to which rounding pixels
    adds N(0, 1 / 12), so that their nearness is 1 - 0.29 * 0.80 = 0.77, and the mean on the grid at least 0.66.
    The highest of 64 means over 15 x 15 x 7 coefficients is hardly above their mean.
    """
    noise = np.rint(128 + np.random.default_rng(0).normal(0, 1, (136, 136))).astype(np.uint8)
    saved = jpeg(np.repeat(noise[..., None], 3, axis=-1), 95)[top : top + 128, left : left + 128]
    stored, compressed = statistics(noise[:128, :128]), statistics(saved)
    assert stored[MEAN] == pytest.approx(0.36, abs=0.02) and stored[ABOVE] < 0.05
    assert compressed[HIGHEST] > 0.64 and compressed[ABOVE] > 0.1


# --- colour -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 1])
def test_colour_at_half_the_resolution_differs_within_no_pair_of_columns(shift):
    """Blue is 0, 0, 100, 100, 0, 0 ... across: Cb steps by 50 between pairs, 7 times of 15, and never within one."""
    image = np.zeros((16, 16, 3))
    image[..., 2] = 100 * (np.arange(shift, 16 + shift) // 2 % 2)
    steps = 7 if shift == 0 else 8
    phase = np.log(0.05 / 50.05) * (1 if shift == 0 else -1)
    found = statistics(image)
    none = np.log(0.05)
    np.testing.assert_allclose(found[CB], [np.log(50 * steps / 15 + 0.05), none, none, phase, 0], atol=1e-4)
    np.testing.assert_allclose(found[CR][0], np.log(8.13 * steps / 15 + 0.05), atol=1e-4)
    turned = statistics(image.transpose(1, 0, 2))
    np.testing.assert_allclose(turned[CB], [none, np.log(50 * steps / 15 + 0.05), none, 0, phase], atol=1e-4)


def test_grey_has_no_colour_and_the_smallest_image_has_numbers():
    """A checkerboard of single pixels at the least size that a model with a gate may have."""
    found = statistics(255.0 * (np.indices((16, 16)).sum(axis=0) % 2))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[CB], [np.log(0.05)] * 3 + [0, 0], atol=1e-2)  # to the rounding of its weights


# --- learning ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [75, 95])
def test_the_gate_learns_what_compression_leaves(quality):
    """Photographs and their JPEGs, crops of two pictures to learn from and of a third one to test."""

    def crops(picture):
        grey = np.stack([picture[y : y + 64, x : x + 64] for y in range(0, 448, 64) for x in range(0, 448, 64)])
        saved = np.stack([jpeg(one, quality) for one in grey])
        return np.concatenate([grey, saved]) / np.float32(255), np.repeat([1.0, 0.0], len(grey))

    keras.utils.set_random_seed(0)
    gate = build_gate(64)
    gate.compile(keras.optimizers.Adam(1e-2), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    noisy = np.random.default_rng(0)
    first, second, third = (
        np.clip(picture + noisy.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
        for picture in (data.astronaut(), data.immunohistochemistry(), data.retina()[400:912, 400:912])
    )
    images, stored = (np.concatenate(parts) for parts in zip(crops(first), crops(second), strict=True))
    gate.fit(images, stored[:, None], batch_size=16, epochs=12, verbose=0)
    images, stored = crops(third)
    assert roc_auc_score(stored, gate.predict(images, verbose=0)[:, 0]) > 0.95


@pytest.mark.parametrize("given, expected", [(None, 0.696), ([[0], [0]], 1.313), ([[1], [1]], 0.078)])
def test_the_gate_learns_from_the_label_or_else_from_the_equality_of_the_views(given, expected):
    """At a logit of 1 a stored image costs log(1 + 1 / e) / 4 = 0.078, another log(1 + e) = 1.313; one view differs."""
    model = LAE(image_size=32, widths=(4, 8), blocks=0, trunk_weights=None, self_correlation=False)
    gate = model.encoder.get_layer("gate")
    gate.get_layer("evidence").set_weights([np.zeros((64, 1)), np.full(1, 0.2)])  # of which the logit is five times
    images = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    batch = {"image": images, "degraded": np.stack([images[0], 1 - images[1]])}
    if given is not None:
        batch["stored"] = np.array(given, np.float32)
    assert float(train_experts(model.encoder, batch)[2]) == pytest.approx(expected, abs=1e-3)
