"""The logit of an image from those of its windows."""

import numpy as np
import pytest

from lae_tf.model.window_pooling import LEVELS, PoolingWeights, WindowLogits, features, pooled_windows


def weights(centre=0.0, spread=1.0, growth=(0.0, 0.0), combined=(1.0, 0.0, 0.0)):
    return PoolingWeights(
        np.full(LEVELS + 1, centre), np.full(LEVELS + 1, spread), np.array(growth), np.array(combined)
    )


def test_one_window_is_one_plus_the_exponential():
    # u = (3 - 1) / 2 = 1, and log(1 + e) = 1.3133
    assert pooled_windows(WindowLogits([np.array([3.0])], 0.0), weights(1.0, 2.0)) == pytest.approx(1.31326, abs=1e-5)


def test_windows_of_a_level_are_averaged_and_levels_count_alike():
    # 1 / p: (2 + 2) / 2 = 2 of the first level, 1 + e^2 = 8.389 of the second; the logarithm of their mean
    logits = WindowLogits([np.array([0.0, 0.0]), np.array([2.0])], 0.0)
    assert pooled_windows(logits, weights()) == pytest.approx(np.log((2 + 8.389056) / 2), abs=1e-6)


def test_a_level_that_was_not_looked_at_says_nothing():
    some = WindowLogits([np.array([], np.float32), np.array([2.0])], 0.0)
    assert pooled_windows(some, weights()) == pooled_windows(WindowLogits([np.array([2.0])], 0.0), weights())
    assert pooled_windows(WindowLogits([], 0.0), weights()) is None


def test_levels_beyond_the_last_are_scaled_as_it():
    many = WindowLogits([np.array([1.0])] * (LEVELS + 3), 0.0)
    assert pooled_windows(many, weights()) == pytest.approx(np.log(1 + np.e))


def test_one_window_that_stands_out_counts_among_a_thousand():
    quiet = np.zeros(1000)
    loud = quiet.copy()
    loud[7] = 12.0
    low, high = (pooled_windows(WindowLogits([level], 0.0), weights()) for level in (quiet, loud))
    assert high - low > 4


def test_what_the_number_of_windows_adds_is_taken_off():
    one, growth = WindowLogits([np.zeros(99)], 5.0), (0.5, 0.25)
    found = features(one, weights(growth=growth))
    assert found[0] == pytest.approx(np.log(2) - 0.5 - 0.25 * np.log(100))
    assert found[1] == 5.0


def test_an_image_without_windows_is_its_whole():
    assert features(WindowLogits([], 1.5), weights(growth=(0.3, 0.2))).tolist() == [0.0, 1.5]
