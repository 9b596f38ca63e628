"""Fitting how the logits of windows become the logit of an image."""

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lae_tf.config.sections import Config
from lae_tf.data.manifest import Manifest
from lae_tf.model.lae import LAE
from lae_tf.model.window_pooling import LEVELS, WindowLogits, features
from lae_tf.training import window_calibration
from lae_tf.training.window_calibration import calibrate_windows, fit_pooling


def images(count, windows, seed, loud=0):
    """Logits of real images' windows are logistic with centre -2 and spread 0.5; ``loud`` of a fake's are 6 higher."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        level = rng.logistic(-2, 0.5, windows)
        level[:loud] += 6
        made.append(WindowLogits([level.astype(np.float32)], float(rng.logistic(-1, 0.5))))
    return made


def test_scales_are_those_of_real_windows():
    logits = [*images(60, 200, 0), *images(60, 200, 1, loud=3)]
    fitted = fit_pooling(logits, np.repeat([0, 1], 60))
    assert fitted.centre[0] == pytest.approx(-2, abs=0.05)
    assert fitted.spread[0] == pytest.approx(0.5, abs=0.05)
    assert (fitted.centre[:LEVELS] == fitted.centre[0]).all()  # no others were seen
    assert fitted.weights[0] > 0 and abs(fitted.weights[1]) < fitted.weights[0] / 2  # the whole says nothing here


def test_fakes_are_told_by_a_few_windows_and_reals_do_not_grow_with_their_size():
    reals = [image for number, size in enumerate((5, 20, 100, 500)) for image in images(40, size, number)]
    fakes = [image for number, size in enumerate((5, 20, 100, 500)) for image in images(40, size, 9 + number, loud=2)]
    labels = np.repeat([0, 1], 160)
    fitted = fit_pooling([*reals, *fakes], labels)
    pooled = np.array([features(one, fitted) @ fitted.weights[:2] + fitted.weights[2] for one in [*reals, *fakes]])
    assert roc_auc_score(labels, pooled) > 0.95
    by_size = pooled[:160].reshape(4, 40).mean(axis=1)
    assert abs(by_size[3] - by_size[0]) < pooled[:160].std()


def test_an_uninformative_whole_with_informative_windows_leaves_weights_at_least_zero():
    reals, fakes = images(50, 30, 3), images(50, 30, 4, loud=5)
    backwards = [one._replace(whole=one.whole - 5) for one in fakes]
    fitted = fit_pooling([*reals, *backwards], np.repeat([0, 1], 50))
    assert fitted.weights[0] >= 0 and fitted.weights[1] == 0


def test_a_calibration_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """It looks at no photograph twice, ends with the same decision, and takes nothing of another model."""
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 256, (40, 56, 3), np.uint8))
    rows = [f"{number}.png,real,,{number},,val\n" for number in range(3)]
    (tmp_path / "manifest.csv").write_text("path,label,mask,group,method,split\n" + "".join(rows))
    manifest = Manifest.read(tmp_path / "manifest.csv")
    config = Config.parse({"data": {"manifest": "-", "view": "windows"}})
    arguments = {"image_size": 16, "widths": [4, 4], "trunk": "none", "self_correlation": False, "view": "windows"}
    model = LAE(**arguments)
    seen, look = [], window_calibration.look_in_windows

    def counting(model, image):
        seen.append(image.shape)
        if len(seen) == stop:
            raise KeyboardInterrupt
        return look(model, image)

    monkeypatch.setattr(window_calibration, "look_in_windows", counting)
    stop = None
    _, whole = calibrate_windows(model, manifest, config, 0.5, tmp_path / "whole")
    assert len(seen) == 3 * 8  # itself and a forgery, at two sizes, as stored and laundered
    seen, stop = [], 12
    with pytest.raises(KeyboardInterrupt):
        calibrate_windows(model, manifest, config, 0.5, tmp_path / "stopped")
    seen, stop = [], None
    _, again = calibrate_windows(model, manifest, config, 0.5, tmp_path / "stopped")
    assert len(seen) == 2 * 8
    pd.testing.assert_frame_equal(again, whole, atol=1e-4)  # a first batch's last digit is another
    seen = []
    other = LAE(**arguments)
    other.head.set_weights([weight + 1 for weight in other.head.get_weights()])
    calibrate_windows(other, manifest, config, 0.5, tmp_path / "stopped")
    assert len(seen) == 3 * 8
    next((tmp_path / "whole").rglob("000001.json")).write_text("[[")
    seen = []
    pd.testing.assert_frame_equal(
        calibrate_windows(model, manifest, config, 0.5, tmp_path / "whole")[1], whole, atol=1e-4
    )
    assert len(seen) == 8
