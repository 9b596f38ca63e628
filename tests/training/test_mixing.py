"""How the experts share an image: numbers whose best mixture is known by construction."""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from lae_tf.config.sections import Config
from lae_tf.model.calibration import AttentionScale, Calibration
from lae_tf.model.experts import Mixture
from lae_tf.model.head import EvidenceHead, SplitLatentHead
from lae_tf.model.lae import LAE
from lae_tf.training import finishing
from lae_tf.training.calibrate import fit_platt
from lae_tf.training.mixing import FittedMixture, fit_mixture

MANY = 4000


def model_of(head=None):
    """Return a model whose experts and gate read what they say from the pixel of an image."""
    mixture, own = Mixture(), EvidenceHead("gap")
    mixture.build([None])
    own.build((None, 1, 1, 1))
    own.kernel.assign([[1.0]])
    says = {
        "fine": lambda image, training: image[..., :1],
        "robust": lambda image, training: image[..., 1:2],
        "gate": lambda image, training: image[:, 0, 0, 2:],
    }
    encoder = SimpleNamespace(get_layer=says.__getitem__)
    return SimpleNamespace(encoder=encoder, head=head or own, mixture=mixture)


def batches_of(fine, robust, gate, labels):
    image = np.stack([np.broadcast_to(part, labels.shape) for part in (fine, robust, gate)], axis=-1)
    yield from (
        {"image": image[part, None, None].astype(np.float32), "label": labels[part, None].astype(np.float32)}
        for part in np.array_split(np.arange(len(labels)), 3)
    )


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, MANY), rng.normal(size=MANY), rng.normal(size=MANY)


@pytest.mark.parametrize("spread, expected", [((1, 1), 0.5), ((1, 2), 0.8), ((2, 1), 0.3), ((1, 100), 1.0)])
def test_shares_are_by_how_much_each_expert_tells(drawn, spread, expected):
    """Of two independent readings of one number the best mean weighs each by 1 / variance: 1/2, 4/5, 1/5, nearly 1."""
    labels, first, second = drawn
    model = model_of()
    fine, robust = (2 * labels - 1 + width * noise for width, noise in zip(spread, (first, second), strict=True))
    chosen = fit_mixture(model, batches_of(fine, robust, 30.0, labels)).numbers
    assert chosen["largest_share"] == pytest.approx(expected, abs=0.1001)
    assert float(model.mixture.largest_share) == pytest.approx(chosen["largest_share"])
    assert float(model.mixture.readiness) == chosen["readiness"]


def test_an_expert_that_is_wrong_of_degraded_images_is_kept_from_them(drawn):
    """The gate says 0 of stored and -8 of degraded images, where the fine expert says the opposite."""
    labels, first, second = drawn
    degraded = np.arange(MANY) >= MANY // 2
    fine = np.where(degraded, -6, 3) * (2 * labels - 1) + first
    robust = 0.5 * (2 * labels - 1) + second
    gate = np.where(degraded, -8.0, 0.0)
    chosen = fit_mixture(model_of(), batches_of(fine, robust, gate, labels)).numbers
    # Ready enough for stored images, of which it then has sigmoid(readiness), and not for degraded ones.
    assert 1 <= chosen["readiness"] <= 5 and chosen["largest_share"] >= 0.8


@pytest.mark.parametrize("spread, shift", [(1.0, 2.0), (3.0, 2.0), (1.0, -3.0)])
@pytest.mark.parametrize("offset", [-5.0, 0.0, 5.0])
def test_degraded_images_get_a_boundary_and_a_slope_of_their_own(drawn, spread, shift, offset):
    """The level that 1 real image in 20 exceeds becomes the boundary; the slope is the best of a grid with it."""
    labels, noise, _ = drawn
    degraded = np.arange(MANY) >= MANY // 2
    says = offset + 2 * labels - 1 + np.where(degraded, spread * noise + shift, noise)
    gate = np.where(degraded, -40.0, 40.0)
    model = model_of()
    chosen, scale = fit_mixture(model, batches_of(says, says, gate, labels), copies=True)
    assert scale == pytest.approx(fit_platt(says[~degraded], labels[~degraded]), abs=1e-4)
    assert float(model.mixture.withheld) == pytest.approx(chosen["withheld"])

    level = np.quantile(says[degraded & (labels == 0)], 0.95)
    assert level == pytest.approx(offset + shift - 1 + 1.645 * spread, abs=0.1 * spread)
    level = max(level, scale.boundary)  # no lower than that of stored images
    signs, logits = np.where(labels == 1, 1, -1)[degraded], says[degraded] - level
    slopes = np.arange(0.02, 2.5, 0.02)
    losses = [np.mean([np.logaddexp(0, -k * logits * signs)[signs == kind].mean() for kind in (-1, 1)]) for k in slopes]
    best = min(1.0, slopes[np.argmin(losses)] * scale.temperature)
    assert 1 - chosen["flattened"] == pytest.approx(best, abs=0.05)

    left = model.mixture.temper(says.astype(np.float32), gate.astype(np.float32)).numpy()
    np.testing.assert_allclose(
        left[degraded], scale.boundary + (1 - chosen["flattened"]) * logits, atol=0.1 + 0.05 * spread
    )
    np.testing.assert_allclose(left[~degraded], says[~degraded], rtol=1e-5)
    assert np.mean(left[degraded & (labels == 0)] >= scale.boundary) <= 0.0501


def test_degraded_images_keep_their_logits_where_nothing_shows_better(drawn):
    """And the scale is then that of all images."""
    labels, noise, _ = drawn
    says = 2 * labels - 1 + noise
    few = np.arange(MANY) % 100 == 0  # 40 images, some ten degraded ones of a kind
    for chosen, scale in (
        fit_mixture(model_of(), batches_of(says, says, -40.0, labels)),  # no copies
        fit_mixture(model_of(), batches_of(says[few], says[few] + 5, -40.0, labels[few]), copies=True),
        fit_mixture(model_of(), batches_of(says, says, 40.0, labels), copies=True),  # all look stored
    ):
        assert chosen["flattened"] == chosen["withheld"] == 0 and scale is None


@pytest.mark.parametrize("view", ["whole", "windows"])
def test_a_model_is_calibrated_on_stored_images_and_few_degraded_reals_are_called_fake(drawn, view, monkeypatch):
    labels, noise, _ = drawn
    degraded = np.arange(MANY) >= MANY // 2
    says = 2 * labels - 1 + noise + 2 * degraded
    gate = np.where(degraded, -40.0, 40.0)
    model = model_of()
    model.view, model.calibration, model.attention_scale = view, Calibration(), AttentionScale()
    model.calibration.build()
    model.attention_scale.build()
    model.predict_on_batch = lambda image: {"logit": model.mixture.temper(image[:, 0, 0, :1], image[:, 0, 0, 2:])}
    monkeypatch.setattr(finishing, "calibrate_windows", lambda model, *rest: ({}, pd.DataFrame({"score": []})))
    batches = list(batches_of(says, says, gate, labels))
    config = Config(**{"data": {"manifest": "manifest.csv"}, "augment": {"degrade": 0.5}})
    decision, scored = finishing.calibrate_in_view(model, batches, None, config, Path("kept"))
    if view == "windows":  # one scale for all windows
        assert decision["flattened"] == decision["withheld"] == 0
        return
    stored = fit_platt(says[~degraded], labels[~degraded])
    assert decision["boundary"] == pytest.approx(stored.boundary, abs=1e-4) and "degraded" in decision["rule"]
    np.testing.assert_array_equal(scored["degraded"], degraded)
    called = scored["score"][degraded & (labels == 0)] >= 0.5
    assert called.mean() == pytest.approx(0.05, abs=0.01)


def test_models_without_such_experts_stay_as_they_are(drawn):
    labels, first, second = drawn
    assert fit_mixture(model_of(head=SplitLatentHead()), batches_of(first, second, 0.0, labels)) == FittedMixture({})
    assert fit_mixture(model_of(), batches_of(first, second, 0.0, np.ones(MANY, int))) == FittedMixture({})
    assert fit_mixture(SimpleNamespace(), []) == FittedMixture({})
    assert fit_mixture(LAE(image_size=16, widths=(4, 8), blocks=0, trunk="none"), []) == FittedMixture({})


def test_the_mixture_of_a_model_is_chosen():
    keras.utils.set_random_seed(0)
    model = LAE(image_size=32, widths=(4, 6, 8), blocks=0, trunk_weights=None)
    rng = np.random.default_rng(0)
    batch = {"image": rng.uniform(size=(6, 32, 32, 3)).astype(np.float32), "label": np.array([[0], [1]] * 3)}
    chosen = fit_mixture(model, [batch]).numbers
    assert [float(weight) for weight in model.mixture.weights] == pytest.approx(list(chosen.values()))
