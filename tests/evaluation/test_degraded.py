"""Evaluation under degradations: what is chosen, the numbers by hand, and the command."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from lae_tf.errors import UsageError
from lae_tf.evaluation.degradation_section import degradation_section
from lae_tf.evaluation.degraded import (
    chosen_degradations,
    degradation_table,
    format_degradations,
    score_degraded,
    with_false_alarms,
)
from lae_tf.evaluation.evaluate import evaluate_run
from lae_tf.evaluation.page import write_evaluation
from lae_tf.evaluation.tables import evaluation_table, method_statistic
from lae_tf.forge.degradations import DEGRADATIONS
from lae_tf.images.files import read_image

THRESHOLD, SEEN = 0.5, ["seen"]


def scored(reals, seen, new, copies: int = 12) -> pd.DataFrame:
    """A frame of two real images, two fakes of a seen and two of a new method, each so often in groups of its own."""
    scores = np.array([*reals, *seen, *new] * copies)
    frame = pd.DataFrame({"score": scores, "label": [0, 0, 1, 1, 1, 1] * copies})
    frame["method"] = ["", "", "seen", "seen", "new", "new"] * copies
    frame["path"] = [f"{number}.png" for number in range(len(frame))]
    return frame.assign(group=frame["path"], split="test", logit=np.log(scores / (1 - scores)))


CLEAN = scored([0.1, 0.2], [0.8, 0.9], [0.7, 0.8])
# One of two real images is called fake now; of the new fakes, one is below both.
BLURRED = scored([0.2, 0.6], [0.8, 0.9], [0.1, 0.7])


def tabulated(frames) -> pd.DataFrame:
    frames = {name: with_false_alarms(frame, THRESHOLD) for name, frame in frames.items()}
    return degradation_table(frames, method_statistic(THRESHOLD, SEEN), SEEN, seed=0, draws=100)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return tabulated(score_degraded(CLEAN, ["none", "blur-1"], lambda name: {"blur-1": BLURRED}[name]))


def test_numbers_by_hand(table) -> None:  # type: ignore[no-untyped-def]
    rows = table.set_index(["degradation", "method"])
    methods = ["seen", "new", "seen mean", "unseen mean"]
    assert list(rows.index) == [(name, method) for name in ("none", "blur-1") for method in methods]
    clean, blurred = rows.loc[("none", "unseen mean")], rows.loc[("blur-1", "unseen mean")]
    assert clean[["auroc", "accuracy", "false_alarms", "logit_shift"]].tolist() == [1, 1, 0, 0]
    # .1 is below both real images, .7 above both.
    assert blurred[["auroc", "accuracy", "false_alarms"]].tolist() == [0.5, 0.5, 0.5]
    logit = {score: np.log(score / (1 - score)) for score in (0.1, 0.2, 0.6)}
    assert blurred["logit_shift"] == pytest.approx((logit[0.2] - logit[0.1] + logit[0.6] - logit[0.2]) / 2)
    seen = rows.loc[("blur-1", "seen mean")]
    assert seen[["auroc", "accuracy"]].tolist() == [1, 0.75]
    # What real images alone decide is one number, interval included.
    for metric in ("false_alarms", "logit_shift"):
        columns = [metric, f"{metric}_low", f"{metric}_high"]
        assert len(rows.loc["blur-1", columns].drop_duplicates()) == 1
        assert seen[f"{metric}_low"] < seen[metric] < seen[f"{metric}_high"]


def test_as_stored_it_is_the_evaluations_table(table) -> None:  # type: ignore[no-untyped-def]
    expected = evaluation_table(CLEAN, THRESHOLD, SEEN, seed=0, draws=100).query(
        "level == 'image' and method != 'drop'"
    )
    for metric in ("auroc", "accuracy", "auroc_low", "accuracy_high"):
        assert table.query("degradation == 'none'")[metric].tolist() == expected[metric].tolist()


def test_the_interval_of_false_alarms_rests_on_real_images(table) -> None:  # type: ignore[no-untyped-def]
    """The fakes come from one group, which is too few for AUROC alone."""
    frame = BLURRED.assign(group=BLURRED["group"].where(BLURRED["label"] == 0, "one person"))
    found = tabulated({"blur-1": frame.assign(logit_shift=0.0)}).iloc[0]
    assert found["no_interval"] == "1 group, too few for an interval"
    assert np.isnan(found["auroc_low"]) and found["false_alarms_low"] < 0.5 < found["false_alarms_high"]


def test_real_images_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    reals = CLEAN[CLEAN["label"] == 0].reset_index(drop=True)
    found = tabulated(score_degraded(reals, ["none"], lambda name: reals))
    assert found["method"].tolist() == ["(real only)"] and found["auroc"].isna().all()
    assert "nan" not in format_degradations(found) and len(degradation_section(found, 0.5).pictures) == 1


def test_text_has_the_means_alone(table) -> None:  # type: ignore[no-untyped-def]
    lines = format_degradations(table).splitlines()
    assert lines[0].split()[:4] == ["degradation", "method", "AUROC", "accuracy"] and len(lines) == 2 + 2 * 2
    assert lines[-1].split()[:5] == ["blur-1", "unseen", "mean", "0.500", "0.500"]


def test_choice() -> None:
    assert chosen_degradations("all") == tuple(DEGRADATIONS)
    assert chosen_degradations("noise-2, jpeg-75,jpeg-75") == ("none", "jpeg-75", "noise-2")
    for wrong in ("jpg", "", "all,jpeg-75"):
        with pytest.raises(UsageError, match=r"unknown degradation '(jpg||all)'; known are none, jpeg-95, .*messenger"):
            chosen_degradations(wrong)


@pytest.fixture(scope="module")
def evaluation(trained_run, tiny_manifest):  # type: ignore[no-untyped-def]
    return evaluate_run(trained_run, [tiny_manifest], degradations=["none", "noise-2", "jpeg-50"])


def test_images_are_degraded_one_by_one(evaluation, trained_run) -> None:  # type: ignore[no-untyped-def]
    """The real images' logits against those of images that went through the same steps by hand."""
    reals = evaluation.frame[evaluation.frame["label"] == 0]
    images = [read_image(path) for path in reals["path"]]
    model, seed = trained_run.load_model(), trained_run.config.seed
    rows = evaluation.degraded.drop_duplicates("degradation").set_index("degradation")

    def logits(pixels):  # type: ignore[no-untyped-def]
        return model.predict(np.stack(pixels).astype(np.float32) / 255, verbose=0)["logit"][:, 0]

    noisy = []
    for place, image in enumerate(images):
        strength = np.random.default_rng((seed, place)).normal(0, 2, image.shape)
        noisy.append(np.clip(np.rint(image + strength), 0, 255))
    saved = []
    for image in images:
        stored = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
        saved.append(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])
    for name, pixels in (("none", images), ("noise-2", noisy), ("jpeg-50", saved)):
        found = logits(pixels)
        assert rows.loc[name, "logit_shift"] == pytest.approx(np.mean(found - reals["logit"]), abs=1e-4)
        calibration = model.calibration
        scores = 1 / (1 + np.exp(-(found - float(calibration.boundary)) / float(calibration.temperature)))
        assert rows.loc[name, "false_alarms"] == pytest.approx(np.mean(scores >= evaluation.threshold))
    assert rows.loc["noise-2", "logit_shift"] != 0


def test_as_stored_nothing_changes(evaluation) -> None:  # type: ignore[no-untyped-def]
    unseen = evaluation.degraded.query("degradation == 'none' and method == 'seen mean'").iloc[0]
    row = evaluation.summary("seen mean")
    for metric in ("auroc", "accuracy", "pixel_auroc", "matched_pixel_auroc"):
        assert unseen[metric] == row[metric] and not np.isnan(row[metric])


def test_page_and_files(evaluation, trained_run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    page = write_evaluation(trained_run, evaluation, tmp_path).read_text(encoding="utf-8")
    assert "What survives what" in page and "--degrade none,jpeg-50,noise-2" not in page
    assert "--degrade none,noise-2,jpeg-50" in page and 'href="degradations.csv"' in page
    table = pd.read_csv(tmp_path / "degradations.csv")
    assert table["degradation"].unique().tolist() == ["none", "noise-2", "jpeg-50"]
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert [row["method"] for row in record["degradations"]] == table["method"].tolist()
    # An evaluation without degradations leaves no table of another one behind.
    plain = type(evaluation)(**{**vars(evaluation), "degraded": None})
    assert "What survives what" not in write_evaluation(trained_run, plain, tmp_path).read_text(encoding="utf-8")
    assert not (tmp_path / "degradations.csv").exists()
    assert json.loads((tmp_path / "evaluation.json").read_text())["degradations"] is None


def test_command(trained_run, tiny_manifest, tmp_path, lae_tf_command) -> None:  # type: ignore[no-untyped-def]
    arguments = ["evaluate", trained_run.path, tiny_manifest, "--output", tmp_path / "out"]
    code, out, err = lae_tf_command(*arguments, "--degrade", "scale-1/2,webp-80", "--json")
    assert code == 0, err
    rows = json.loads(out)["degradations"]
    assert list(dict.fromkeys(row["degradation"] for row in rows)) == ["none", "webp-80", "scale-1/2"]
    assert "webp-80: 100%" in err
    code, _, err = lae_tf_command(*arguments, "--degrade", "jpeg")
    assert code == 2 and "unknown degradation 'jpeg'; known are none, jpeg-95" in err
