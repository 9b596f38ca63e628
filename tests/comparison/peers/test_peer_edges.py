"""Peers at the edges: uniform images, sizes between powers of two, filters that must not train."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lae_tf.comparison.peers import PEERS, build_peer

HEAVY = ("xception",)
LIGHT = tuple(name for name in PEERS if name not in HEAVY)


def batch_of(images):
    count = len(images)
    return {
        "image": tf.constant(images, tf.float32),
        "label": tf.constant(np.arange(count)[:, None] % 2, tf.float32),
        "mask": tf.zeros((count, *images.shape[1:3], 1)),
        "mask_weight": tf.constant(1 - np.arange(count)[:, None] % 2, tf.float32),
    }


@pytest.mark.parametrize("name", LIGHT)
def test_uniform_images_give_finite_gradients(name):
    """Residuals and variances are zero there, where a norm or a square root would have no gradient."""
    keras.utils.set_random_seed(0)
    peer = build_peer(name, 32)
    batch = batch_of(np.broadcast_to(np.float32([0, 0.5, 1, 0.25])[:, None, None, None], (4, 32, 32, 3)))
    with tf.GradientTape() as tape:
        loss = peer.loss_of(batch, peer.outputs_of(batch, training=True))
    gradients = [g for g in tape.gradient(loss, peer.trainable_variables) if g is not None]
    assert gradients
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


@pytest.mark.parametrize("size", [48])
@pytest.mark.parametrize("name", LIGHT)
def test_sizes_between_the_powers_of_two(name, size):
    peer = build_peer(name, size)
    batch = batch_of(np.random.default_rng(0).uniform(size=(2, size, size, 3)))
    outputs = peer(batch["image"])
    assert outputs["logit"].shape == (2, 1)
    if "attention" in outputs:
        assert outputs["attention"].shape == (2, size, size)
    assert np.isfinite(float(peer.loss_of(batch, peer.outputs_of(batch, training=False))))


@pytest.mark.parametrize("name", ["residual-cnn", "forensictransfer"])
def test_residual_filters_do_not_train(name):
    keras.utils.set_random_seed(0)
    peer = build_peer(name, 32)
    residual = peer.network.get_layer("residual")
    batch = batch_of(np.random.default_rng(0).uniform(size=(4, 32, 32, 3)))
    before = np.asarray(residual(batch["image"]))
    assert residual.weights == []
    peer.compile(keras.optimizers.SGD(1.0))
    peer.train_step(batch)
    np.testing.assert_array_equal(residual(batch["image"]), before)
    # High-pass: nothing is left of a plane of one colour.
    np.testing.assert_allclose(residual(tf.fill((1, 32, 32, 3), 0.5)), 0.0, atol=1e-4)
