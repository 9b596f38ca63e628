"""Evaluation of a trained run: its numbers against scikit-learn, leaks refused, files written, the command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from sklearn.metrics import accuracy_score, roc_auc_score

from lae_tf.cli.evaluate import command
from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError
from lae_tf.evaluation.evaluate import evaluate_run, gather
from lae_tf.evaluation.page import worst_rows, write_evaluation
from lae_tf.metrics.verdict import verdict_of
from lae_tf.training.run import Run


@pytest.fixture(scope="module")
def evaluation(trained_run, tiny_manifest):  # type: ignore[no-untyped-def]
    return evaluate_run(trained_run, [tiny_manifest])


def test_numbers_against_scikit_learn(evaluation) -> None:  # type: ignore[no-untyped-def]
    frame = evaluation.frame
    assert len(frame) == len(Manifest.read(evaluation.manifest.root / "manifest.csv").select(split="test"))
    for method in set(frame["method"]) - {""}:
        part = frame[(frame["label"] == 0) | (frame["method"] == method)]
        row = evaluation.summary(method)
        assert row["auroc"] == pytest.approx(roc_auc_score(part["label"], part["score"]))
        assert row["accuracy"] == pytest.approx(accuracy_score(part["label"], part["score"] >= evaluation.threshold))


def test_verdicts_are_those_of_the_models_bounds(evaluation, trained_run) -> None:  # type: ignore[no-untyped-def]
    frame, bounds = evaluation.frame, trained_run.load_model().calibration.bounds
    assert evaluation.bounds == bounds and bounds.error_rate == pytest.approx(0.1)
    assert list(frame["verdict"]) == [verdict_of(score, 0.5, bounds) for score in frame["score"]]
    row = evaluation.summary("seen mean")
    unsure = (frame["verdict"] == "unsure").groupby(frame["method"]).mean()
    assert row["unsure_reals"] == pytest.approx(unsure[""])
    assert row["unsure_fakes"] == pytest.approx(unsure.drop("").mean())


def test_frame_against_the_model(evaluation, trained_run) -> None:  # type: ignore[no-untyped-def]
    from lae_tf.images.files import read_image

    row = evaluation.frame.iloc[2]
    pixels = read_image(row["path"])[None].astype(np.float32) / 255
    outputs = trained_run.load_model().predict(pixels, verbose=0)
    assert row["score"] == pytest.approx(float(outputs["score"][0, 0]), abs=1e-5)
    assert row["reconstruction_error"] == pytest.approx(np.abs(pixels - outputs["reconstruction"]).mean(), abs=1e-5)


def test_attention_is_held_against_the_prior_and_against_real_images(evaluation, trained_run, tiny_manifest) -> None:  # type: ignore[no-untyped-def]
    from lae_tf.images.files import read_image, read_mask

    images = np.stack([read_image(path) for path in evaluation.frame["path"]]).astype(np.float32) / 255
    levels = np.floor(
        trained_run.load_model().predict(images, verbose=0)["attention"].reshape(len(images), 32, 32) * 1024
    )
    reals = levels[evaluation.frame["label"] == 0]
    row = int(np.flatnonzero(evaluation.frame["method"] == "colour")[1])
    mask = read_mask(evaluation.manifest.frame["mask"][row])
    labels = [1] + [0] * len(reals)
    expected = [
        roc_auc_score(labels, [levels[row, y, x], *reals[:, y, x]]) for y, x in zip(*np.nonzero(mask), strict=True)
    ]
    # Levels may differ by one where another batch rounds differently.
    assert evaluation.frame["matched_pixel_auroc"][row] == pytest.approx(np.mean(expected), abs=0.01)
    trained = Manifest.read(tiny_manifest).frame.query("split == 'train' and mask != ''")
    prior = cv2.GaussianBlur(np.mean([read_mask(path) for path in trained["mask"]], axis=0), (0, 0), 1)
    expected = roc_auc_score(mask.ravel(), prior.ravel())
    assert evaluation.frame["prior_pixel_auroc"][row] == pytest.approx(expected, abs=1e-6)
    assert evaluation.no_prior == "" and evaluation.summary("colour")[["prior_pixel_auroc_low"]].isna().all()


def test_without_masks_in_training_there_is_no_prior(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "run"
    shutil.copytree(trained_run.path, copy)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["data"]["mask_share"] = 0.0
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    result = CliRunner().invoke(command, [str(copy), str(tiny_manifest)])
    said = "There is no position prior: training had no masks."
    assert result.exit_code == 0 and said in result.output
    heading = next(line for line in result.output.splitlines() if "method" in line and "matched pixel AUROC" in line)
    assert "position prior" not in heading
    assert said in (copy / "report" / "report.html").read_text()
    record = json.loads((copy / "report" / "evaluation.json").read_text())
    rows = [row for row in record["table"] if row["level"] == "image"]
    assert record["no_prior"] == said and {row["prior_pixel_auroc"] for row in rows} == {None}
    assert None not in {row["matched_pixel_auroc"] for row in rows}


def test_training_images_are_refused_as_test_images(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    frame = Manifest.read(tiny_manifest).frame
    frame = frame[frame["split"] == "train"].assign(split="test").reset_index(drop=True)
    leaky = tmp_path / "leaky.csv"
    frame.to_csv(leaky, index=False)
    with pytest.raises(LAEError, match=rf"{len(frame)} test images were used in training"):
        evaluate_run(trained_run, [leaky])


def test_copies_of_training_images_are_told(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    frame = Manifest.read(tiny_manifest).frame
    tested = frame[frame["split"] == "test"]
    copied = frame[(frame["split"] == "train") & (frame["label"] == "fake")].iloc[[1, 4]]
    copied = copied.assign(group="elsewhere", split="test")
    originals = copied["path"].tolist()
    copied["path"] = [shutil.copy(path, tmp_path / f"new-{number}.png") for number, path in enumerate(originals)]
    pd.concat([tested, copied]).to_csv(tmp_path / "test.csv", index=False)
    evaluation = evaluate_run(trained_run, [tmp_path / "test.csv"])
    assert len(evaluation.cautions) == 1
    caution = f"2 of {len(tested) + 2} test images are copies of training images, the first is "
    assert evaluation.cautions[0].startswith(f"{caution}{tmp_path / 'new-0.png'}, the same as {originals[0]}:")


def test_a_run_is_evaluated_where_its_training_manifest_is_not(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    moved = tmp_path / "run"
    shutil.copytree(trained_run.path, moved)
    config = moved / "config.yaml"
    config.write_text(config.read_text().replace(str(tiny_manifest), str(tmp_path / "gone.csv")))
    result = CliRunner().invoke(command, [str(moved), str(tiny_manifest), "--output", str(tmp_path / "report")])
    assert result.exit_code == 0, result.output
    assert f"Warning: {tmp_path / 'gone.csv'} cannot be read any more" in result.output
    record = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert record["overlap_checked"] is False
    # So it is where the manifest is still there, but not what it names.
    Path(tmp_path / "gone.csv").write_text("path,label,method,split\ngone.png,real,,train\n")
    result = CliRunner().invoke(command, [str(moved), str(tiny_manifest), "--output", str(tmp_path / "report")])
    assert result.exit_code == 0 and f"Warning: {tmp_path / 'gone.csv'} cannot be read any more" in result.output
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Read with care" in page and "cannot be read any more" in page


def test_images_of_methods_left_out_of_training_may_be_tested(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    shutil.copy(trained_run.path / "config.yaml", tmp_path)
    chosen = yaml.safe_load((tmp_path / "config.yaml").read_text())
    chosen["data"]["train_methods"] = ["noise"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(chosen))
    frame = Manifest.read(tiny_manifest).frame
    frame = frame[frame["split"] == "train"].assign(split="test")
    for method in ("noise", "colour"):
        frame[frame["method"] == method].to_csv(tmp_path / f"{method}.csv", index=False)
    shutil.copytree(trained_run.path, tmp_path / "run")
    shutil.copy(tmp_path / "config.yaml", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    evaluation = evaluate_run(run, [tmp_path / "colour.csv"])
    assert len(evaluation.frame) == (frame["method"] == "colour").sum() > 0
    # They are made from real images that were trained on.
    assert "groups of the test images" in evaluation.cautions[0]
    with pytest.raises(LAEError, match="used in training"):
        evaluate_run(run, [tmp_path / "noise.csv"])


def test_manifests_are_joined_without_counting_twice(tiny_manifest) -> None:  # type: ignore[no-untyped-def]
    once, cautions = gather([tiny_manifest], "test")
    twice, none = gather([tiny_manifest, tiny_manifest], "test")
    assert len(twice) == len(once) and cautions == none == []


def test_groups_of_one_name_in_two_manifests_are_named(tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    frame = Manifest.read(tiny_manifest).select(split="test").frame
    reals, fakes = tmp_path / "reals.csv", tmp_path / "fakes.csv"
    frame[frame["label"] == "real"].to_csv(reals, index=False)
    frame[frame["label"] == "fake"].to_csv(fakes, index=False)
    _, cautions = gather([reals, fakes], "test")
    both = set(frame.loc[frame["label"] == "real", "group"]) & set(frame.loc[frame["label"] == "fake", "group"])
    assert f"{len(both)} groups" in cautions[0] and "several manifests" in cautions[0]


def test_a_report_on_other_data_has_a_folder_of_its_own(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "run"
    shutil.copytree(trained_run.path, copy)
    test_images = Manifest.read(tiny_manifest).select(split="test")
    test_images.write(tmp_path / "other.csv")
    for manifest, folder in (
        (tiny_manifest, "report"),
        (tmp_path / "other.csv", "report-2"),
        (tiny_manifest, "report"),
    ):
        result = CliRunner().invoke(command, [str(copy), str(manifest)])
        assert result.exit_code == 0 and f"Report: {copy / folder / 'report.html'}" in result.output


def test_another_split_is_named_and_leaves_the_report_alone(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "run"
    shutil.copytree(trained_run.path, copy)
    result = CliRunner().invoke(command, [str(copy), str(tiny_manifest), "--split", "val"])
    assert result.exit_code == 0 and "Warning: These are images of the split 'val'" in result.output
    assert not (copy / "report").exists()
    page = (copy / "report-val" / "report.html").read_text()
    assert "images of the split &#39;val&#39;" in page and "--split val" in page and str(tiny_manifest) in page


def test_another_threshold_is_named_and_leaves_the_report_alone(trained_run, tiny_manifest, tmp_path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "run"
    shutil.copytree(trained_run.path, copy)
    own = CliRunner().invoke(command, [str(copy), str(tiny_manifest)])
    assert own.exit_code == 0
    for options, folder, source in (
        (["--threshold", "0"], "report-2", "--threshold"),
        (["--max-false-alarms", "20%"], "report-3", "--max-false-alarms 20% on 10 real validation images"),
    ):
        result = CliRunner().invoke(command, [str(copy), str(tiny_manifest), *options])
        assert result.exit_code == 0 and f"({source})" in result.output
        record = json.loads((copy / folder / "evaluation.json").read_text())
        assert record["threshold_from"] == source
    every_image_fake = json.loads((copy / "report-2" / "evaluation.json").read_text())["table"]
    assert {row["specificity"] for row in every_image_fake if row["specificity"] is not None} == {0}
    # No image is called real then, but whether it is fake stays in doubt as before.
    verdicts = pd.read_csv(copy / "report-2" / "predictions.csv")
    bounds = Run.open(copy).load_model().calibration.bounds
    assert set(verdicts["verdict"]) <= {"fake", "unsure"}
    np.testing.assert_array_equal(verdicts["verdict"] == "fake", verdicts["score"] > bounds.highest_real)
    assert "--threshold" in (copy / "report-2" / "report.html").read_text()
    first = json.loads((copy / "report" / "evaluation.json").read_text())
    assert (first["threshold"], first["threshold_from"]) == (0.5, "model")
    assert first["model_sha256"] == Run.open(copy).model_digest()


def test_files_and_page(evaluation, trained_run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    page = write_evaluation(trained_run, evaluation, tmp_path / "report")
    assert {file.name for file in page.parent.iterdir()} == {
        "report.html",
        "predictions.csv",
        "evaluation.csv",
        "evaluation.json",
        "evaluation.md",
    }
    assert len(pd.read_csv(page.parent / "predictions.csv")) == len(evaluation.frame)
    record = json.loads((page.parent / "evaluation.json").read_text())
    assert record["threshold"] == pytest.approx(evaluation.threshold)
    assert {row["method"] for row in record["table"]} >= {"noise", "colour", "seen mean"}
    assert record["bounds"] == evaluation.bounds._asdict()
    assert {"unsure", "accuracy_sure"} <= set(record["table"][0])
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") >= 4
    assert 'href="predictions.csv"' in html
    unsure = html.partition("Where it is unsure")[2].partition("</section>")[0]
    assert "at most 10 % of the real ones are called fake" in unsure and "accuracy of the sure" in unsure
    ordered = evaluation.frame.sort_values("score")
    worst = {"Real images with the highest scores": ordered[ordered["label"] == 0].iloc[-1]}
    worst["Fakes with the lowest scores"] = ordered[ordered["label"] == 1].iloc[0]
    for heading, row in worst.items():
        first = html.partition(heading)[2].partition('<li class="example">')[2].partition("</li>")[0]
        assert row["path"] in first and f"score {row['score']:.2f}" in first
        assert first.count("<img") >= 2 and ">attention<" in first


def test_the_worst_errors_come_first():
    frame = pd.DataFrame({"label": [0, 1, 0, 1, 0, 1], "score": [0.2, 0.9, 0.8, 0.1, 0.5, 0.3]})
    assert worst_rows(frame, 2) == ([2, 4], [3, 5])
    assert worst_rows(frame[frame["label"] == 0], 8) == ([2, 4, 0], [])


def test_command(trained_run, tiny_manifest, tmp_path, lae_tf_command) -> None:  # type: ignore[no-untyped-def]
    arguments = ["evaluate", trained_run.path, tiny_manifest, "--output", tmp_path / "out", "--json"]
    command = [sys.executable, "-m", "lae_tf.cli.main", *map(str, arguments)]
    good = subprocess.run(command, capture_output=True, text=True)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["seen"] == ["colour", "noise"]
    code, _, err = lae_tf_command("evaluate", tmp_path, tiny_manifest)
    assert code == 2 and "no run here" in err and "Traceback" not in err
