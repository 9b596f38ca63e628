"""Localisation metrics against scikit-learn and against maps small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lae_tf.errors import LAEError
from lae_tf.evaluation.localisation import FAKE_COLUMNS, HISTOGRAM_BINS, LocalisationMeter

SIZE = 8


def batch(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Attention that leans towards the masks; no mask is empty or full."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((images, SIZE, SIZE), np.float32)
    for one in mask:
        top, left = rng.integers(0, SIZE - 1, 2)
        one[top : top + rng.integers(1, SIZE), left : left + rng.integers(1, SIZE)] = 1
    attention = np.clip(rng.normal(0.35 + 0.3 * mask, 0.25), 0, 1)
    return attention.astype(np.float32), mask


def test_four_pixels_by_hand():
    # A = .9 .6   m = 1 0   P = {.9, .6}, P and m = {.9}, P or m = {.9, .6, .5}
    #     .5 .1       1 0   IoU = 1/3, F1 = 2/4, energy = 1.4/2.1; pairs won: .9>.6 .9>.1 .5>.1 of 4
    columns = LocalisationMeter().update([[[0.9, 0.6], [0.5, 0.1]]], [[[1, 0], [1, 0]]], [1])
    assert {name: values[0] for name, values in columns.items() if name != "false_alarm_area"} == pytest.approx(
        {"iou": 1 / 3, "f1": 0.5, "energy_inside": 1.4 / 2.1, "pointing": 1, "pixel_auroc": 3 / 4}
    )
    assert np.isnan(columns["false_alarm_area"][0])


def test_a_real_counts_only_its_false_alarms():
    # Exactly 0.5 is no alarm. Whatever stands in a real's mask is not read.
    meter = LocalisationMeter()
    columns = meter.update([[[0.9, 0.5], [0.2, 0.1]]], np.full((1, 2, 2), 7), [0])
    assert columns["false_alarm_area"] == [0.25]
    assert all(np.isnan(columns[name]).all() for name in FAKE_COLUMNS)
    assert meter.result()["reals"] == 1 and meter.result()["annotated_fakes"] == 0


def test_silence_on_a_real_does_not_move_iou():
    attention, mask = batch(3, seed=0)
    alone, mixed = LocalisationMeter(), LocalisationMeter()
    alone.update(attention, mask, [1, 1, 1])
    mixed.update(np.concatenate([attention, 0 * attention]), np.concatenate([mask, 0 * mask]), [1, 1, 1, 0, 0, 0])
    assert mixed.result()["iou"] == alone.result()["iou"]
    assert mixed.result()["f1"] == alone.result()["f1"]
    assert mixed.result()["false_alarm_area"] == 0


def test_a_missing_mask_is_no_empty_mask():
    attention, mask = batch(3, seed=1)
    mask[2] = 0
    columns = LocalisationMeter().update(attention, mask, [[1], [1], [1]], mask_known=[[1], [0], [1]])
    for name in FAKE_COLUMNS:
        assert np.isnan(columns[name]).tolist() == [False, True, True]
    assert np.isnan(columns["false_alarm_area"]).all()


def test_empty_prediction_and_full_mask():
    meter = LocalisationMeter()
    mask = np.zeros((2, 2, 2))
    mask[0, 0, 0], mask[1] = 1, 1
    columns = meter.update(np.zeros((2, 2, 2)), mask, [1, 1])
    assert columns["iou"].tolist() == columns["f1"].tolist() == columns["energy_inside"].tolist() == [0, 0]
    # All four pixels share the maximum: one of four, and four of four, lie inside.
    assert columns["pointing"].tolist() == [0.25, 1]
    assert columns["pixel_auroc"][0] == 0.5 and np.isnan(columns["pixel_auroc"][1])


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_agrees_with_scikit_learn(seed):
    attention, mask = batch(4, seed)
    meter = LocalisationMeter()
    columns = meter.update(attention, mask, np.ones(4))
    for i in range(4):
        a, m = attention[i].ravel(), mask[i].ravel()
        assert columns["iou"][i] == pytest.approx(sk.jaccard_score(m, a > 0.5, zero_division=0))
        assert columns["f1"][i] == pytest.approx(sk.f1_score(m, a > 0.5, zero_division=0))
        assert columns["pointing"][i] == pytest.approx(m[a == a.max()].mean())
        if m.all():
            continue
        levels = np.minimum(np.floor(a * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)
        assert columns["pixel_auroc"][i] == pytest.approx(sk.roc_auc_score(m, levels))
        same_level = np.mean(levels[m == 1][:, None] == levels[m == 0][None])
        assert abs(columns["pixel_auroc"][i] - sk.roc_auc_score(m, a)) <= same_level / 2 + 1e-12


def test_pooled_pixel_auroc_over_batches():
    attention, mask = batch(9, seed=5)
    is_fake, known = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1]), np.array([1, 1, 1, 0, 1, 1, 0, 1, 1])
    meter, whole = LocalisationMeter(), LocalisationMeter()
    parts = [
        meter.update(attention[part], mask[part], is_fake[part], known[part])
        for part in (slice(0, 4), slice(4, 8), slice(8, 9))
    ]
    columns = whole.update(attention, mask, is_fake, known)
    for name, values in columns.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
    assert meter.result() == pytest.approx(whole.result())
    used = (is_fake & known).astype(bool)
    expected = sk.roc_auc_score(mask[used].ravel(), attention[used].ravel())
    assert meter.result()["pooled_pixel_auroc"] == pytest.approx(expected, abs=2e-3)
    assert meter.result()["iou"] == pytest.approx(np.nanmean(columns["iou"]))
    assert meter.result()["annotated_fakes"] == used.sum()


def test_a_trailing_channel_axis_is_the_same():
    attention, mask = batch(2, seed=3)
    plain = LocalisationMeter().update(attention, mask, [1, 1])
    channel = LocalisationMeter().update(attention[..., None], mask[..., None], [1, 1])
    for name in plain:
        np.testing.assert_array_equal(plain[name], channel[name])


def test_nothing_seen():
    meter = LocalisationMeter()
    columns = meter.update(np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), [])
    assert all(len(values) == 0 for values in columns.values())
    result = meter.result()
    assert result.pop("annotated_fakes") == result.pop("reals") == 0
    assert np.isnan(list(result.values())).all()


@pytest.mark.parametrize(
    ("attention", "mask", "is_fake", "known", "message"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), [1], None, "must both be"),
        (np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3)), [1], None, "must both be"),
        (np.zeros((1, 0, 2)), np.zeros((1, 0, 2)), [1], None, "must both be"),
        (np.full((1, 2, 2), 1.5), np.ones((1, 2, 2)), [1], None, r"\[0, 1\]"),
        (np.full((1, 2, 2), np.nan), np.ones((1, 2, 2)), [0], None, r"\[0, 1\]"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), 255), [1], None, "0 .untouched. or 1"),
        (np.zeros((2, 2, 2)), np.ones((2, 2, 2)), [1], None, "each of 2 images"),
        (np.zeros((2, 2, 2)), np.ones((2, 2, 2)), [1, 0], [1], "each of 2 images"),
    ],
)
def test_refuses(attention, mask, is_fake, known, message):
    with pytest.raises(LAEError, match=message):
        LocalisationMeter().update(attention, mask, is_fake, known)
