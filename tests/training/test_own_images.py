"""A run's threshold by a folder of real images: by hand, what is recorded, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from tiny_dataset import photograph

from lae_tf.data.pipeline import image_dataset
from lae_tf.errors import ProblemsError, UsageError
from lae_tf.images.files import write_png
from lae_tf.training.own_images import calibrate_on_folder
from lae_tf.training.run import Run


@pytest.fixture
def run(trained_run, tmp_path):
    return Run(shutil.copytree(trained_run.path, tmp_path / "run"))


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(7)
    for number in range(40):
        write_png(tmp_path / "photos" / f"day{number % 2}" / f"{number}.png", photograph(rng))
    return tmp_path / "photos"


def test_as_many_are_called_fake_as_may_be_and_scores_stay(run, photos, trained_run):
    files = sorted(map(str, photos.rglob("*.png")))
    old = trained_run.load_model()
    scores = np.concatenate(
        [old.predict_on_batch(batch)["score"][:, 0] for batch in image_dataset(files, old.preprocessor, 8)]
    )
    decision = calibrate_on_folder(run, photos, 0.1)
    model = run.load_model()
    assert float(model.calibration.threshold) == decision.threshold and decision.images == 40
    highest = np.sort(scores)[::-1]
    assert highest[4] < decision.threshold <= highest[3]  # four of forty, not five
    assert decision.false_alarms == pytest.approx(0.1) and decision.before == 0.5
    assert decision.false_alarms_before == pytest.approx((scores >= 0.5).mean())
    np.testing.assert_allclose(
        model.predict_on_batch(np.zeros((1, 32, 32, 3), np.float32))["score"],
        old.predict_on_batch(np.zeros((1, 32, 32, 3), np.float32))["score"],
        rtol=1e-6,  # two graphs of one model may round differently
    )


def test_the_decision_before_is_kept_and_the_optimizer_too(run, photos, trained_run):
    before = trained_run.read_json("calibration.json")
    calibrate_on_folder(run, photos, 0.05)
    found = run.read_json("calibration.json")
    assert found["own_images"]["before"] == {"threshold": 0.5, "rule": before["rule"]}
    assert found["rule"] == "at most 5 % of 40 own real images called fake"
    assert found["own_images"]["images"] == 40 and found["own_images"]["max_false_alarms"] == 0.05
    changed = {"threshold", "rule", "own_images"}
    assert {key: found[key] for key in found if key not in changed} == {
        key: before[key] for key in before if key not in changed
    }
    from lae_tf.model import load_model

    assert int(load_model(run.model_path).optimizer.iterations) > 0


def test_what_cannot_be_known_is_refused_and_nothing_changes(run, photos):
    before = run.model_digest()
    with pytest.raises(UsageError, match=r"--max-false-alarms 1% needs at least 100 real images .* holds 40"):
        calibrate_on_folder(run, photos, 0.01)
    with pytest.raises(UsageError, match="expected a share above 0"):
        calibrate_on_folder(run, photos, 0.0)
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ProblemsError, match=r"broken\.png"):
        calibrate_on_folder(run, photos, 0.1)
    assert run.model_digest() == before
    run.model_path.unlink()
    with pytest.raises(UsageError, match="not trained yet"):
        calibrate_on_folder(run, photos, 0.1)


def test_the_command_says_before_and_now(run, photos, lae_tf_command):
    code, out, err = lae_tf_command("calibrate", run.path, photos, "--max-false-alarms", "10%")
    assert code == 0, err
    assert "Threshold before: 0.5000" in out and "10.0 % of 40 images called fake" in out
    code, out, _ = lae_tf_command("calibrate", run.path, photos, "--max-false-alarms", "0.05", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["images"] == 40 and facts["false_alarms"] == pytest.approx(0.05)
    code, _, err = lae_tf_command("calibrate", run.path, photos)
    assert code == 2 and "needs at least 100 real images" in err
