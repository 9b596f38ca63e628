"""The logit of an image from those of its windows."""

import numpy as np
import pytest

from lae_tf.model.window_pooling import (
    LEVELS,
    PoolingWeights,
    WindowLogits,
    WindowPooling,
    features,
    pooled_windows,
)


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


def test_the_most_suspicious_window_is_least_like_real_ones_of_its_level():
    layer = WindowPooling()
    layer.build()
    fitted = weights()
    fitted.centre[1], fitted.spread[1] = 4.0, 0.5
    layer.assign(fitted)
    # u: 2, 3 of the first level; (6 - 4) / 0.5 = 4 of the second
    assert layer.most_suspicious(WindowLogits([np.array([2.0, 3.0]), np.array([6.0, 1.0])], 9.0)) == (1, 0)
    assert layer.most_suspicious(WindowLogits([np.array([2.0, 3.0]), np.array([])], 9.0)) == (0, 1)
    assert layer.most_suspicious(WindowLogits([], 9.0)) is None


def test_a_part_alone_is_an_image_of_which_nothing_else_is_known():
    layer = WindowPooling()
    layer.build()
    layer.assign(weights(0.5, 2.0, growth=(0.1, 0.2), combined=(0.7, 0.4, -0.3)))
    logits = np.array([3.5, -1.0], np.float32)
    of_window = [layer.pooled(WindowLogits([np.array([]), np.array([one])], 0.5)) for one in logits]
    np.testing.assert_allclose(layer.of_part(logits, 1), of_window, atol=1e-6)
    np.testing.assert_allclose(layer.of_part(logits, None), [0.4 * 1.5 - 0.3, 0.4 * -0.75 - 0.3], atol=1e-6)
