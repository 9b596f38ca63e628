"""Thresholds at a rate of false alarms: by hand, and what a run refuses."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lae_tf.errors import UsageError
from lae_tf.training.false_alarms import threshold_at_false_alarms
from lae_tf.training.run import Run


@pytest.fixture
def run(tmp_path):
    """A run whose validation gave 200 real images the scores 0, 0.005, ..., 0.995 and 50 fakes 0.9."""
    run = Run(tmp_path)
    scores = np.concatenate([np.arange(200) / 200, np.full(50, 0.9)]).astype(np.float32)
    order = np.random.default_rng(0).permutation(250)
    frame = pd.DataFrame({"label": np.repeat([0, 1], [200, 50]), "logit": 0.0, "score": scores}).iloc[order]
    frame.to_csv(run.validation_scores, index=False)
    return run


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.01, 0.9875),  # two of 200: half way from 0.985 to 0.990
        (0.05, 0.9475),  # ten
        (0.0051, 0.9925),  # one, though 1.02 would be allowed
        (0.5, 0.4975),
    ],
)
def test_by_hand(run, rate, expected):
    threshold = threshold_at_false_alarms(run, rate)
    assert threshold.value == pytest.approx(expected, abs=1e-6)
    assert threshold.source == f"--max-false-alarms {100 * rate:g}% on 200 real validation images"


def test_a_rate_of_less_than_one_image_is_refused(run):
    assert threshold_at_false_alarms(run, 1 / 200).value == pytest.approx(0.9925)
    with pytest.raises(UsageError, match=r"0.4% needs at least 250 real validation images .* validated on 200.* 0.5%"):
        threshold_at_false_alarms(run, 0.004)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_what_is_no_rate_is_refused(run, rate):
    with pytest.raises(UsageError, match="above 0 and below 100 %"):
        threshold_at_false_alarms(run, rate)


def test_a_run_of_an_older_version_says_what_it_lacks(tmp_path):
    with pytest.raises(UsageError, match=r"validation_scores.csv is missing.* give --threshold"):
        threshold_at_false_alarms(Run(tmp_path), 0.1)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "label,score\nreal,0.5\n", "label,score\n0,nan\n"])
def test_a_damaged_table_is_one_sentence(tmp_path, content):
    (tmp_path / "validation_scores.csv").write_text(content)
    with pytest.raises(UsageError, match=r"validation_scores.csv: expected columns label and score"):
        threshold_at_false_alarms(Run(tmp_path), 0.1)


# --- the options ------------------------------------------------------------------------------------------


@pytest.fixture
def reals(tiny_manifest, tmp_path):
    """The real validation images, in a folder of their own."""
    folder = tmp_path / "reals"
    folder.mkdir()
    for path in tiny_manifest.parent.glob("val-[0-9].png"):
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize("share", ["10%", "0.1", "20%", "0.3"])
def test_no_more_validation_images_are_called_fake_than_was_asked_for(trained_run, reals, lae_tf_command, share):
    code, out, err = lae_tf_command("predict", trained_run.path, reals, "--max-false-alarms", share)
    rate = float(share.rstrip("%")) / (100 if "%" in share else 1)
    labels = [line.split()[1] for line in out.splitlines()]
    assert code == 0 and len(labels) == 10
    assert labels.count("fake") == round(10 * rate)
    assert f"(--max-false-alarms {100 * rate:g}% on 10 real validation images)" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threshold", "1.5"], "1.5: expected a score from 0 to 1"),
        (["--threshold", "nan"], "expected a score"),
        (["--max-false-alarms", "few"], "expected a share"),
        (["--max-false-alarms", "-1%"], "expected a share"),
        (["--max-false-alarms", "1"], "above 0 and below 100 %"),
        (["--max-false-alarms", "1%"], "at least 100 real validation images"),
        (["--threshold", "0.5", "--max-false-alarms", "20%"], "give one of them"),
    ],
)
def test_options_that_cannot_be_are_refused(trained_run, reals, lae_tf_command, options, said):
    code, out, err = lae_tf_command("predict", trained_run.path, reals, *options)
    assert (code, out) == (2, "") and said in " ".join(err.split()) and "Traceback" not in err


def test_json_and_csv_name_the_threshold(trained_run, reals, tmp_path, lae_tf_command):
    arguments = ("predict", trained_run.path, reals, "--threshold", "70%")
    code, _, _ = lae_tf_command(*arguments, "--csv", tmp_path / "out.csv")
    rows = pd.read_csv(tmp_path / "out.csv")
    assert code == 0 and set(rows["threshold_from"]) == {"--threshold"}
    assert set(rows["threshold"].round(6)) == {0.7}
    np.testing.assert_array_equal(rows["label"] == "fake", rows["score"] >= rows["threshold"])
