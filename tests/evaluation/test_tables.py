"""The table of seen and unseen manipulations: which images make up a row, and how it is printed."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from lae_tf.errors import LAEError
from lae_tf.evaluation.formats import csv_table, format_table, json_table, markdown_table
from lae_tf.evaluation.tables import evaluation_table, method_statistic
from lae_tf.metrics.detection import DETECTION_METRICS, bootstrap_intervals, paired_bootstrap
from lae_tf.metrics.verdict import ConformalBounds, verdicts_of

SHIFT = {"": 0.0, "splice": 2.5, "blend": 1.5, "inpaint": 0.8}


def scores(images: int = 40, seed: int = 0, split: str = "test") -> pd.DataFrame:
    """Per method `images` images from ten photographs; only some fakes have a mask, those of inpaint none."""
    rng = np.random.default_rng(seed)
    rows = []
    for method, shift in SHIFT.items():
        for i in range(images):
            fake, logit = method != "", rng.normal(shift - 1)
            rows.append(
                {
                    "path": f"{split}/{method}{i}.png",
                    "label": int(fake),
                    "group": f"photo{i % 10}",
                    "method": method,
                    "split": split,
                    "logit": logit,
                    "score": 1 / (1 + np.exp(-logit)),
                    "iou": rng.uniform() if fake and method != "inpaint" and i // 10 % 2 else np.nan,
                    "false_alarm_area": np.nan if fake else rng.uniform(),
                }
            )
    return pd.DataFrame(rows)


def table_of(frame: pd.DataFrame, seen: object = ("splice",), **options) -> pd.DataFrame:
    return evaluation_table(frame, 0.5, seen, seed=0, **{"draws": 50, **options})


def row(table: pd.DataFrame, method: str, level: str = "image", split: str = "test") -> pd.Series:
    found = table[(table["method"] == method) & (table["level"] == level) & (table["split"] == split)]
    assert len(found) == 1
    return found.iloc[0]


def test_rows_seen_first_then_summaries():
    table = table_of(scores())
    for level in ("image", "group"):
        part = table[table["level"] == level]
        assert list(zip(part["method"], part["seen"], strict=True)) == [
            ("splice", "seen"),
            ("blend", "unseen"),
            ("inpaint", "unseen"),
            ("seen mean", "seen"),
            ("unseen mean", "unseen"),
            ("drop", ""),
        ]


def test_a_row_is_one_method_against_all_reals():
    frame = scores()
    chosen = frame[frame["method"].isin(["", "blend"])]
    found = row(table_of(frame), "blend")
    assert found["accuracy"] == pytest.approx(np.mean((chosen["score"] >= 0.5) == chosen["label"]))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(chosen["label"], chosen["score"]))
    assert found["iou"] == pytest.approx(chosen["iou"].mean())
    assert found["false_alarm_area"] == pytest.approx(frame["false_alarm_area"].mean())
    assert (found["reals"], found["fakes"], found["groups"]) == (40, 40, 10)


def test_group_rows_average_the_frames_first():
    frame = scores()
    chosen = frame[frame["method"].isin(["", "inpaint"])]
    means = chosen.groupby(["group", "label"])["score"].mean().reset_index()
    found = row(table_of(frame), "inpaint", level="group")
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(means["label"], means["score"]))
    assert (found["reals"], found["fakes"], found["groups"]) == (10, 10, 10)


def test_summaries():
    table = table_of(scores())
    for metric in DETECTION_METRICS:
        unseen = np.mean([row(table, name)[metric] for name in ("blend", "inpaint")])
        assert row(table, "unseen mean")[metric] == pytest.approx(unseen)
        assert row(table, "seen mean")[metric] == row(table, "splice")[metric]
        assert row(table, "drop")[metric] == pytest.approx(row(table, "splice")[metric] - unseen)
    # inpaint has no masks: the mean over unseen methods is blend's.
    assert np.isnan(row(table, "inpaint")["iou"])
    assert row(table, "unseen mean")["iou"] == row(table, "blend")["iou"]
    assert (row(table, "unseen mean")["fakes"], row(table, "drop")["fakes"]) == (80, 120)


def test_intervals_hold_their_value_and_repeat():
    frame = scores()
    table = table_of(frame, draws=200)
    for metric in (*DETECTION_METRICS, "iou", "false_alarm_area"):
        defined = table[table[metric].notna() & (table["level"] == "image")]
        assert (defined[f"{metric}_low"] <= defined[f"{metric}_high"]).all()
    for metric in ("accuracy", "auroc", "iou"):
        defined = table[table[metric].notna()]
        assert (defined[f"{metric}_low"] <= defined[metric]).all()
        assert (defined[metric] <= defined[f"{metric}_high"]).all()
    pd.testing.assert_frame_equal(table, table_of(frame, draws=200))
    shuffled = table_of(frame.sample(frac=1, random_state=1), draws=200)
    pd.testing.assert_frame_equal(table, shuffled)


def test_the_drop_is_drawn_jointly():
    # Two names for equal fakes in the same groups: each mean has an interval, their difference has none.
    frame = scores()
    copied = frame[frame["method"] == "splice"].assign(method="twin", path=lambda f: "twin" + f["path"])
    table = table_of(pd.concat([frame[frame["method"].isin(["", "splice"])], copied]))
    assert row(table, "seen mean")["auroc_high"] - row(table, "seen mean")["auroc_low"] > 0
    assert row(table, "drop")[["auroc", "auroc_low", "auroc_high"]].tolist() == pytest.approx([0, 0, 0])


def test_the_ratio_of_fakes_to_reals_is_no_matter_of_chance():
    # Groups of a single class, so that draws differ in their ratio; "real" to everything is right on 40 of 80.
    frame = scores().assign(score=0.1, group=lambda f: f["path"])
    found = row(table_of(frame), "unseen mean")
    assert found[["accuracy", "accuracy_low", "accuracy_high"]].tolist() == pytest.approx([0.5] * 3)
    assert found["brier_low"] == pytest.approx(found["brier_high"])


def test_a_draw_without_a_methods_fakes_says_nothing_of_the_mean():
    """Every real image and blend is judged rightly; all of inpaint, of one group, wrongly: 3/4 whenever it is drawn."""
    frame = scores()
    frame["score"] = frame["method"].isin(["blend", "splice"]).astype(float)
    frame["group"] = frame["path"].where(frame["method"] != "inpaint", "one person")
    drawn = bootstrap_intervals(frame, method_statistic(0.5, ["splice"]), seed=0, draws=200)
    for metric in ("balanced_accuracy", "auroc"):
        assert drawn["unseen mean", metric] == pytest.approx((0.75, 0.75, 0.75))
    assert drawn["drop", "auroc"] == pytest.approx((0.25, 0.25, 0.25))
    # One group is too few for the table to show that.
    found = row(table_of(frame), "unseen mean")
    assert found["auroc"] == pytest.approx(0.75) and np.isnan(found["auroc_low"])
    assert found["no_interval"] == "1 group, too few for an interval"


def test_an_interval_needs_ten_groups_of_each_class():
    """All come from ten groups, but masks from five; then the fakes of one method from nine."""
    frame = scores()
    frame["iou"] = frame["iou"].where(frame["group"].isin([f"photo{i}" for i in range(5)]))
    table = table_of(frame)
    assert set(table["no_interval"]) == {""}
    splice = row(table, "splice")
    assert not np.isnan(splice["auroc_low"]) and not np.isnan(splice["iou"]) and np.isnan(splice["iou_low"])
    short = frame["group"].where((frame["method"] != "blend") | (frame["group"] != "photo9"), "photo0")
    table = table_of(frame.assign(group=short))
    for method in ("blend", "unseen mean", "drop"):
        found = row(table, method)
        assert found["no_interval"] == "9 groups, too few for an interval" and not np.isnan(found["auroc"])
        assert found[["accuracy_low", "auroc_low", "auroc_high"]].isna().all()
    for method in ("splice", "inpaint", "seen mean"):
        assert row(table, method)["no_interval"] == "" and not np.isnan(row(table, method)["auroc_low"])
    text = format_table(table)
    assert "9 groups, too few for an interval (10 are needed): blend, unseen mean, drop." in text
    line = next(line for line in text.splitlines() if " blend " in line)
    assert f" {row(table, 'blend')['auroc']:.3f} " in line and "[" not in line
    assert "nan" not in text and "nan" not in markdown_table(table)
    record = next(r for r in json.loads(json_table(table)) if r["method"] == "blend")
    assert record["auroc_low"] is None and record["no_interval"].startswith("9 groups")


def test_splits_stay_apart():
    both = pd.concat([scores(seed=1, split="val"), scores(seed=2, split="test")])
    table = table_of(both)
    for split, seed in (("val", 1), ("test", 2)):
        alone = table_of(scores(seed=seed, split=split))
        assert row(table, "blend", split=split)["auroc"] == row(alone, "blend", split=split)["auroc"]
    assert format_table(table).splitlines()[0].split()[:2] == ["split", "level"]


def test_methods_all_seen_or_all_unseen():
    frame = scores()
    assert "unseen mean" not in set(table_of(frame, SHIFT)["method"])
    unseen = set(table_of(frame, ())["method"])
    assert "unseen mean" in unseen and not unseen & {"seen mean", "drop"}


def test_one_class_only():
    frame = scores()
    reals = table_of(frame[frame["label"] == 0])
    assert reals["method"].tolist() == ["(real only)"] * 2
    assert reals["specificity"].notna().all() and reals["auroc"].isna().all()
    fakes = row(table_of(frame[frame["label"] == 1]), "splice")
    assert np.isnan(fakes["auroc"]) and fakes["sensitivity"] == fakes["accuracy"]
    assert "nan" not in format_table(reals).lower()


def test_missing_names():
    frame = scores()
    # CSV turns "" into NaN; a fake may lack its method, an image its group.
    frame["method"] = frame["method"].replace({"": None, "inpaint": None})
    frame["group"] = frame["group"].where(frame["method"] != "blend", "")
    table = table_of(frame)
    assert set(table["method"]) >= {"(unnamed)", "splice", "blend"}
    assert row(table, "blend", level="group")["fakes"] == 40
    assert row(table, "splice", level="group")["fakes"] == 10


def test_serves_a_paired_comparison():
    frame, other = scores(seed=1), scores(seed=2)
    statistic = method_statistic(0.5, ["splice"])
    found = paired_bootstrap((frame, statistic), (other, statistic), seed=0, draws=50)["unseen mean", "accuracy"]
    a, b = (row(table_of(f), "unseen mean")["accuracy"] for f in (frame, other))
    assert found.value == pytest.approx(a - b)
    alone = bootstrap_intervals(frame, statistic, seed=0, draws=50)["unseen mean", "accuracy"]
    assert alone.value == pytest.approx(a)


def test_files_hold_everything():
    table = table_of(scores())
    records = json.loads(json_table(table), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(records) == len(table) and list(records[0]) == list(table.columns)
    inpaint = next(r for r in records if r["method"] == "inpaint")
    assert inpaint["iou"] is None and inpaint["iou_low"] is None
    assert inpaint["auroc"] == pytest.approx(row(table, "inpaint")["auroc"], abs=1e-12)
    back = pd.read_csv(io.StringIO(csv_table(table)), keep_default_na=True).fillna({"seen": "", "no_interval": ""})
    pd.testing.assert_frame_equal(back, table, check_dtype=False)


def test_verdicts_are_of_images_and_of_any_part():
    frame = scores()
    bounds = ConformalBounds(lowest_fake=0.4, highest_real=0.6, error_rate=0.1)
    table = table_of(frame.assign(verdict=verdicts_of(frame["score"], 0.5, bounds)))
    is_unsure = frame["score"].between(0.4, 0.6)
    for method in ("splice", "blend", "inpaint"):
        chosen = frame["method"].isin(["", method])
        fakes, sure = frame["method"] == method, chosen & ~is_unsure
        found = row(table, method)
        assert found["unsure"] == pytest.approx(is_unsure[chosen].mean())
        assert found["unsure_fakes"] == pytest.approx(is_unsure[fakes].mean())
        assert found["unsure_reals"] == pytest.approx(is_unsure[frame["label"] == 0].mean())
        right = (frame["score"] >= 0.5) == (frame["label"] == 1)
        assert found["accuracy_sure"] == pytest.approx(right[sure].mean())
        assert found["accuracy_sure"] > found["accuracy"]
        assert found["unsure_low"] < found["unsure"] < found["unsure_high"]
        assert np.isnan(row(table, method, "group")["unsure"])
    unseen = [row(table, method)["unsure"] for method in ("blend", "inpaint")]
    assert row(table, "unseen mean")["unsure"] == pytest.approx(np.mean(unseen))
    *_, last = format_table(table).split("\n\n")
    lines = last.splitlines()
    assert lines[0].split()[5:] == ["unsure", "unsure,", "reals", "unsure,", "fakes", "accuracy", "of", "the", "sure"]
    assert len(lines) == 2 + 6 and not any(line.startswith("group") for line in lines)
    assert "unsure" not in table_of(frame)


def test_text_is_aligned():
    table = table_of(scores())
    detection, localisation = (block.splitlines() for block in format_table(table).split("\n\n"))
    assert len({len(line) for line in detection}) == 1
    assert max(map(len, detection + localisation)) <= 120
    line = next(line for line in detection if "blend" in line)
    value = row(table, "blend")
    assert f"{value['auroc']:.3f} [{value['auroc_low']:.3f}, {value['auroc_high']:.3f}]" in line
    assert localisation[0].split() == [
        "level",
        "method",
        "seen",
        "reals",
        "fakes",
        "IoU",
        "false-alarm",
        "area",
    ]


def test_markdown_escapes():
    frame = scores()
    frame["method"] = frame["method"].replace("blend", "a|b")
    lines = [line for line in markdown_table(table_of(frame)).splitlines() if line]
    assert any(r"a\|b" in line for line in lines)
    detection = [line.replace(r"\|", "") for line in lines[:8]]
    assert len({line.count("|") for line in detection}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["split", "group"]), "lacks group, split"),
        (lambda f: f[:0], "empty"),
        (lambda f: f.assign(label="fake"), "0 .real. or 1"),
        (
            lambda f: f.assign(score=f["score"].mask(f["path"] == "test/splice3.png")),
            "1 of 160.*test/splice3.png",
        ),
        (lambda f: f.assign(method=f["method"].replace("blend", "drop")), "cannot be named 'drop'"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(LAEError, match=message):
        table_of(change(scores()))
