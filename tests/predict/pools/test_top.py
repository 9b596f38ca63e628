"""The best rows under a cap: by hand, against the plain greedy choice, and however the parts are cut."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.predict.pools.scorer import SCORES
from lae_tf.predict.pools.top import Top


def table(rows):
    """Rows are (row, group, score)."""
    columns = {
        "row": [row for row, *_ in rows],
        "path": [f"{row}.png" for row, *_ in rows],
        "group": [group for _, group, _ in rows],
        "score": [score for *_, score in rows],
        "label": ["fake"] * len(rows),
        "verdict": ["unsure"] * len(rows),
        "logit": [0.0] * len(rows),
    }
    return pa.table(columns, schema=SCORES)


def rows_of(found):
    return found["row"].to_pylist()


BY_HAND = [(0, "a", 0.9), (1, "a", 0.8), (2, "b", 0.7), (3, "a", 0.6), (4, None, 0.5), (5, None, 0.4), (6, "b", 0.3)]


def test_by_hand():
    assert rows_of(Top(3).of([table(BY_HAND)])) == [0, 1, 2]
    assert rows_of(Top(3, per_group=1).of([table(BY_HAND)])) == [0, 2, 4]
    # Without a group there is no cap.
    assert rows_of(Top(10, per_group=1).of([table(BY_HAND)])) == [0, 2, 4, 5]
    assert rows_of(Top(10, per_group=2).of([table(BY_HAND)])) == [0, 1, 2, 4, 5, 6]


def test_equal_scores_go_by_row():
    assert rows_of(Top(2).of([table([(5, "a", 0.5), (3, "b", 0.5), (4, "c", 0.5)])])) == [3, 4]


def test_nothing():
    assert Top(3, 1).of([]).num_rows == 0 and Top(3).of([]).schema == SCORES


scores = st.sampled_from([0.1, 0.2, 0.5, 0.9])
rows = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "", None]), scores), max_size=40)


@given(rows, st.integers(1, 8), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99))
def test_parts_merged_in_any_order_give_the_greedy_choice(drawn, k, cap, parts, seed):
    drawn = [(row, group, score) for row, (group, score) in enumerate(drawn)]
    expected, counts = [], {}
    for row, group, _ in sorted(drawn, key=lambda one: (-one[2], one[0])):
        if len(expected) < k and (not group or counts.get(group, 0) < cap):
            counts[group] = counts.get(group, 0) + 1
            expected.append(row)
    rng = np.random.default_rng(seed)
    homes = rng.integers(0, parts, len(drawn))
    pieces = [table([one for one, home in zip(drawn, homes, strict=True) if home == part]) for part in range(parts)]
    top = Top(k, cap)
    found = top.of([])
    for piece in rng.permutation(parts):
        found = top.of([top.of([pieces[piece]]), found])
    assert rows_of(found) == expected
