"""A round of selection on a trained run: what it writes, the budget over rounds, determinism, wrong input."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError, UsageError
from lae_tf.selection.choosing import Criteria
from lae_tf.selection.features import FeatureExtractor
from lae_tf.selection.select import select_round
from lae_tf.training.run import Run


@pytest.fixture
def run(trained_run, tmp_path) -> Run:  # type: ignore[no-untyped-def]
    """A copy of the shared run, to write rounds into."""
    shutil.copytree(trained_run.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "selection.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def train_part(run: Run) -> Manifest:
    return Manifest.read(run.config.data.manifest).select(split="train")


def test_a_round_writes_everything(run: Run) -> None:
    part = train_part(run)
    used = int((part.mask_state == "annotated").sum())
    folder = select_round(run, str(used + 3), Criteria("channel-concept"), allow_over_budget=True)
    rows = rows_of(folder)
    assert folder == run.rounds / "1"
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    pool = set(part.frame["path"][part.mask_state == "unlabelled"])
    assert {row["path"] for row in rows} <= pool
    assert all("evidence" in row["reason"] for row in rows)
    settings = json.loads((folder / "selection.json").read_text())
    assert settings["selected"] == 3
    assert settings["share_after"] == pytest.approx((used + 3) / len(part))
    assert settings["allow_over_budget"] is True
    for rank in (1, 2, 3):
        with Image.open(folder / "attention" / f"{rank:04d}.png") as picture:
            assert (picture.mode, picture.size) == ("L", (8, 8))  # a value for each cell of the features
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.size[0] > 100
    assert "Channel gallery" in (folder / "channels.html").read_text(encoding="utf-8")


def test_same_seed_same_selection_and_rounds_are_cumulative(run: Run) -> None:
    used = int((train_part(run).mask_state == "annotated").sum())
    first = select_round(run, str(used + 2), Criteria("random", seed=5), allow_over_budget=True)
    first_rows = rows_of(first)
    # The first round's two images wait for their mask, so only three more are left of five.
    second_rows = rows_of(select_round(run, str(used + 5), Criteria("random", seed=5), allow_over_budget=True))
    assert len(second_rows) == 3
    assert not {row["path"] for row in first_rows} & {row["path"] for row in second_rows}
    with pytest.raises(UsageError, match="drawn or asked for already"):
        select_round(run, str(used + 5), Criteria("random"), allow_over_budget=True)
    shutil.rmtree(run.rounds)
    again = select_round(run, str(used + 2), Criteria("random", seed=5), allow_over_budget=True)
    assert rows_of(again) == first_rows


def test_derived_masks_cost_nothing(run: Run) -> None:
    """Masks made by differencing took nobody's time: the budget is as large as before any mask was there."""
    path = Path(run.config.data.manifest)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["path"], table["mask"] = (
        [str(path.parent / value) if value else "" for value in table[column]] for column in ("path", "mask")
    )
    table["mask_source"] = ["derived" if mask else "" for mask in table["mask"]]
    table.to_csv(run.path / "derived.csv", index=False)
    config = run.config.model_copy(
        update={"data": run.config.data.model_copy(update={"manifest": str(run.path / "derived.csv")})}
    )
    config.write(run.config_path)
    assert (train_part(run).mask_state == "annotated").any()
    folder = select_round(run, "2", Criteria("random"), allow_over_budget=True)
    assert len(rows_of(folder)) == 2
    settings = json.loads((folder / "selection.json").read_text())
    assert settings["masks_used_before"] == 0
    assert settings["share_after"] == pytest.approx(2 / len(train_part(run)))


def test_where_every_fake_has_a_mask_the_reason_is_said(run: Run) -> None:
    path = Path(run.config.data.manifest)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table[table["label"].eq("real") | table["mask"].ne("")]
    for column in ("path", "mask"):
        table[column] = [str(path.parent / value) if value else "" for value in table[column]]
    table.to_csv(run.path / "masked.csv", index=False)  # the data themselves are shared with other tests
    data = run.config.data.model_copy(update={"manifest": str(run.path / "masked.csv")})
    run.config.model_copy(update={"data": data}).write(run.config_path)
    with pytest.raises(UsageError, match="every fake of the training split has a mask already"):
        select_round(run, "2%", Criteria("random"))
    assert not run.rounds.exists()


def test_images_judged_real_free_the_budget_and_are_not_asked_for_again(run: Run) -> None:
    used = int((train_part(run).mask_state == "annotated").sum())
    first = select_round(run, str(used + 2), Criteria("random", seed=5), allow_over_budget=True)
    judged = rows_of(first)[0]["path"]
    (first / "import.json").write_text(json.dumps({"not_fake": [judged]}))
    # One of the two still waits for its mask, so one of two is left; the judged one is not drawn again.
    second = rows_of(select_round(run, str(used + 2), Criteria("random", seed=5), allow_over_budget=True))
    assert len(second) == 1
    assert second[0]["path"] != judged


def test_verdicts_want_a_strategy_that_asks_channels(run: Run, tmp_path, lae_tf_command) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "verdicts.yaml").write_text("1: superficial\n")
    code, _, err = lae_tf_command("select", run.path, "--verdicts", tmp_path / "verdicts.yaml")
    assert code == 2 and "'stratified'; give --strategy channel-concept" in err


def test_verdicts_change_the_ranking_measure(run: Run) -> None:
    used = int((train_part(run).mask_state == "annotated").sum())
    everything = dict.fromkeys(range(16), "keep")
    kept = rows_of(
        select_round(run, str(used + 3), Criteria("channel-concept", verdicts=everything), allow_over_budget=True)
    )
    assert {float(row["utility"]) for row in kept} == {0.0}


def test_no_candidates_and_missing_model_change_nothing(run: Run) -> None:
    part = train_part(run)
    pool = part.frame["path"][part.mask_state == "unlabelled"].tolist()
    (run.rounds / "1").mkdir(parents=True)
    (run.rounds / "1-old").mkdir()  # no round
    asked = pd.DataFrame({"rank": range(1, len(pool) + 1), "path": pool, "utility": 0, "strategy": "", "reason": ""})
    asked.to_csv(run.rounds / "1" / "selection.csv", index=False)
    with pytest.raises(LAEError, match="nothing to choose from"):
        select_round(run, str(len(part)), Criteria("random"), allow_over_budget=True)
    run.model_path.unlink()
    with pytest.raises(UsageError, match="not trained yet"):
        select_round(run, "2%", Criteria("random"))
    assert {folder.name for folder in run.rounds.iterdir()} == {"1", "1-old"}


def test_features_against_the_model(run: Run) -> None:
    import tensorflow as tf

    model, part = run.load_model(), train_part(run)
    features, activity = FeatureExtractor(model)(part, batch_size=5)
    assert len(features) == len(part) and activity.images == len(part)
    path = part.frame["path"].iloc[3]
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)[None] / 255
    outputs = model.predict(pixels, verbose=0)
    assert features.score[3] == pytest.approx(float(outputs["score"][0, 0]), abs=1e-5)
    assert features.latent[3] == pytest.approx(outputs["latent"][0], abs=1e-4)
    # For log-mean-exp pooling the gradient is softmax(r e) w: an independent form of gradient times activation.
    maps = model.encoder(pixels, training=False).numpy()[0]
    kernel, bias = model.head.kernel.numpy()[:, 0], float(model.head.bias.numpy()[0])
    weights = tf.nn.softmax(model.head.sharpness * (maps @ kernel + bias).reshape(-1)).numpy()
    by_hand = np.maximum(0, (weights[:, None] * maps.reshape(-1, maps.shape[-1]) * kernel).sum(axis=0))
    assert features.evidence[3] == pytest.approx(by_hand, abs=1e-4)


def test_command_line(run: Run, lae_tf_command) -> None:  # type: ignore[no-untyped-def]
    code, _, err = lae_tf_command("select", run.path, "--budget", "50%")
    assert code == 2 and "--allow-over-budget" in err and "Traceback" not in err
    code, _, err = lae_tf_command("select", run.path, "--budget", "0")
    assert code == 2 and "expected at least 1" in err
    options = ["--budget", "50%", "--allow-over-budget", "--strategy", "k-center", "--json"]
    command = [sys.executable, "-m", "lae_tf.cli.main", "select", str(run.path), *options]
    good = subprocess.run(command, capture_output=True, text=True)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["strategy"] == "k-center"


def test_a_run_that_hides_masks_is_refused_before_anybody_draws(run: Run) -> None:
    data = run.config.data.model_copy(update={"mask_share": 0.5})
    run.config.model_copy(update={"data": data}).write(run.config_path)
    with pytest.raises(UsageError, match=r"mask_share = 0\.5.*would hide new ones"):
        select_round(run, "5", Criteria("random"), allow_over_budget=True)
