"""The budget counts annotated fakes over all training images, over all rounds together."""

from __future__ import annotations

import pytest

from lae_tf.errors import UsageError
from lae_tf.selection.budget import parse_budget


def test_share_and_count() -> None:
    assert parse_budget("2%", 1000, used=5).left == 15
    assert parse_budget("20", 1000, used=5).left == 15
    assert parse_budget("2.95%", 1000, used=0).total == 29
    assert parse_budget("2.9%", 1000, used=0).total == 29  # which in binary is a little less
    assert parse_budget("20", 1000, used=0).share == pytest.approx(0.02)


@pytest.mark.parametrize("text", ["0", "0%", "0.05%", "-3"])
def test_nothing_to_spend(text: str) -> None:
    with pytest.raises(UsageError, match="expected at least 1"):
        parse_budget(text, 1000, used=0)


@pytest.mark.parametrize("text", ["two", "2 percent", "%", "inf%", "nan%", ""])
def test_not_a_budget(text: str) -> None:
    with pytest.raises(UsageError, match="expected a share such as 2% or a number"):
        parse_budget(text, 1000, used=0)


def test_three_per_cent_is_not_under_three_per_cent() -> None:
    with pytest.raises(UsageError, match="--allow-over-budget"):
        parse_budget("3%", 1000, used=0)
    assert parse_budget("3%", 1000, used=0, allow_over=True).left == 30
    # 3 % of 840 is 25.2: 25 masks stay below it.
    assert parse_budget("3%", 840, used=0).left == 25


def test_earlier_rounds_count() -> None:
    with pytest.raises(UsageError, match="20 are drawn or asked for already"):
        parse_budget("2%", 1000, used=20)
