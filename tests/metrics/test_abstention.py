"""Shares of unsure verdicts and the accuracy of the others, by hand."""

import numpy as np
import pandas as pd
import pytest

from lae_tf.errors import LAEError
from lae_tf.metrics.abstention import ABSTENTION_METRICS, abstention_statistic


def images(*pairs):
    return pd.DataFrame(pairs, columns=["label", "verdict"])


FRAME = images((0, "real"), (0, "unsure"), (0, "fake"), (1, "fake"), (1, "unsure"))


def test_shares_by_hand():
    found = abstention_statistic(
        FRAME,
        np.array(
            [
                [1.0, 1, 1, 1, 1],  # 2 of 5, 1 of 3 reals, 1 of 2 fakes; of the 3 others 2 are right
                [2.0, 1, 1, 0, 4],  # 5 of 8, 1 of 4, 4 of 4; of 3 others 2
                [0.0, 1, 0, 0, 3],  # all are unsure: no accuracy
                [1.0, 0, 3, 0, 0],  # no fakes; of 4 others 1
            ]
        ),
    )
    assert tuple(found) == ABSTENTION_METRICS
    np.testing.assert_allclose(found["unsure"], [2 / 5, 5 / 8, 1, 0])
    np.testing.assert_allclose(found["unsure_reals"], [1 / 3, 1 / 4, 1, 0])
    np.testing.assert_allclose(found["unsure_fakes"], [1 / 2, 1, 1, np.nan])
    np.testing.assert_allclose(found["accuracy_sure"], [2 / 3, 2 / 3, np.nan, 1 / 4])


def test_what_is_no_verdict_is_refused():
    with pytest.raises(LAEError, match="must hold real, fake or unsure; found 'Fake'"):
        abstention_statistic(images((0, "real"), (1, "Fake")), np.ones((1, 2)))
