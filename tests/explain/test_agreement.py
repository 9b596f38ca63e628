"""Agreement with masks by hand, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, roc_auc_score

from lae_tf.explain.agreement import agreement, best_iou

MASK = np.array([[1, 1], [0, 0]], np.uint8)


def test_by_hand():
    # The peak lies inside, 0.9 + 0.2 of 1.6 lies inside, and of the four pairs three are in order.
    found = agreement(np.array([[0.9, 0.2], [0.4, 0.1]], np.float32), MASK)
    assert found["pointing"] == 1
    assert found["energy_inside"] == pytest.approx(1.1 / 1.6)
    assert found["pixel_auroc"] == pytest.approx(3 / 4)
    # From the top: 1/2, 1/3, 2/3, 2/4.
    assert found["best_iou"] == pytest.approx(2 / 3)


def test_pixels_of_one_value_come_in_together():
    """Whatever their order: {0.5} holds one forged pixel and one other; 1/2 alone would need a threshold between."""
    for importance in ([[0.5, 0.1], [0.5, 0.1]], [[0.1, 0.5], [0.5, 0.1]]):
        assert best_iou(np.array(importance, np.float32), MASK) == pytest.approx(2 / 4)


def test_an_empty_map_marks_everything():
    assert best_iou(np.zeros((2, 2), np.float32), MASK) == pytest.approx(0.5)


@given(st.integers(0, 10_000))
def test_against_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, (6, 5)).astype(np.uint8)
    mask[0, 0], mask[0, 1] = 0, 1
    importance = (rng.integers(0, 9, (6, 5)) / 8).astype(np.float32)
    thresholds = np.unique(importance)
    expected = max(jaccard_score(mask.ravel(), (importance >= t).ravel()) for t in thresholds)
    assert best_iou(importance, mask) == pytest.approx(expected)
    assert agreement(importance, mask)["pixel_auroc"] == pytest.approx(
        roc_auc_score(mask.ravel(), importance.ravel()), abs=1e-9
    )
