"""The comparison's numbers, derived by hand on a handful of images."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lae_tf.comparison.compare import (
    ALWAYS_REAL,
    always_real,
    best_peer,
    comparison_table,
    costs,
    differences,
    gather,
    robustness_table,
)
from lae_tf.comparison.protocol import Cell
from lae_tf.comparison.records import RESULT, ROBUSTNESS, SCORES
from lae_tf.config.sections import Config

CONFIG = Config.parse({"data": {"manifest": "m.csv"}})
# Four reals, two fakes seen in training and two unseen, in eight groups.
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
METHODS = ["", "", "", "", "seen", "seen", "new", "new"]


def write_cell(folder, model, seed, scores, threshold=0.5, peer=None, copies=8, **extra):
    """Write a cell whose eight images come so many times, each time from other groups."""
    cell = Cell(model, seed, peer, CONFIG)
    place = folder / "cells" / cell.name
    place.mkdir(parents=True)
    count = 8 * copies
    columns = {"path": [f"{i}.png" for i in range(count)], "group": [f"g{i}" for i in range(count)]}
    of_image = {"method": METHODS * copies, "label": LABELS * copies, "score": list(scores) * copies}
    frame = pd.DataFrame({**columns, **of_image, "split": "test"})
    frame.to_csv(place / SCORES, index=False)
    degraded = pd.concat([frame.assign(degradation=name, logit_shift=0.0) for name in ("none", "jpeg-50")])
    degraded["logit_shift"] = degraded["logit_shift"].where(degraded["label"] == 0)
    degraded.loc[degraded["degradation"] == "jpeg-50", ["score", "logit_shift"]] = 0.0, -2.0
    degraded.to_csv(place / ROBUSTNESS, index=False)
    result = {"threshold": threshold, "parameters": 10, "train_seconds": 60.0 + 60 * seed, "images_per_second": 5.0}
    (place / RESULT).write_text(json.dumps({**result, "mask_budget": 0.02, "localisation": {}, **extra}))
    return cell


PERFECT = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
MISSES_ONE_NEW = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.2]
BLIND_TO_NEW = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.1, 0.2]


@pytest.fixture
def study(tmp_path):
    cells = [
        write_cell(tmp_path, "lae", 0, PERFECT),
        write_cell(tmp_path, "lae", 1, MISSES_ONE_NEW),
        write_cell(tmp_path, "meso", 0, BLIND_TO_NEW, peer="meso"),
        write_cell(tmp_path, "meso", 1, BLIND_TO_NEW, peer="meso"),
        write_cell(tmp_path, "weak", 0, [0.9] * 4 + [0.1] * 4, peer="weak"),
        Cell("never-finished", 0, "x", CONFIG),
    ]
    return tmp_path, cells


def rows_of(table, model):
    return table[table["model"] == model].set_index("method")


def test_accuracies_are_means_over_seeds(study):
    folder, cells = study
    outcomes = gather(cells, folder)
    assert [o.model for o in outcomes] == ["lae", "meso", "weak"]
    table = comparison_table(outcomes, ["seen"], seed=0, draws=200)
    own = rows_of(table, "lae")
    # Six images a method: all right with seed 0, five of six with seed 1.
    assert own.loc["new", "accuracy"] == pytest.approx((1 + 5 / 6) / 2)
    assert own.loc["seen mean", "accuracy"] == 1
    assert own.loc["drop", "accuracy"] == pytest.approx(1 - (1 + 5 / 6) / 2)
    assert own.loc["new", "seeds"] == 2
    assert rows_of(table, "meso").loc["unseen mean", "accuracy"] == pytest.approx(4 / 6)
    low, high = own.loc["new", ["accuracy_low", "accuracy_high"]]
    assert low < own.loc["new", "accuracy"] <= high
    assert best_peer(table, outcomes) == "meso"


def test_intervals_hold_the_spread_over_seeds_too(tmp_path):
    """Two seeds that are right and wrong everywhere: a draw of the seeds gives 0, 1/2 or 1."""
    cells = [
        write_cell(tmp_path, "lae", 0, PERFECT),
        write_cell(tmp_path, "lae", 1, [1 - s for s in PERFECT]),
    ]
    table = comparison_table(gather(cells, tmp_path), ["seen"], seed=0, draws=400)
    row = rows_of(table, "lae").loc["unseen mean"]
    assert row["accuracy"] == pytest.approx(0.5)
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((0.0, 1.0))


def test_differences_are_paired(study):
    folder, cells = study
    paired = differences(gather(cells, folder), ["seen"], seed=0, draws=300)
    meso = paired[paired["model"] == "lae - meso"].set_index("method")
    assert meso.loc["unseen mean", "accuracy"] == pytest.approx((2 / 6 + 1 / 6) / 2)
    # Both decide alike on the seen method and on reals, image by image: the pairing leaves no spread at all.
    assert tuple(meso.loc["seen mean", ["accuracy", "accuracy_low", "accuracy_high"]]) == (0, 0, 0)
    weak = paired[paired["model"] == "lae - weak"].set_index("method")
    assert weak.loc["unseen mean", "seeds"] == 1  # only the seed that both have
    assert weak.loc["unseen mean", "accuracy"] == pytest.approx(1.0)


def test_a_cell_of_an_earlier_protocol_is_marked_wherever_its_model_is_named(tmp_path):
    cells = [
        write_cell(tmp_path, "lae", 0, PERFECT),
        replace(write_cell(tmp_path, "meso", 0, BLIND_TO_NEW, peer="meso"), earlier=True),
    ]
    outcomes = gather(cells, tmp_path)
    table = comparison_table(outcomes, ["seen"], seed=0, draws=50)
    assert set(table["model"]) == {"lae", "meso (earlier terms)"}
    assert best_peer(table, outcomes) == "meso (earlier terms)"
    assert set(differences(outcomes, ["seen"], seed=0, draws=50)["model"]) == {"lae - meso (earlier terms)"}


def test_the_answer_real_to_every_image_is_a_row(study):
    """Four real images and two fakes a method: that answer is right on four of six, with either seed."""
    folder, cells = study
    outcomes = gather(cells, folder)
    (constant,) = always_real(outcomes)
    table = comparison_table([*outcomes, constant], ["seen"], seed=0, draws=50)
    row = rows_of(table, ALWAYS_REAL).loc["unseen mean"]
    assert row["accuracy"] == pytest.approx(4 / 6)
    assert (row["balanced_accuracy"], row["auroc"], row["seeds"]) == (0.5, 0.5, 2)
    paired = differences([outcomes[0], constant], ["seen"], seed=0, draws=50).set_index("method")
    assert paired.loc["unseen mean", "accuracy"] == pytest.approx((1 + 5 / 6) / 2 - 4 / 6)
    assert best_peer(table, outcomes) == "meso"  # it is no peer
    assert always_real([]) == []


def test_group_names_that_are_numbers_stay_apart(tmp_path):
    cell = write_cell(tmp_path, "lae", 0, PERFECT, copies=1)
    scores = tmp_path / "cells" / cell.name / SCORES
    groups = ["1", "01", "001", "", "2", "02", "002", "3.0"]
    pd.read_csv(scores).assign(group=groups).to_csv(scores, index=False)
    (outcome,) = gather([cell], tmp_path)
    assert outcome.frame["group"].tolist() == [*groups[:3], "3.png", *groups[4:]]


def test_too_few_groups_have_no_interval(tmp_path):
    """The new fakes come from nine groups, all others from more."""
    cells = [
        write_cell(tmp_path, "lae", 0, PERFECT),
        write_cell(tmp_path, "meso", 0, BLIND_TO_NEW, peer="meso"),
    ]
    for cell in cells:
        scores = tmp_path / "cells" / cell.name / SCORES
        frame = pd.read_csv(scores, keep_default_na=False)
        new = frame.index[frame["method"] == "new"]
        frame.loc[new, "group"] = [f"new {number % 9}" for number in range(len(new))]
        frame.to_csv(scores, index=False)
    outcomes = gather(cells, tmp_path)
    for table in (
        rows_of(comparison_table(outcomes, ["seen"], seed=0, draws=50), "lae"),
        differences(outcomes, ["seen"], seed=0, draws=50).set_index("method"),
    ):
        assert table.loc["seen", "no_interval"] == table.loc["seen mean", "no_interval"] == ""
        assert table.loc["seen mean", ["accuracy_low", "auroc_high"]].notna().all()
        for row in ("new", "unseen mean", "drop"):
            assert table.loc[row, "no_interval"] == "9 groups, too few for an interval"
            assert table.loc[row, ["accuracy_low", "accuracy_high", "auroc_low"]].isna().all()
            assert not np.isnan(table.loc[row, "accuracy"])


def test_costs_and_robustness(study):
    folder, cells = study
    outcomes = gather(cells, folder)
    cost = costs(outcomes).set_index("model")
    assert cost.loc["lae", "training minutes"] == pytest.approx(1.5)
    assert cost.loc["lae", "masks %"] == pytest.approx(2.0)
    assert np.isnan(cost.loc["lae", "pooled pixel AUROC"])
    robust = robustness_table(outcomes, ["seen"], seed=0, draws=200).set_index(["model", "degradation", "method"])
    assert set(robust.index.get_level_values("method")) == {"seen", "new", "seen mean", "unseen mean"}
    # Every score is 0 under the harshest compression: all called real, AUROC by chance.
    harsh, stored = robust.loc[("lae", "jpeg-50", "unseen mean")], robust.loc[("lae", "none", "unseen mean")]
    assert harsh[["accuracy", "auroc", "false_alarms", "logit_shift"]].tolist() == pytest.approx([4 / 6, 0.5, 0, -2])
    assert stored["accuracy"] == pytest.approx((1 + 5 / 6) / 2) and stored["seeds"] == 2
    assert stored["accuracy_low"] < stored["accuracy"] <= stored["accuracy_high"]
    # Seen fakes fall below the reals of the weak model at either seed, whose every real image is a false alarm.
    assert robust.loc[("weak", "none", "seen mean"), ["auroc", "false_alarms", "seeds"]].tolist() == [0, 1, 1]


def test_all_degradations_share_their_draws(study):
    """Here both degradations have the same scores, and so the same intervals, over groups and over seeds."""
    folder, cells = study
    (outcome,) = [o for o in gather(cells, folder) if o.model == "lae"]
    stored = outcome.robustness[outcome.robustness["degradation"] == "none"]
    both = pd.concat([stored, stored.assign(degradation="blur-1")], ignore_index=True)
    table = robustness_table([replace(outcome, robustness=both)], ["seen"], seed=0, draws=100)
    one, other = (part.drop(columns="degradation") for _, part in table.groupby("degradation"))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def test_degraded_scores_of_older_cells_are_left_out(study):
    """They have severities, and no group."""
    folder, cells = study
    for cell in cells[:2]:
        file = folder / "cells" / cell.name / ROBUSTNESS
        old = pd.read_csv(file, keep_default_na=False).drop(columns=["group", "split", "logit_shift"])
        old.assign(degradation="jpeg", severity=30.0).to_csv(file, index=False)
    outcomes = gather(cells, folder)
    assert outcomes[0].robustness is None
    assert set(robustness_table(outcomes, ["seen"], seed=0, draws=5)["model"]) == {"meso", "weak"}
    assert robustness_table(outcomes[:1], ["seen"], seed=0).empty
