"""Every loss by hand, and the exact rules of the alignment term."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lae_tf.model.lae import LAE
from lae_tf.model.losses import ActivationLoss, AdversarialLoss, AlignmentLoss, DecisionLoss, PixelLoss
from lae_tf.model.perceptual import FeatureMatchingLoss

LOG3 = math.log(3.0)  # sigmoid(log 3) = 3/4


def column(*values):
    return np.array(values, np.float32)[:, None]


# --- values by hand ---------------------------------------------------------------------------------------


def test_pixel_loss_is_the_mean_absolute_error_of_each_sample():
    image = np.zeros((2, 4, 4, 3), np.float32)
    reconstruction = image.copy()
    reconstruction[0, 0] = 1.0  # one row of four
    reconstruction[1] = -0.5
    np.testing.assert_allclose(PixelLoss()(image, reconstruction), [0.25, 0.5])


def test_decision_loss_is_cross_entropy():
    # p = 3/4 for both: -log 3/4 for a fake, -log 1/4 for a real image.
    losses = DecisionLoss()(column(1, 0), column(LOG3, LOG3))
    np.testing.assert_allclose(losses, [math.log(4 / 3), math.log(4)], rtol=1e-6)


def test_label_smoothing_moves_labels_towards_one_half():
    # Labels become 0.9 and 0.1.
    losses = DecisionLoss(label_smoothing=0.2)(column(1, 0), column(LOG3, LOG3))
    expected = [0.9 * math.log(4 / 3) + 0.1 * math.log(4), 0.1 * math.log(4 / 3) + 0.9 * math.log(4)]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_focal_decision_loss_by_hand():
    # (1 - p_t)^2 times the cross-entropy: 1/16 and 9/16.
    losses = DecisionLoss(gamma=2.0)(column(1, 0), column(LOG3, LOG3))
    np.testing.assert_allclose(losses, [math.log(4 / 3) / 16, math.log(4) * 9 / 16], rtol=1e-5)


def test_focal_loss_without_focus_is_cross_entropy():
    logits, labels = column(-3, -0.5, 0.2, 2.5), column(1, 0, 1, 0)
    np.testing.assert_allclose(DecisionLoss(gamma=1e-7)(labels, logits), DecisionLoss()(labels, logits), rtol=1e-5)


def test_decision_loss_survives_extreme_logits():
    for gamma in (0.0, 2.0):
        logits = tf.constant(column(80, -80))
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = DecisionLoss(gamma)(column(0, 1), logits)
        assert np.isfinite(losses).all() and np.isfinite(tape.gradient(losses, logits)).all()


def test_activation_loss_by_hand():
    # Halves of the latent: |1|, |-3| -> a_real = 2; |0.5|, |0| -> a_fake = 0.25.
    latent = np.array([[1.0, -3.0, 0.5, 0.0]] * 2, np.float32)
    np.testing.assert_allclose(ActivationLoss()(column(0, 1), latent), [1.0 + 0.25, 2.0 + 0.75])


@pytest.mark.parametrize(
    "kind, expected",
    [
        # Attention 3/4 everywhere on four cells, two of them forged.
        ("bce", (2 * math.log(4 / 3) + 2 * math.log(4)) / 4),
        ("l1", (2 * 0.25 + 2 * 0.75) / 4),
        ("dice", 1 - (2 * 1.5 + 1) / (3 + 2 + 1)),
        ("iou", 1 - (1.5 + 1) / (3 + 2 - 1.5 + 1)),
    ],
)
def test_alignment_loss_by_hand(kind, expected):
    mask = np.array([[[1.0, 1.0], [0.0, 0.0]]], np.float32)
    losses = AlignmentLoss(kind)(mask, np.full((1, 2, 2), LOG3, np.float32))
    np.testing.assert_allclose(losses, [expected], rtol=1e-6)


def test_forged_cells_weigh_more_on_request():
    mask = np.array([[[1.0, 0.0]]], np.float32)
    losses = AlignmentLoss("bce", positive_weight=5.0)(mask, np.full((1, 1, 2), LOG3, np.float32))
    np.testing.assert_allclose(losses, [(5 * math.log(4 / 3) + math.log(4)) / 2], rtol=1e-6)


@pytest.mark.parametrize("kind", AlignmentLoss.kinds)
def test_a_perfect_map_costs_nothing(kind):
    mask = np.zeros((2, 4, 4), np.float32)
    mask[0, :2, :2] = 1.0  # and a second sample where nothing is forged
    np.testing.assert_allclose(AlignmentLoss(kind)(mask, 60.0 * (2 * mask - 1)), [0.0, 0.0], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(AlignmentLoss.kinds), st.integers(0, 1000))
def test_alignment_loss_is_never_negative_and_treats_samples_alone(kind, seed):
    rng = np.random.default_rng(seed)
    mask, logits = rng.uniform(0, 1, (3, 4, 4)).astype(np.float32), rng.normal(0, 3, (3, 4, 4)).astype(np.float32)
    losses = AlignmentLoss(kind)(mask, logits).numpy()
    assert (losses >= 0).all()
    np.testing.assert_allclose(losses[1:2], AlignmentLoss(kind)(mask[1:2], logits[1:2]), rtol=1e-5)


def patches(*values):
    return np.array(values, np.float32).reshape(-1, 1, len(values[0]), 1)


def test_hinge_loss_by_hand():
    loss, logits = AdversarialLoss("hinge"), patches([2.0, 0.5], [-3.0, 0.0])
    np.testing.assert_allclose(loss(np.ones_like(logits), logits), [(0 + 0.5) / 2, (4 + 1) / 2])
    np.testing.assert_allclose(loss(np.zeros_like(logits), logits), [(3 + 1.5) / 2, (0 + 1) / 2])
    np.testing.assert_allclose(loss.generator(tf.constant(logits)), [-1.25, 1.5])


def test_non_saturating_loss_by_hand():
    loss, logits = AdversarialLoss("non-saturating"), patches([LOG3, -LOG3])
    mean = (math.log(4 / 3) + math.log(4)) / 2
    np.testing.assert_allclose(loss(np.ones_like(logits), logits), [mean], rtol=1e-6)
    np.testing.assert_allclose(loss(np.zeros_like(logits), logits), [mean], rtol=1e-6)
    # The decoder wants "real": the loss falls as the logit rises.
    np.testing.assert_allclose(loss.generator(tf.constant(patches([LOG3]))), [math.log(4 / 3)], rtol=1e-6)


def test_feature_matching_is_the_mean_distance():
    np.testing.assert_allclose(FeatureMatchingLoss()(np.zeros((1, 4)), np.array([[1.0, -1.0, 0.0, 2.0]])), [1.0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: AlignmentLoss("mse"),
        lambda: AlignmentLoss(positive_weight=0.0),
        lambda: DecisionLoss(gamma=-1.0),
        lambda: DecisionLoss(label_smoothing=1.0),
        lambda: DecisionLoss(gamma=2.0, label_smoothing=0.1),
        lambda: AdversarialLoss("wasserstein"),
    ],
)
def test_impossible_arguments_are_refused(make):
    with pytest.raises(ValueError, match="Received"):
        make()


@pytest.mark.parametrize(
    "loss",
    [
        PixelLoss(),
        DecisionLoss(gamma=1.5),
        DecisionLoss(label_smoothing=0.1),
        ActivationLoss(),
        AlignmentLoss("dice"),
        AlignmentLoss("bce", 3.0),
        AdversarialLoss("non-saturating"),
        FeatureMatchingLoss(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_losses_keep_their_configuration(loss):
    copy = type(loss).from_config(loss.get_config())
    assert copy.get_config() == loss.get_config()


# --- the three states of a mask ---------------------------------------------------------------------------


def gradients(model, batch):
    with tf.GradientTape() as tape:
        terms = model.objective.terms(batch, model.forward(batch["image"], training=True))
    return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(terms["loss"], model.autoencoder_variables)]


def small_model(alignment, only_alignment=False, **arguments):
    tf.keras.utils.set_random_seed(1)
    model = LAE(image_size=16, widths=(4, 8), blocks=0, trunk="none", **arguments)
    others = {"reconstruction": 0.0, "latent": 0.0} if only_alignment else {}
    model.compile("sgd", alignment_loss=AlignmentLoss(alignment), loss_weights={"alignment": 1.0, **others})
    return model


def batch_of(labels, known, seed=0):
    rng = np.random.default_rng(seed)
    count = len(labels)
    mask = np.zeros((count, 16, 16, 1), np.float32)
    for i in range(count):
        if labels[i] and known[i]:
            mask[i, 2:9, 4:12] = 1.0
    return {
        "image": rng.uniform(0, 1, (count, 16, 16, 3)).astype(np.float32),
        "label": column(*labels),
        "mask": mask,
        "mask_weight": column(*known),
    }


@pytest.mark.parametrize("attention", ["grad_cam", "cam"])
@pytest.mark.parametrize("kind", AlignmentLoss.kinds)
def test_the_mask_of_an_unlabelled_fake_changes_no_gradient(kind, attention):
    model = small_model(kind, attention=attention)
    batch = batch_of(labels=[1, 0, 1], known=[1, 1, 0])
    changed = {**batch, "mask": batch["mask"].copy()}
    changed["mask"][2] = np.random.default_rng(1).integers(0, 2, (16, 16, 1))
    for before, after in zip(gradients(model, batch), gradients(model, changed), strict=True):
        np.testing.assert_array_equal(before, after)
    # The same change to a sample whose mask is known does count.
    changed["mask_weight"] = column(1, 1, 1)
    assert any((a != b).any() for a, b in zip(gradients(model, batch), gradients(model, changed), strict=True))


@pytest.mark.parametrize("kind", AlignmentLoss.kinds)
def test_unlabelled_fakes_alone_have_no_alignment_gradient_at_all(kind):
    model = small_model(kind, only_alignment=True)
    batch = batch_of(labels=[1, 1], known=[0, 0])
    batch["mask"][:] = 1.0
    for gradient in gradients(model, batch):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    terms = model.objective.terms(batch, model.forward(batch["image"], training=True))
    assert float(terms["alignment_loss"]) == 0.0


def test_alignment_is_a_mean_over_known_masks_only():
    model = small_model("l1")
    batch = batch_of(labels=[1, 0, 1, 1], known=[1, 1, 0, 0])
    known = {name: value[:2] for name, value in batch.items()}

    def alignment(part):
        return float(model.objective.terms(part, model.forward(part["image"], training=False))["alignment_loss"])

    assert alignment(batch) == pytest.approx(alignment(known), rel=1e-5)


@pytest.mark.parametrize("kind", ["bce", "l1", "dice", "iou"])
@pytest.mark.parametrize("head", ["lse", "gap"])
def test_a_real_image_pulls_attention_down(kind, head):
    model = small_model(kind, only_alignment=True, head=head)
    batch = batch_of(labels=[0, 0], known=[1, 1])

    def attention():
        return float(tf.reduce_mean(tf.sigmoid(model.forward(batch["image"], training=True)["map_logits"])))

    before = attention()
    for variable, gradient in zip(model.autoencoder_variables, gradients(model, batch), strict=True):
        variable.assign_sub(0.01 * gradient)
    assert attention() < before
