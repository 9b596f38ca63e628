"""Slope, bias and thresholds: hand-derived cases, brute force, and scikit-learn."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score

from lae_tf.errors import LAEError
from lae_tf.training.calibrate import (
    ATTENTION_LEVELS,
    LARGEST_FALSE_ALARM,
    AttentionLevel,
    calibrate,
    fit_platt,
    scale_of,
    threshold_at_fpr,
)


@st.composite
def scored(draw):
    """Scores with many ties, and labels of both kinds."""
    size = draw(st.integers(2, 30))
    scores = draw(st.lists(st.integers(0, 20), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(lambda x: 0 < sum(x) < len(x)))
    return np.array(scores) / 20, np.array(labels)


def test_slope_of_a_model_that_is_too_sure():
    # Three of four are right at logit +-4. The targets are 5/6 and 1/6, so that the score there is
    # (3 * 5/6 + 1/6) / 4 = 2/3, whose logit is log 2.
    logits = np.array([4.0, 4.0, 4.0, 4.0, -4.0, -4.0, -4.0, -4.0])
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    scale = fit_platt(logits, labels)
    assert scale.temperature == pytest.approx(4.0 / np.log(2.0), rel=1e-6)
    assert scale.scores([4.0, -4.0, 0.0]) == pytest.approx([2 / 3, 1 / 3, 1 / 2], abs=1e-6)


def test_calibrated_logits_stay_as_they_are():
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0.02, 0.98, 20_000)
    labels = (rng.uniform(size=20_000) < probabilities).astype(int)
    scale = fit_platt(logit(probabilities), labels)
    assert scale.temperature == pytest.approx(1.0, abs=0.05) and scale.boundary == pytest.approx(0.0, abs=0.05)


def test_a_boundary_that_is_kept_has_a_slope_of_its_own():
    """Two of three logits at -1 are of real images, two of three at 1 of fakes: odds of 2 at 1, a slope of log 2."""
    logits, labels = np.array([-1.0, -1, 1, 1, 1, -1] * 1000), np.array([0, 0, 0, 1, 1, 1] * 1000)
    kept = fit_platt(logits + 5, labels, boundary=5.0)
    assert kept.boundary == pytest.approx(5.0, abs=1e-6)
    assert kept.temperature == pytest.approx(1 / np.log(2), rel=1e-2)
    other = fit_platt(logits, labels, boundary=3.0)
    assert other.boundary == pytest.approx(3.0, abs=1e-5) and other.temperature > kept.temperature


def test_a_scale_that_is_known_is_kept():
    logits = np.concatenate([np.linspace(-2, 0, 50), np.linspace(0, 2, 50)])
    labels = np.repeat([0, 1], 50)
    stored = np.arange(200) < 100
    both, twice = np.concatenate([logits, logits + 3]), np.concatenate([labels, labels])
    assert calibrate(both, twice)["boundary"] == pytest.approx(1.5, abs=0.1)
    scale = fit_platt(both[stored], twice[stored])
    assert calibrate(both, twice, scale=scale)["boundary"] == scale.boundary == pytest.approx(0.0, abs=0.1)


def test_a_perfect_separation_has_a_finite_slope():
    # Targets 2/3 and 1/3 at a distance of 1.5 from the middle.
    scale = fit_platt(np.array([-1.0, 2.0]), np.array([0, 1]))
    assert scale.boundary == 0.5 and scale.temperature == pytest.approx(1.5 / np.log(2.0), rel=1e-6)
    # With a hundred of each they are 101/102 and 1/102.
    scale = fit_platt(np.repeat([-10.0, 10.0], 100), np.repeat([0, 1], 100))
    assert scale.scores([-10.0, 10.0]) == pytest.approx([1 / 102, 101 / 102], abs=1e-6)


def test_logits_the_wrong_way_round_say_next_to_nothing():
    scale = fit_platt(np.array([3.0, -1.0]), np.array([0, 1]))
    assert scale.boundary == pytest.approx(1.0)
    assert scale.scores([3.0, -1.0]) == pytest.approx([0.5025, 0.4975], abs=1e-6)  # one deviation is 0.01 of a logit


@pytest.mark.parametrize("constant", [0.7, -1e-30, 3e38])
def test_equal_logits_score_one_half(constant):
    decision = calibrate(np.full(3, np.float32(constant)), np.array([0, 0, 1]))
    assert scale_of(decision).scores(np.float32(constant)) == 0.5 == decision["threshold"]


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_no_slope_and_bias_of_a_grid_are_better(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(40) % 2
    logits = rng.normal(0, 3, 40) + labels
    assume(logits[labels == 1].min() < logits[labels == 0].max())
    assume(logits[labels == 1].mean() > logits[labels == 0].mean() + 0.1)
    targets = np.where(labels == 1, 21 / 22, 1 / 22)

    def loss(slope, bias):
        return np.mean(np.logaddexp(0, slope * logits + bias) - targets * (slope * logits + bias))

    scale = fit_platt(logits, labels)
    grid = [loss(slope, bias) for slope in np.geomspace(0.02, 20, 40) for bias in np.linspace(-4, 4, 41)]
    assert loss(1 / scale.temperature, -scale.boundary / scale.temperature) <= min(grid) + 1e-6


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
    assert fit_platt(logits, labels).boundary == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.5, 3.0), st.integers(20, 60))
def test_scores_are_those_of_an_unpenalised_logistic_regression(seed, distance, fakes):
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
    scale = fit_platt(logits, labels)
    assert scale.boundary == pytest.approx(boundary, abs=2e-3)
    np.testing.assert_allclose(scale.scores(logits), oracle.predict_proba(logits[:, None])[:, 1], atol=1e-3)


@settings(deadline=None)
@given(scored(), st.sampled_from([0.01, 0.05, 0.3]))
def test_threshold_at_fpr_calls_as_many_as_may_be_and_no_more(case, rate):
    scores, labels = case
    reals = scores[labels == 0]
    chosen = threshold_at_fpr(scores, labels, rate)
    assert (reals >= chosen).mean() <= rate
    assert (reals >= reals[reals < chosen].max()).mean() > rate


def test_threshold_at_fpr_by_hand():
    scores, labels = np.linspace(0.0, 0.9, 10, dtype=np.float32), np.zeros(10)
    # Two of ten may be called fake, 0.8 and 0.9: half way from 0.7 to 0.8. None may be: half way from 0.9 to 1.
    assert threshold_at_fpr(scores, labels, 0.2) == pytest.approx(0.75, abs=1e-6)
    assert threshold_at_fpr(scores, labels, 0.29) == pytest.approx(0.75, abs=1e-6)
    assert threshold_at_fpr(scores, labels, 0.05) == pytest.approx(0.95, abs=1e-6)
    assert threshold_at_fpr(np.ones(4, np.float32), np.zeros(4), 0.5) > 1


def test_too_few_real_images_know_no_rate():
    logits, labels = np.arange(139.0), np.repeat([0, 1], [99, 40])
    decision = calibrate(logits, labels)
    assert decision["threshold_at_1pct_fpr"] is None and decision["validation_reals"] == 99
    # Of 99 real images 4 are at most 5 %.
    reals = scale_of(decision).scores(logits[labels == 0])
    assert (reals >= decision["threshold_at_5pct_fpr"]).sum() == 4


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_model_that_diverged_is_refused(broken):
    with pytest.raises(LAEError, match=r"1 of 3 .*diverged"):
        calibrate([0.1, broken, 0.3], [0, 1, 1])


def test_one_class_is_refused():
    with pytest.raises(LAEError, match="only one kind"):
        calibrate(np.zeros(3), np.ones(3, int))


@pytest.mark.parametrize("offset", [0.0, 13.2, 13.6, 13.8, 14.5, 1e5])
def test_the_stored_decision_separates_float32_scores(offset):
    """The model compares float32 scores with a float32 threshold, also where logits lie far from 0."""
    logits, labels = np.array([-1.0, 0.5, 0.7, 3.0]) + offset, np.array([0, 0, 1, 1])
    decision = calibrate(logits, labels)
    scores = scale_of(decision).scores(logits)
    assert scores[1] < scores[2] and scores.dtype == np.float32
    assert list(scores >= np.float32(decision["threshold"])) == [False, False, True, True]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.floats(-1e4, 1e4, width=32), st.integers(0, 1)), min_size=2, max_size=20),
    st.floats(-1e4, 1e4, width=32),
)
def test_a_logit_at_or_above_the_boundary_scores_at_least_one_half(pairs, other):
    logits, labels = (np.array(values) for values in zip(*pairs, strict=True))
    assume(0 < labels.sum() < len(labels))
    scale = fit_platt(logits, labels)
    assert scale.boundary == np.float32(scale.boundary) and scale.temperature > 0
    tried = np.array([*logits, other, np.nextafter(np.float32(scale.boundary), np.float32(np.inf)), scale.boundary])
    scores = scale.scores(tried)
    assert (scores[tried >= scale.boundary] >= 0.5).all()
    # Nearer to the boundary than this a score below 0.5 does not exist in float32.
    apart = (scale.boundary - tried) / scale.temperature > 2e-7
    assert (scores[apart] < 0.5).all()


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_validation_is_decided_as_the_regression_decides_it(seed, spread):
    """Logits of ordinary size are parted without exception, however close two of them lie to the boundary."""
    rng = np.random.default_rng(seed)
    labels = np.arange(30) % 2
    logits = (spread * (rng.normal(0, 1, 30) + labels)).astype(np.float32).astype(np.float64)
    scale = fit_platt(logits, labels)
    targets = np.where(labels == 1, 16 / 17, 1 / 17)
    errors = expit((logits - scale.boundary) / scale.temperature) - targets
    if logits[labels == 1].mean() > logits[labels == 0].mean():
        assert np.mean(errors) == pytest.approx(0, abs=1e-3)  # the regression's own condition for its bias
    np.testing.assert_array_equal(scale.scores(logits) >= 0.5, logits >= scale.boundary)


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
