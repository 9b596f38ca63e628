"""Bounds by hand, and what split conformal prediction promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lae_tf.metrics.decision import label_of
from lae_tf.metrics.verdict import ConformalBounds, conformal_bounds, verdict_of, verdicts_of

RATES = st.floats(0.001, 0.999)
SCORES = st.floats(0, 1, width=32)


def bounds_of(reals, fakes, error_rate):
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    return conformal_bounds(np.concatenate([reals, fakes]), labels, error_rate)


@pytest.mark.parametrize(
    ("error_rate", "highest_real", "lowest_fake"),
    [
        # Nine real images and four fakes: floor(10 alpha)-th highest and floor(5 alpha)-th lowest.
        (0.1, 0.8, 0.0),  # ranks 1 and 0: no score is too low for a fake
        (0.2, 0.7, 0.25),  # ranks 2 and 1
        (0.3, 0.6, 0.25),  # 10 * 0.3 is just below 3 or not: rank 3, and 1
        (0.5, 0.4, 0.5),  # ranks 5 and 2
        (0.09, 1.0, 0.0),  # ranks 0 and 0
        (1 - 1e-12, 0.0, 1.0),  # the last ones, not beyond
    ],
)
def test_bounds_by_hand(error_rate, highest_real, lowest_fake):
    reals, fakes = np.arange(9)[::-1] / 10, [0.75, 0.25, 1.0, 0.5]
    bounds = bounds_of(reals, fakes, error_rate)
    assert bounds == (pytest.approx(lowest_fake), pytest.approx(highest_real), error_rate)


def test_a_rank_is_that_of_the_quantile_with_the_finite_sample_correction():
    """ceil((n + 1)(1 - alpha))-th lowest of the real images' scores, counted in whole numbers."""
    for count in range(1, 60):
        for percent in range(1, 100):
            scores = np.arange(1, count + 1) / 64
            lowest = -(-(count + 1) * (100 - percent) // 100)
            expected = scores[lowest - 1] if lowest <= count else 1.0
            assert bounds_of(scores, [0.5], percent / 100).highest_real == expected


def test_verdicts_by_hand():
    bounds = ConformalBounds(lowest_fake=0.25, highest_real=0.75, error_rate=0.1)
    scores = [0.0, 0.24, 0.25, 0.49, 0.5, 0.75, 0.76, 1.0]
    assert list(verdicts_of(scores, 0.5, bounds)) == ["real"] * 2 + ["unsure"] * 4 + ["fake"] * 2
    # Another threshold moves the label; what it takes from the unsure is unsure still.
    assert list(verdicts_of(scores, 0.9, bounds)) == ["real"] * 2 + ["unsure"] * 5 + ["fake"]
    assert list(verdicts_of(scores, 0.1, bounds)) == ["real"] + ["unsure"] * 5 + ["fake"] * 2


def test_where_the_kinds_lie_apart_the_verdict_is_the_label():
    bounds = ConformalBounds(lowest_fake=0.7, highest_real=0.3, error_rate=0.1)
    scores = [0.0, 0.3, 0.31, 0.49, 0.5, 0.7, 1.0]
    assert list(verdicts_of(scores, 0.5, bounds)) == ["real"] * 4 + ["fake"] * 3
    # A threshold beyond the gap calls 0.7 and 0.8 real, which are no real image's scores.
    assert list(verdicts_of([0.69, 0.7, 0.8, 0.9], 0.9, bounds)) == ["real", "unsure", "unsure", "fake"]


@given(SCORES, st.floats(0, 1.0000001))
def test_without_bounds_the_verdict_is_the_label(score, threshold):
    assert verdict_of(score, threshold, ConformalBounds()) == label_of(score, threshold)


@pytest.mark.parametrize("error_rate", [0.1, 0.25, 0.5])
def test_too_few_images_are_all_unsure(error_rate):
    count = round(1 / error_rate) - 2  # one more would do
    bounds = bounds_of(np.zeros(count), np.ones(count), error_rate)
    assert bounds == (0.0, 1.0, error_rate)
    assert set(verdicts_of([0.0, 0.3, 0.5, 1.0], 0.5, bounds)) == {"unsure"}
    enough = bounds_of(np.zeros(count + 1), np.ones(count + 1), error_rate)
    assert list(verdicts_of([0.0, 0.3, 0.5, 1.0], 0.5, enough)) == ["real", "real", "fake", "fake"]


@given(st.lists(SCORES, min_size=1), st.lists(SCORES, min_size=1), RATES, st.lists(SCORES, min_size=2), SCORES)
def test_verdicts_rise_with_the_score_and_never_contradict_the_label(reals, fakes, error_rate, scores, threshold):
    bounds = bounds_of(reals, fakes, error_rate)
    verdicts = [verdict_of(score, threshold, bounds) for score in sorted(scores)]
    order = [("real", "unsure", "fake").index(verdict) for verdict in verdicts]
    assert order == sorted(order)
    for score, verdict in zip(sorted(scores), verdicts, strict=True):
        assert verdict in (label_of(score, threshold), "unsure")
    assert verdicts == list(verdicts_of(sorted(scores), threshold, bounds))


@given(st.lists(SCORES, min_size=1), st.lists(SCORES, min_size=1), RATES, RATES, st.lists(SCORES, min_size=1))
def test_who_allows_more_errors_is_not_unsure_of_more(reals, fakes, one, other, scores):
    few, many = (bounds_of(reals, fakes, rate) for rate in sorted([one, other]))
    for score in scores:
        if verdict_of(score, 0.5, few) != "unsure":
            assert verdict_of(score, 0.5, many) == verdict_of(score, 0.5, few)


@settings(max_examples=60)
@given(st.lists(SCORES, min_size=2, max_size=40), st.booleans(), RATES, SCORES)
def test_of_exchangeable_images_no_more_than_the_rate_are_called_wrongly(scores, is_fake, error_rate, threshold):
    """Exactly, and with ties: each image in turn is the new one, validated on the others of its kind."""
    wrong = 0
    for position, score in enumerate(scores):
        own, other = scores[:position] + scores[position + 1 :], [0.5]
        bounds = bounds_of(*((other, own) if is_fake else (own, other)), error_rate)
        wrong += verdict_of(score, threshold, bounds) == ("real" if is_fake else "fake")
    assert wrong <= error_rate * len(scores) + 1e-6


def test_the_rate_is_nearly_used_up_where_the_kinds_overlap():
    """A bound that ruled nothing out would keep any promise: of 200 validation images 20 / 201 is what is allowed."""
    rng = np.random.default_rng(0)
    wrong = []
    for _ in range(200):
        reals, fakes = rng.beta(2, 3, (2, 200)).astype(np.float32)
        bounds = bounds_of(reals, fakes, 0.1)
        wrong.append((verdicts_of(rng.beta(2, 3, 200).astype(np.float32), 0.5, bounds) == "fake").mean())
    assert np.mean(wrong) == pytest.approx(20 / 201, abs=0.01)
