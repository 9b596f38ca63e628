"""The functional view is the model, and every method explains its logit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from lae_tf.errors import UsageError
from lae_tf.explain.methods import METHODS, Explainer, functional_view
from lae_tf.model.lae import LAE


def small(head="lse", seed=2, **options):
    keras.utils.set_random_seed(seed)
    return LAE(image_size=32, widths=(4, 8, 8), blocks=0, trunk="none", head=head, **options)


def images(count=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (count, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def explainer():
    return Explainer(small())


@pytest.mark.parametrize("head", ["lse", "gap", "split"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_the_view_gives_the_models_logit_bit_for_bit(head, dtype):
    model = small(head, dtype=dtype)
    outputs = functional_view(model).predict_on_batch(images())
    np.testing.assert_array_equal(outputs[:, 1:], model.predict_on_batch(images())["logit"])
    np.testing.assert_array_equal(outputs[:, 0], np.zeros(3))


def test_the_view_follows_the_models_weights():
    model = small()
    view = functional_view(model)
    before = view.predict_on_batch(images())
    model.head.bias.assign_add([1.5])
    np.testing.assert_allclose(view.predict_on_batch(images())[:, 1], before[:, 1] + 1.5, atol=1e-5)


def test_scores_are_calibrated(explainer):
    model = small()
    model.calibration.temperature.assign(2.0)
    expected = model.predict_on_batch(images())["score"][:, 0]
    np.testing.assert_allclose(Explainer(model).score(images()), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_all_methods_give_maps_in_the_unit_range(dtype):
    maps = Explainer(small(dtype=dtype)).maps(images()[0])
    assert list(maps) == list(METHODS)
    for name, one in maps.items():
        assert one.shape == (32, 32) and one.dtype == np.float32, name
        assert one.min() >= 0 and one.max() <= 1 and one.max() > one.min(), name
        assert name == "attention" or one.max() == pytest.approx(1)


def test_grad_cam_is_the_positive_part_of_our_attention_before_the_bias():
    """For a linear head both are sum_k w_k F_k up to a factor; the oracle is the closed form."""
    model = small("gap")
    explainer = Explainer(model, ["grad_cam"])
    image = images()[0]
    evidence = tf.tensordot(model.encoder(image[None], training=False), model.head.kernel[:, 0], 1)
    expected = explainer.expand(np.maximum(evidence, 0)[0])
    assert expected.max() > 0
    np.testing.assert_allclose(explainer.maps(image)["grad_cam"], expected / expected.max(), atol=1e-4)


def test_score_cam_weighs_channels_by_what_they_do_to_the_score(explainer):
    """By the definition of Wang et al. 2020: weights are the scores of the image under each channel's mask."""
    model, image = explainer.model, images()[1]
    features = np.asarray(model.encoder(image[None], training=False))[0]
    zoomed = np.stack([_zoom(features[..., channel]) for channel in range(features.shape[-1])])
    low, high = zoomed.min(axis=(1, 2), keepdims=True), zoomed.max(axis=(1, 2), keepdims=True)
    masks = (zoomed - low) / (high - low + 1e-7)
    logits = functional_view(model).predict_on_batch((image[None] * masks[..., None]).astype(np.float32))[:, 1]
    weights = 1 / (1 + np.exp(-logits))
    assert weights.std() > 1e-4  # over a single output a softmax would give 1 for every channel
    expected = explainer.expand(np.maximum(features @ weights, 0))
    np.testing.assert_allclose(explainer.maps(image)["score_cam"], expected / expected.max(), atol=1e-3)


def _zoom(channel):
    from scipy.ndimage import zoom

    return zoom(channel, 32 / channel.shape[0], order=1, mode="nearest")


def test_smoothgrad_finds_the_pixels_that_matter():
    """Only the left half reaches a model that cannot see further than its receptive field."""
    model = small("gap", contrast=False)
    features = model.encoder.outputs[0].shape[1]
    model.head.call = lambda f: tf.reduce_mean(
        tf.cast(f, tf.float32)[:, :, : features // 4], axis=(1, 2, 3), keepdims=True
    )[:, :, 0, 0]
    saliency = Explainer(model, ["smoothgrad"]).maps(images()[0])["smoothgrad"]
    assert saliency[:, 24:].max() == 0 < saliency[:, :8].mean()


def test_the_same_seed_gives_the_same_maps_and_leaves_numpys_generator_alone(explainer):
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    one, other, third = (explainer.maps(images()[0], seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    for name in METHODS:
        np.testing.assert_array_equal(one[name], other[name])
    for name in ("smoothgrad", "random"):
        assert np.abs(one[name] - third[name]).max() > 1e-3
    assert spearmanr(one["smoothgrad"].ravel(), third["smoothgrad"].ravel()).statistic > 0.5


def test_a_map_that_is_zero_everywhere_stays_zero():
    model = small("gap")
    model.head.kernel.assign(tf.zeros_like(model.head.kernel))
    assert Explainer(model, ["grad_cam"]).maps(images()[0])["grad_cam"].max() == 0


def test_nothing_is_printed(explainer, capsys):
    explainer.maps(images()[0])
    assert capsys.readouterr().out == ""


def test_methods_are_chosen_by_name():
    model = small()
    assert list(Explainer(model, ["random", "attention", "random"]).maps(images()[0])) == ["random", "attention"]
    with pytest.raises(UsageError, match=r"'gradcam'.*grad_cam"):
        Explainer(model, ["gradcam"])
