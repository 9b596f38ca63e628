"""Temperature and threshold: hand-derived cases, and brute force."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score, log_loss

from lae_tf.errors import LAEError
from lae_tf.training.calibrate import (
    ATTENTION_LEVELS,
    LARGEST_FALSE_ALARM,
    AttentionLevel,
    calibrate,
    decision_threshold,
    fit_temperature,
    threshold_at_fpr,
)


@st.composite
def scored(draw):
    """Scores with many ties, and labels of both kinds."""
    size = draw(st.integers(2, 30))
    scores = draw(st.lists(st.integers(0, 20), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(lambda x: 0 < sum(x) < len(x)))
    return np.array(scores) / 20, np.array(labels)


def test_temperature_of_a_model_that_is_twice_too_sure():
    # Three of four are right at logit +-L: the best probability is 3/4, so L / T = log 3.
    logits = np.array([4.0, 4.0, 4.0, 4.0, -4.0, -4.0, -4.0, -4.0])
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    assert fit_temperature(logits, labels) == pytest.approx(4.0 / np.log(3.0), rel=1e-3)


def test_temperature_of_calibrated_logits_is_one():
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0.02, 0.98, 20_000)
    labels = (rng.uniform(size=20_000) < probabilities).astype(int)
    assert fit_temperature(logit(probabilities), labels) == pytest.approx(1.0, abs=0.05)


def test_perfect_separation_keeps_the_temperature():
    assert fit_temperature(np.array([-1.0, 2.0]), np.array([0, 1])) == 1.0


def test_temperature_stays_finite_when_the_model_is_always_wrong():
    assert fit_temperature(np.array([3.0, -3.0]), np.array([0, 1])) == pytest.approx(20.0, rel=1e-2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_no_temperature_of_a_grid_is_better(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(40) % 2
    logits = rng.normal(0, 3, 40) + labels
    fitted = log_loss(labels, expit(logits / fit_temperature(logits, labels)))
    grid = [log_loss(labels, expit(logits / t)) for t in np.geomspace(0.06, 19, 60)]
    assert fitted <= min(grid) + 1e-4


@pytest.mark.parametrize(
    "logits, labels, expected",
    [
        ([-2.0, -1.0, 2.0, 3.0], [0, 0, 1, 1], 0.5),  # in the middle of the gap
        ([-1.0, 2.0, 0.0, 3.0], [0, 0, 1, 1], 1.0),  # both kinds alike about 1
        ([-1.0, 2.0] * 9 + [0.0, 3.0], [0, 0] * 9 + [1, 1], 1.0),  # however many there are of each
        ([3.0, -1.0], [0, 1], 1.0),  # the wrong way round: between the means
        ([0.7, 0.7, 0.7], [0, 0, 1], 0.7),
    ],
)
def test_threshold_by_hand(logits, labels, expected):
    logits, labels = np.array(logits), np.array(labels)
    assert logit(decision_threshold(logits, labels)) == pytest.approx(expected, abs=1e-4)
    assert logit(decision_threshold(logits, labels, 4.0)) == pytest.approx(expected / 4, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.5, 3.0), st.integers(20, 60))
def test_threshold_is_the_boundary_of_an_unpenalised_logistic_regression(seed, distance, fakes):
    rng = np.random.default_rng(seed)
    labels = (np.arange(80) < fakes).astype(int)
    logits = rng.normal(0, 2, 80) + distance * labels
    assume(logits[labels == 1].mean() > logits[labels == 0].mean() + 0.2)
    shy = 1 / (min(fakes, 80 - fakes) + 2)
    # Each image counts once with its label, and a little with the other one.
    balance = np.where(labels == 1, 1 / fakes, 1 / (80 - fakes))
    weights = np.concatenate([balance * (1 - shy), balance * shy]) * 1e3
    oracle = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000)
    oracle.fit(np.tile(logits, 2)[:, None], np.concatenate([labels, 1 - labels]), weights)
    boundary = -oracle.intercept_[0] / oracle.coef_[0, 0]
    assert logit(decision_threshold(logits, labels)) == pytest.approx(boundary, abs=2e-3)


@settings(deadline=None)
@given(scored(), st.sampled_from([0.01, 0.05, 0.3]))
def test_threshold_at_fpr_is_the_lowest_that_keeps_the_rate(case, rate):
    scores, labels = case
    reals = scores[labels == 0]
    chosen = threshold_at_fpr(scores, labels, rate)
    assert (reals >= chosen).mean() <= rate
    assert (reals >= np.nextafter(chosen, 0)).mean() > rate


def test_a_threshold_that_scores_reach_exists_where_they_saturate():
    """Of real images with logits that float32 scores as 1, some lie below the boundary; 1 is the highest threshold."""
    logits, labels = np.array([-20.0] * 10 + [40.0] + [60.0] * 20), np.array([0] * 11 + [1] * 20)
    threshold = decision_threshold(logits, labels, 1.0)
    assert threshold <= 1.0 and (expit(logits[labels == 1].astype(np.float32)) >= threshold).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_model_that_diverged_is_refused(broken):
    with pytest.raises(LAEError, match=r"1 of 3 .*diverged"):
        calibrate([0.1, broken, 0.3], [0, 1, 1])


def test_one_class_is_refused():
    with pytest.raises(LAEError, match="only one kind"):
        calibrate(np.zeros(3), np.ones(3, int))


@pytest.mark.parametrize("offset", [0.0, 13.2, 13.6, 13.8, 14.5])
def test_the_stored_decision_separates_float32_scores(offset):
    """The model compares float32 scores with a float32 threshold, also where they crowd below 1."""
    logits, labels = np.array([-1.0, 0.5, 0.7, 3.0]) + offset, np.array([0, 0, 1, 1])
    stored = np.float32(calibrate(logits, labels)["threshold"])
    scores = expit(logits.astype(np.float32))
    assert scores[1] < scores[2]
    assert list(scores >= stored) == [False, False, True, True]


def level_of(attention, mask, label, known):
    """The level for maps (B, S, S), taken in two batches of half the images each."""
    meter = AttentionLevel()
    for part in (slice(None, None, 2), slice(1, None, 2)):
        batch = {"mask": mask[part][..., None], "label": label[part][:, None], "mask_weight": known[part][:, None]}
        meter.update(attention[part], batch)
    return meter.result()


def jaccard(level, attention, mask, label, known):
    """IoU of all pixels together by scikit-learn, or 0 where a level marks too much of the real images."""
    real = label == 0
    if real.any() and (attention[real] > level).mean() > LARGEST_FALSE_ALARM:
        return 0.0
    truth = np.where(real[:, None, None], 0, mask)[known == 1]
    return jaccard_score(truth.ravel(), (attention[known == 1] > level).ravel(), zero_division=0.0)


def test_attention_level_by_hand():
    # Faint maps: forged pixels at 0.3, the others at 0.05. Every level between them is perfect.
    mask = np.zeros((4, 8, 8), np.float32)
    mask[2:, :4] = 1
    attention = np.where(mask == 1, 0.3, 0.05).astype(np.float32)
    label, known = np.array([0.0, 0.0, 1.0, 1.0]), np.ones(4)
    level = level_of(attention, mask, label, known)
    # The middle in logits is half way between log(0.05 / 0.95) and log(0.3 / 0.7).
    assert logit(level) == pytest.approx((logit(0.05) + logit(0.3)) / 2, abs=0.1)


def test_attention_level_spares_real_images():
    # The best IoU would be had at any level below 0.3, but the real images are at 0.4 in one pixel of four.
    mask = np.ones((2, 8, 8), np.float32)
    attention = np.full((2, 8, 8), 0.3, np.float32)
    attention[0, :4, :4] = 0.4
    attention[1, 0] = 0.6
    level = level_of(attention, mask, np.array([0.0, 1.0]), np.ones(2))
    assert 0.4 <= level < 0.6


@pytest.mark.parametrize("known, label", [(0.0, 1.0), (1.0, 0.0)])
def test_without_known_forgeries_the_attention_level_stays(known, label):
    maps = np.full((2, 4, 4), 0.2, np.float32)
    assert level_of(maps, np.ones_like(maps), np.full(2, label), np.full(2, known)) == 0.5


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_no_attention_level_is_better(seed):
    rng = np.random.default_rng(seed)
    mask = (rng.uniform(size=(6, 5, 5)) < 0.3).astype(np.float32)
    attention = np.clip(0.2 * mask + rng.uniform(0, 0.6, mask.shape), 0, 1).astype(np.float32)
    label, known = rng.integers(0, 2, 6).astype(float), rng.integers(0, 2, 6).astype(float)
    known[label == 0] = known[0] = 1  # the mask of a real image is known to be empty
    values = [jaccard(level, attention, mask, label, known) for level in ATTENTION_LEVELS]
    chosen = jaccard(level_of(attention, mask, label, known), attention, mask, label, known)
    assert chosen == pytest.approx(max(values))
