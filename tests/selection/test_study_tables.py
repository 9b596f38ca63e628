"""What a study says, by numbers derived by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from lae_tf.selection.study_tables import MEASURES, masks_needed, paired_differences, summarise, write_study


def cells(*rows: tuple[int, str, int, float]) -> pd.DataFrame:
    """Return cells (seed, strategy, masks, value), every measure of which has that value."""
    table = pd.DataFrame([row[:3] for row in rows], columns=["seed", "strategy", "masks"])
    table["share"] = table["masks"] / 1000
    for measure in MEASURES:
        table[measure] = [row[3] for row in rows]
    return table


STUDY = cells(
    *((seed, "no masks", 0, 0.5) for seed in range(3)),
    *((seed, "random", 4, 0.50 + 0.1 * seed) for seed in range(3)),
    *((seed, "random", 8, 0.60 + 0.1 * seed) for seed in range(3)),
    *((seed, "typical", 4, 0.53 + 0.11 * seed) for seed in range(3)),
    *((seed, "typical", 8, 0.73 + 0.11 * seed) for seed in range(3)),
)


def test_summary_is_a_t_interval() -> None:
    row = summarise(STUDY).set_index(["strategy", "masks"]).loc[("random", 4)]
    # Mean 0.6, standard deviation 0.1, t(0.975, 2) = 4.3027: half width 4.3027 * 0.1 / sqrt(3) = 0.2484.
    assert row["unseen_iou"] == pytest.approx(0.6)
    assert row["unseen_iou_high"] == pytest.approx(0.8484, abs=1e-4)


def test_differences_are_paired_by_seed() -> None:
    found = paired_differences(STUDY).set_index(["strategy", "masks", "minus"])
    row = found.loc[("typical", 4, "random")]
    # 0.03, 0.04, 0.05: mean 0.04, standard deviation 0.01, half width 0.02484; that of the cells themselves is ten
    # times wider.
    assert row["seen_auroc"] == pytest.approx(0.04)
    assert row["seen_auroc_low"] == pytest.approx(0.01516, abs=1e-5) and row["seeds"] == 3
    assert found.loc[("random", 8, "no masks"), "seen_auroc"] == pytest.approx(0.2)
    assert set(found.index.get_level_values("minus")) == {"random", "no masks"}
    assert ("random", 4, "random") not in found.index


def test_masks_needed_lie_on_the_line_between_budgets() -> None:
    # Random reaches 0.7 with 8; typical has 0.64 with 4 and 0.84 with 8: 0.7 lies three tenths of the way.
    needed = masks_needed(summarise(STUDY), "seen_auroc")
    assert needed == pytest.approx({"random": 8, "typical": 5.2})
    worse = cells((0, "no masks", 0, 0.5), (0, "random", 4, 0.9), (0, "typical", 4, 0.8))
    assert masks_needed(summarise(worse), "seen_auroc") == pytest.approx(
        {"random": 4, "typical": float("nan")}, nan_ok=True
    )
    assert masks_needed(summarise(worse[worse["strategy"] != "random"]), "seen_auroc") == {}


def test_one_seed_has_no_intervals_and_a_page(tmp_path) -> None:  # type: ignore[no-untyped-def]
    page = write_study(tmp_path, STUDY[STUDY["seed"] == 0], {"seeds": "0"})
    assert page.is_file() and pd.read_csv(tmp_path / "differences.csv")["seen_auroc_low"].isna().all()
    assert "Masks needed" in page.read_text(encoding="utf-8")
