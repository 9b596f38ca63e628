"""Detection metrics against scikit-learn, numbers derived by hand, and a bootstrap written as a plain loop."""

import math
import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn import metrics as sk

from lae_tf.errors import LAEError
from lae_tf.metrics import detection as metrics
from lae_tf.metrics.detection import (
    DETECTION_METRICS,
    Statistic,
    bootstrap_intervals,
    detection_metrics,
    group_means,
    paired_bootstrap,
    weighted_metrics,
)

THRESHOLD = 0.5


def sample(images: int, seed: int, levels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes and scores with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, images)
    labels[:2] = 0, 1
    return labels, np.clip(np.round(rng.normal(0.4 + 0.2 * labels, 0.3) * levels) / levels, 0, 1)


def detection_statistic(threshold: float) -> Statistic:
    """The metrics of `detection_metrics` as a statistic of a frame with the columns label and score."""

    def statistic(frame: pd.DataFrame, weights: np.ndarray) -> Mapping[str, np.ndarray]:
        labels, scores = (frame[name].to_numpy(dtype=float) for name in ("label", "score"))
        return weighted_metrics(labels, scores, threshold, weights)

    return statistic


def frame_of(images: int, groups: int, seed: int) -> pd.DataFrame:
    labels, scores = sample(images, seed)
    group = [f"video{i}" for i in np.random.default_rng(seed + 1).integers(0, groups, images)]
    return pd.DataFrame({"path": [f"{i}.png" for i in range(images)], "label": labels, "group": group, "score": scores})


@st.composite
def labelled_scores(draw):
    labels = draw(st.lists(st.integers(0, 1), min_size=2, max_size=40).filter(lambda y: 0 < sum(y) < len(y)))
    levels = st.integers(0, 20).map(lambda level: level / 20)
    scores = draw(st.lists(levels, min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(scores)


@given(labelled_scores())
def test_agrees_with_scikit_learn(case):
    labels, scores = case
    found = detection_metrics(labels, scores, THRESHOLD)
    called = scores >= THRESHOLD
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    expected = {
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "sensitivity": sk.recall_score(labels, called),
        "specificity": sk.recall_score(1 - labels, ~called),
        "auroc": sk.roc_auc_score(labels, scores),
        "average_precision": sk.average_precision_score(labels, scores),
        "tpr_at_1pct_fpr": tpr[fpr <= 0.01].max(),
        "tpr_at_5pct_fpr": tpr[fpr <= 0.05].max(),
        "brier": np.mean((scores - labels) ** 2),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    # The equal error rate by root finding along the piecewise linear ROC curve.
    corner = np.arange(len(fpr))
    met = brentq(lambda at: np.interp(at, corner, fpr) + np.interp(at, corner, tpr) - 1, 0, len(fpr) - 1)
    assert found["eer"] == pytest.approx(np.interp(met, corner, fpr), abs=1e-9)


def test_equal_error_rate_by_hand():
    # Descending: fake .9, real .8, fake .7, fake .6, real .5, real .4, real .3
    # (fpr, fnr): (0,1) (0,2/3) (1/4,2/3) (1/4,1/3) (1/4,0) ...: fnr falls from 1/3 to 0 at fpr = 1/4.
    assert detection_metrics([1, 0, 1, 1, 0, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], 0.5)["eer"] == pytest.approx(
        1 / 4
    )
    # One tie of a fake and a real: a straight line from (fpr 0, fnr 1) to (1, 0) meets fpr = fnr at 1/2.
    assert detection_metrics([1, 0], [0.5, 0.5], 0.5)["eer"] == pytest.approx(1 / 2)
    # Corners (0, 1/2) and (1/2, 0) joined by the tie: the diagonal fpr = fnr is met at 1/4.
    assert detection_metrics([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1], 0.5)["eer"] == pytest.approx(1 / 4)
    assert detection_metrics([1, 0], [0.9, 0.1], 0.5)["eer"] == 0
    assert detection_metrics([1, 0], [0.1, 0.9], 0.5)["eer"] == 1


def test_tpr_at_fpr_by_hand():
    # 100 reals at 0.00 ... 0.99; four fakes. One false alarm (0.99) is allowed at 1 %, five at 5 %.
    reals = np.arange(100) / 100
    fakes = [0.995, 0.985, 0.955, 0.5]
    found = detection_metrics([0] * 100 + [1] * 4, [*reals, *fakes], 0.5)
    assert found["tpr_at_1pct_fpr"] == 2 / 4
    assert found["tpr_at_5pct_fpr"] == 3 / 4
    # With fewer than 100 reals 1 % means: without any false alarm.
    assert detection_metrics([0] * 99 + [1] * 4, [*reals[1:], *fakes], 0.5)["tpr_at_1pct_fpr"] == 1 / 4


def test_expected_calibration_error_by_hand():
    # Bin [0, 1/15): scores 0 and 0.06, one of them fake: |0.03 - 0.5| * 2/3; the bin of 0.8 holds one fake: 0.2 * 1/3.
    found = detection_metrics([0, 1, 1], [0.0, 0.06, 0.8], 0.5)
    assert found["ece"] == pytest.approx(0.47 * 2 / 3 + 0.2 / 3)
    assert detection_metrics([0, 1], [0.0, 1.0], 0.5)["ece"] == 0


@given(labelled_scores(), st.sampled_from([np.exp, np.cbrt, lambda s: 3 * s - 7]))
def test_ranking_metrics_ignore_a_monotone_map(case, rising):
    labels, scores = case
    before, after = (detection_metrics(labels, s, 0.5) for s in (scores, rising(scores)))
    for name in ("auroc", "average_precision", "eer", "tpr_at_1pct_fpr", "tpr_at_5pct_fpr"):
        assert after[name] == before[name]


@given(labelled_scores())
def test_exchanging_the_classes(case):
    labels, scores = case
    plain, swapped, reversed_ = (
        detection_metrics(*pair, 0.5) for pair in ((labels, scores), (1 - labels, scores), (1 - labels, 1 - scores))
    )
    assert swapped["auroc"] == pytest.approx(1 - plain["auroc"])
    for name in ("auroc", "eer", "brier"):
        assert reversed_[name] == pytest.approx(plain[name])


@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1]])
def test_undefined_is_nan(labels):
    found = detection_metrics(labels, [0.2] * len(labels), 0.5)
    assert tuple(found) == DETECTION_METRICS
    undefined = {name for name, value in found.items() if math.isnan(value)}
    needs_both = {
        "balanced_accuracy",
        "auroc",
        "average_precision",
        "eer",
        "tpr_at_1pct_fpr",
        "tpr_at_5pct_fpr",
    }
    if not labels:
        assert undefined == set(DETECTION_METRICS)
    else:
        assert undefined == needs_both | {"specificity" if labels[0] else "sensitivity"}


def test_logits_have_no_calibration():
    found = detection_metrics([0, 1], [-math.inf, 3.0], 0.0)
    assert found["auroc"] == found["accuracy"] == 1
    assert math.isnan(found["brier"]) and math.isnan(found["ece"])


@pytest.mark.parametrize(
    ("labels", "scores", "threshold", "message"),
    [
        ([0, 1, 1], [0.1, math.nan, math.nan], 0.5, "2 of 3 scores are NaN .the first is number 1"),
        ([0, 2], [0.1, 0.2], 0.5, "0 .real. or 1 .fake."),
        ([0, 1], [0.1], 0.5, "equal length"),
        ([[0], [1]], [[0.1], [0.2]], 0.5, "equal length"),
        ([0, 1], [0.1, 0.2], math.nan, "threshold is NaN"),
    ],
)
def test_refuses(labels, scores, threshold, message):
    with pytest.raises(LAEError, match=message):
        detection_metrics(labels, scores, threshold)


def test_group_means():
    frame = pd.DataFrame(
        {
            "group": ["v1", "v1", "v1", "v2"],
            "label": [1, 1, 0, 1],
            "method": ["swap", "swap", "", "swap"],
            "score": [0.2, 0.6, 0.1, 0.9],
            "iou": [0.5, np.nan, np.nan, np.nan],
            "path": list("abcd"),
        }
    )
    means = group_means(frame).set_index(["group", "label", "method"])
    assert means["score"].to_dict() == pytest.approx(
        {("v1", 1, "swap"): 0.4, ("v1", 0, ""): 0.1, ("v2", 1, "swap"): 0.9}
    )
    assert means["images"].to_dict() == {("v1", 1, "swap"): 2, ("v1", 0, ""): 1, ("v2", 1, "swap"): 1}
    assert means.loc[("v1", 1, "swap"), "iou"] == 0.5
    assert np.isnan(means.loc[("v2", 1, "swap"), "iou"])


def test_bootstrap_equals_a_plain_loop():
    frame, draws, seed, level = frame_of(60, 9, seed=3), 40, 11, 0.8
    found = bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=seed, draws=draws, level=level)

    names = sorted(frame["group"].unique())
    counts = np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), size=draws)
    resampled = []
    for row in counts:
        parts = [frame[frame["group"] == name] for name, times in zip(names, row, strict=True) for _ in range(times)]
        drawn = pd.concat(parts)
        resampled.append(detection_metrics(drawn["label"], drawn["score"], THRESHOLD))
        assert resampled[-1]["auroc"] == pytest.approx(sk.roc_auc_score(drawn["label"], drawn["score"]))
    point = detection_metrics(frame["label"], frame["score"], THRESHOLD)
    for name in DETECTION_METRICS:
        low, high = np.quantile([draw[name] for draw in resampled], [0.1, 0.9])
        assert found[name] == pytest.approx((point[name], low, high), abs=1e-12)


def test_portions_do_not_change_the_draws(monkeypatch):
    frame = frame_of(50, 10, seed=1)
    whole = bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=5, draws=30)
    monkeypatch.setattr(metrics, "WEIGHTS_AT_ONCE", 7 * len(frame))
    assert bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=5, draws=30) == whole
    assert bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=6, draws=30) != whole


@settings(max_examples=20)
@given(labelled_scores())
def test_one_group_is_degenerate(case):
    labels, scores = case
    frame = pd.DataFrame({"label": labels, "score": scores, "group": "only"})
    for interval in bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=0, draws=8).values():
        assert interval == pytest.approx((interval.value,) * 3)


def test_frames_of_one_video_are_no_independent_evidence():
    few = frame_of(40, 10**9, seed=2)
    repeated = pd.concat([few] * 10)
    narrow = repeated.assign(group=np.arange(len(repeated)))
    statistic = detection_statistic(THRESHOLD)
    once, grouped, ungrouped = (
        bootstrap_intervals(frame, statistic, seed=0)["auroc"] for frame in (few, repeated, narrow)
    )
    assert grouped == pytest.approx(once)
    assert ungrouped.high - ungrouped.low < 0.5 * (once.high - once.low)


def test_draws_without_both_classes_are_left_out():
    frame = pd.DataFrame({"label": [0, 1], "score": [0.2, 0.8], "group": ["a", "b"]})
    found = bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=0, draws=50)
    assert found["auroc"] == (1, 1, 1)
    reals = bootstrap_intervals(frame[:1], detection_statistic(THRESHOLD), seed=0, draws=50)
    assert np.isnan(reals["auroc"]).all()
    assert reals["specificity"] == (1, 1, 1)
    nothing = bootstrap_intervals(frame[:0], detection_statistic(THRESHOLD), seed=0, draws=5)
    assert all(np.isnan(interval).all() for interval in nothing.values())


def test_bootstrap_needs_groups():
    frame = pd.DataFrame({"label": [0, 1], "score": [0.2, 0.8], "group": ["a", None]})
    with pytest.raises(LAEError, match="group"):
        bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=0)


def test_paired_difference_shares_the_draws():
    a = frame_of(300, 60, seed=4)
    b = a.assign(score=(a["score"] * 0.9 + 0.02)).sample(frac=1, random_state=0)
    statistic = detection_statistic(THRESHOLD)
    found = paired_bootstrap((a, statistic), (b, statistic), seed=0, draws=200)
    # The two rank the images alike, so the difference is nothing in every draw, though each AUROC has an interval.
    assert found["auroc"] == pytest.approx((0, 0, 0), abs=1e-12)
    alone = bootstrap_intervals(a, statistic, seed=0, draws=200)["auroc"]
    assert alone.high - alone.low > 0.03
    # The difference of accuracies, by hand, and its sign when the models change places.
    called = (a["score"] >= 0.5) == a["label"], (a["score"] * 0.9 + 0.02 >= 0.5) == a["label"]
    assert found["accuracy"].value == pytest.approx(called[0].mean() - called[1].mean())
    swapped = paired_bootstrap((b, statistic), (a, statistic), seed=0, draws=200)
    assert swapped["accuracy"] == pytest.approx([-found["accuracy"][i] for i in (0, 2, 1)])


def test_paired_bootstrap_needs_the_same_images():
    a, statistic = frame_of(20, 5, seed=0), detection_statistic(THRESHOLD)
    for b in (a[:-1], a.assign(label=1 - a["label"]), a.assign(path=a["path"] + "x")):
        with pytest.raises(LAEError, match="same images"):
            paired_bootstrap((a, statistic), (b, statistic), seed=0, draws=5)
    twice = pd.concat([a, a])
    with pytest.raises(LAEError, match="every path once"):
        paired_bootstrap((twice, statistic), (twice, statistic), seed=0, draws=5)


def test_a_thousand_draws_are_quick():
    frame = frame_of(3000, 300, seed=0)
    start = time.process_time()
    bootstrap_intervals(frame, detection_statistic(THRESHOLD), seed=0, draws=1000)
    # About 0.3 s here; a loop over draws that sorts each time takes about 5 s.
    assert time.process_time() - start < 3
