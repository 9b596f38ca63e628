"""Labels and how scores are written beside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.errors import UsageError
from lae_tf.metrics.decision import given_threshold, label_of, score_text


@pytest.mark.parametrize(
    ("score", "threshold", "text"),
    [
        (0.7274, 0.731, "0.7274"),
        (0.49996, 0.5, "0.49996"),  # 0.5000 would be a fake
        (0.49994, 0.5, "0.4999"),
        (0.5, 0.5, "0.5000"),
        (0.73104, 0.731, "0.7310"),
        (0.73104, 0.73103, "0.73104"),
        (1.0, 1.0, "1.0000"),
        (0.99999994, 1.0, "0.9999999"),
    ],
)
def test_scores_are_written_on_their_side_of_the_threshold(score, threshold, text):
    assert score_text(score, threshold) == text


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 6))
def test_no_rounding_changes_the_label(score, threshold, digits):
    text = score_text(score, threshold, digits)
    assert label_of(float(text), threshold) == label_of(score, threshold)
    assert len(text) >= digits + 2 and abs(float(text) - score) <= 0.5 * 10.0**-digits + 1e-15


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), float("inf")])
def test_what_is_no_score_is_no_threshold(value):
    with pytest.raises(UsageError, match="expected a score, from 0 to 1"):
        given_threshold(value)


def test_a_threshold_is_rounded_as_scores_are():
    assert label_of(float(np.float32(0.7)), given_threshold(0.7).value) == "fake"
