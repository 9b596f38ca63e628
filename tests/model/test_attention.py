"""Attention: two definitions that agree, an independent oracle, and gradients through the inner tape."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from lae_tf.model.attention import cam, grad_cam, pool_mask, resize_map, to_map_logits
from lae_tf.model.head import EvidenceHead, SplitLatentHead
from lae_tf.model.lae import LAE
from lae_tf.model.losses import AlignmentLoss


def head_for(channels, pooling, seed=0):
    head = EvidenceHead(pooling, sharpness=1.5)
    head.build((None, 4, 4, channels))
    head.kernel.assign(np.random.default_rng(seed).normal(0, 1, (channels, 1)))
    head.bias.assign([0.3])
    return head


def features_of(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(0, 1, shape), tf.float32)


# --- cam and grad_cam -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["gap", "lse"])
def test_grad_cam_of_a_linear_head_is_cam(pooling):
    """ds/dF = w p with weights p over space that sum to one for both poolings, so the sum over space gives w."""
    features, head = features_of((3, 4, 5, 6)), head_for(6, pooling)
    np.testing.assert_allclose(grad_cam(head, features), cam(head.kernel, features), rtol=1e-4, atol=1e-5)


def test_cam_by_hand():
    features = tf.constant([[[[1.0, 2.0], [0.0, -1.0]]]])
    np.testing.assert_allclose(cam(tf.constant([[3.0], [0.5]]), features), [[[4.0, -0.5]]])


def test_grad_cam_is_computed_in_float32():
    features = tf.cast(features_of((1, 4, 4, 6)), tf.bfloat16)
    assert grad_cam(head_for(6, "lse"), features).dtype == tf.float32


def test_attention_of_the_whole_model_agrees_for_both_definitions():
    keras.utils.set_random_seed(0)
    ours = LAE(image_size=16, widths=(4, 8), blocks=0, trunk="none", attention="grad_cam")
    closed = LAE(image_size=16, widths=(4, 8), blocks=0, trunk="none", attention="cam")
    closed.set_weights(ours.get_weights())
    images = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(
        ours.predict_on_batch(images)["attention"], closed.predict_on_batch(images)["attention"], atol=1e-5
    )


# --- tf-keras-vis -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("head_kind", ["lse", "gap", "split"])
def test_grad_cam_ranks_pixels_as_tf_keras_vis_does(head_kind):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    keras.utils.set_random_seed(2)
    model = LAE(image_size=32, widths=(4, 8, 8), blocks=0, trunk="none", contrast=False, head=head_kind)
    functional = keras.Model(model.encoder.inputs, model.head(model.encoder.outputs[0]))
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (4, 32, 32, 3)).astype(np.float32)
    if head_kind != "split":
        # The mean features weigh nothing, so that the map is positive in some places and negative in others.
        mean = model.encoder(images, training=False).numpy().mean(axis=(0, 1, 2))
        weights = rng.normal(0, 1, mean.shape)
        model.head.kernel.assign((weights - weights @ mean / (mean @ mean) * mean)[:, None])
    last = model.encoder.layers[-1].name
    theirs = Gradcam(functional, clone=False)(
        CategoricalScore([0] * 4),
        images,
        penultimate_layer=last,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
    )
    ours = grad_cam(model.head, model.encoder(images, training=False)).numpy()
    theirs = np.asarray(theirs)
    assert theirs.shape == ours.shape
    compared = 0
    for one, other in zip(ours, theirs, strict=True):
        positive = other > 1e-6 * max(other.max(), 1e-12)
        assert (one[positive] > 0).all()
        assert (one[~positive] <= 1e-3 * np.abs(one).max()).all()
        if positive.sum() > 5:
            assert spearmanr(one[positive], other[positive]).statistic > 0.999
            compared += 1
    assert compared >= 1


# --- gradients through the inner tape ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lse", "split"])
def test_gradient_through_the_inner_tape_matches_finite_differences(kind):
    head = SplitLatentHead() if kind == "split" else head_for(4, "lse")
    mask = tf.constant(np.random.default_rng(1).integers(0, 2, (2, 3, 3)), tf.float32)
    inputs = features_of((2, 3, 3, 5), seed=3)
    kernel = features_of((5, 4), seed=4).numpy()

    def loss(weights):
        features = tf.nn.softplus(tf.tensordot(inputs, weights, axes=1))
        return tf.reduce_mean(AlignmentLoss("bce")(mask, to_map_logits(grad_cam(head, features), 1.0, 0.2)))

    with tf.GradientTape() as tape:
        weights = tf.constant(kernel)
        tape.watch(weights)
        value = loss(weights)
    gradient = tape.gradient(value, weights).numpy()
    step = 1e-2
    for index in [(0, 0), (1, 3), (4, 2), (2, 1)]:
        change = np.zeros_like(kernel)
        change[index] = step
        numeric = float(loss(tf.constant(kernel + change)) - loss(tf.constant(kernel - change))) / (2 * step)
        assert gradient[index] == pytest.approx(numeric, rel=0.02, abs=2e-4)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("head_kind", ["lse", "gap", "split"])
def test_alignment_reaches_the_first_layer_of_the_encoder(head_kind):
    keras.utils.set_random_seed(0)
    model = LAE(image_size=16, widths=(4, 8), blocks=1, trunk="none", head=head_kind)
    images = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        map_logits = model.forward(images, training=True)["map_logits"]
        loss = tf.reduce_mean(AlignmentLoss()(tf.zeros_like(map_logits), map_logits))
    gradients = tape.gradient(loss, model.encoder.trainable_variables)
    for variable, gradient in zip(model.encoder.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), variable.name
    assert np.abs(gradients[0]).max() > 0


# --- maps and masks ---------------------------------------------------------------------------------------


def test_map_logits_are_slope_and_threshold():
    np.testing.assert_allclose(to_map_logits(tf.constant([1.0, 3.0]), 2.0, 0.5), [1.0, 5.0])


def test_pool_mask_is_the_forged_share_of_each_cell():
    mask = np.random.default_rng(0).integers(0, 2, (2, 12, 8, 1)).astype(np.float32)
    expected = mask[..., 0].reshape(2, 3, 4, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(pool_mask(mask, 3, 4), expected, rtol=1e-6)


def test_resize_map_interpolates_between_cell_centres():
    # Cell centres of two cells lie at 1 and 3 of four pixels, whose centres lie at 0.5, 1.5, 2.5, 3.5.
    resized = resize_map(tf.constant([[[0.0, 1.0]]]), 1, 4)
    np.testing.assert_allclose(resized, [[[0.0, 0.25, 0.75, 1.0]]], atol=1e-6)


def test_resize_map_stays_within_the_map():
    maps = tf.constant(np.random.default_rng(0).uniform(0, 1, (2, 4, 4)), tf.float32)
    resized = resize_map(maps, 32, 32).numpy()
    assert resized.shape == (2, 32, 32)
    assert resized.min() >= maps.numpy().min() - 1e-6 and resized.max() <= maps.numpy().max() + 1e-6
