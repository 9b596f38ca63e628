"""Every peer keeps the one contract; what makes each of them itself holds."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lae_tf.comparison.peers import PEERS, build_peer
from lae_tf.comparison.peers.peer import Peer, image_input, logit_of
from lae_tf.comparison.peers.statistics_cnn import MapStatistics
from lae_tf.comparison.train_peer import train_peer
from lae_tf.model.losses import DecisionLoss
from lae_tf.model.trunk_weights import trunk_weights
from lae_tf.training.mixing import fit_mixture

SIZE = 32
HEAVY = ("xception",)
LIGHT = tuple(name for name in PEERS if name not in HEAVY)


@pytest.fixture(scope="module")
def batch():
    """Eight images; the fakes have a noisy square, and half of them a mask that is known."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.3, 0.6, (8, 1, 1, 3)) + rng.normal(0, 0.01, (8, SIZE, SIZE, 3))
    image[4:, 8:24, 8:24] += rng.normal(0, 0.2, (4, 16, 16, 3))
    mask = np.zeros((8, SIZE, SIZE, 1))
    mask[4:, 8:24, 8:24] = 1
    known = np.array([1, 1, 1, 1, 1, 1, 0, 0])
    label = np.repeat([0, 1], 4)
    return {
        "image": tf.constant(image.clip(0, 1), tf.float32),
        "label": tf.constant(label[:, None], tf.float32),
        "mask": tf.constant(mask * known[:, None, None, None], tf.float32),
        "mask_weight": tf.constant(known[:, None], tf.float32),
    }


def built(name, learning_rate=1e-3):
    keras.utils.set_random_seed(1)
    peer = build_peer(name, SIZE)
    peer.compile(keras.optimizers.Adam(learning_rate))
    return peer


@pytest.mark.parametrize("name", PEERS)
def test_contract(name, batch):
    peer = built(name)
    outputs = peer(batch["image"])
    assert outputs["logit"].shape == outputs["score"].shape == (8, 1)
    assert outputs["logit"].dtype == tf.float32
    np.testing.assert_allclose(outputs["score"], tf.sigmoid(outputs["logit"]))
    assert ("attention" in outputs) == (name == "ffd")
    if "attention" in outputs:
        attention = outputs["attention"].numpy()
        assert attention.shape == (8, SIZE, SIZE) and attention.min() >= 0 and attention.max() <= 1
    before = [weight.copy() for weight in peer.get_weights()]
    metrics = peer.train_step(batch)
    assert set(metrics) == {"loss", "accuracy", "auroc"} and np.isfinite(float(metrics["loss"]))
    assert all(np.isfinite(weight).all() for weight in peer.get_weights())
    assert any(not np.array_equal(a, b) for a, b in zip(before, peer.get_weights(), strict=True))


@pytest.mark.parametrize("name", LIGHT)
def test_a_saved_peer_scores_the_same(name, batch, tmp_path):
    peer = built(name)
    peer.save(tmp_path / "peer.keras")
    loaded = keras.saving.load_model(tmp_path / "peer.keras")
    np.testing.assert_array_equal(loaded(batch["image"])["logit"], peer(batch["image"])["logit"])


@pytest.mark.parametrize("name", LIGHT)
def test_it_learns_what_is_easy(name, batch):
    peer = built(name, learning_rate=3e-3)
    step = tf.function(peer.train_step, autograph=False)
    losses = []
    for _ in range(40):
        for metric in peer.metrics:
            metric.reset_state()
        losses.append(float(step(batch)["loss"]))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])


def test_parameters_are_those_of_the_papers():
    # Afchar et al. 2018 give 28,615 trainable parameters at 256 x 256.
    meso = build_peer("mesoinception4", 256)
    assert sum(int(np.prod(variable.shape)) for variable in meso.trainable_variables) == 28_615
    # Chollet 2017: 22,910,480 with a top of 1000 classes, which is 2048 * 1000 + 1000; ours has one logit.
    assert build_peer("xception", 96).network.count_params() == 22_910_480 - 2_049_000 + 2_049
    # 4 * 64 statistics, as in the paper, feed the hidden layer.
    assert build_peer("statistics-cnn", SIZE).network.get_layer("hidden").kernel.shape == (256, 1024)


def test_parameters_are_those_of_the_documentation():
    """docs/results/comparison.md counts what trains at 128 x 128."""
    text = (Path(__file__).parents[3] / "docs" / "results" / "comparison.md").read_text(encoding="utf-8")
    section = text.split("## The peers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\S+) \| .+? \| ([\d,]+) \|", section, re.M)
    stated = {name: count.replace(",", "") for name, count in rows}
    assert set(PEERS) <= set(stated)
    for name in PEERS:
        variables = build_peer(name, 128).trainable_variables
        assert sum(int(np.prod(variable.shape)) for variable in variables) == int(stated[name]), name


def test_the_constraint_holds_after_every_update(batch):
    peer = built("constrained-cnn", learning_rate=0.01)
    for _ in range(4):
        kernel = np.asarray(peer.network.get_layer("constrained").kernel)
        np.testing.assert_allclose(kernel[2, 2], -1.0, atol=1e-6)
        np.testing.assert_allclose(kernel.sum(axis=(0, 1)), 0.0, atol=1e-4)  # the others sum to 1
        peer.train_step(batch)


def test_the_constraint_holds_where_the_neighbours_cancel_out():
    peer = build_peer("constrained-cnn", SIZE)
    layer = peer.network.get_layer("constrained")
    kernel = np.zeros(layer.kernel.shape, np.float32)
    kernel[0, 0], kernel[4, 4] = 0.5, -0.4999  # their sum, 0.0001, must not become a divisor
    layer.kernel.assign(kernel)
    peer.after_update()
    kernel = np.asarray(layer.kernel)
    np.testing.assert_allclose(kernel[2, 2], -1.0, atol=1e-6)
    np.testing.assert_allclose(kernel.sum(axis=(0, 1)), 0.0, atol=1e-5)
    assert np.abs(kernel).max() <= 1


def test_map_statistics_against_numpy():
    maps = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    expected = np.concatenate([f(maps, axis=(1, 2)) for f in (np.mean, np.var, np.max, np.min)], axis=-1)
    np.testing.assert_allclose(MapStatistics()(maps), expected, rtol=1e-5, atol=1e-6)


def test_forensictransfer_decodes_the_half_of_its_own_class(batch):
    peer = built("forensictransfer")
    maps = peer.network(batch["image"])["maps"]
    label = np.asarray(batch["label"])
    kept = np.array(maps)
    kept[label[:, 0] == 0, ..., 64:] = 0  # the latter half is that of fakes
    kept[label[:, 0] == 1, ..., :64] = 0
    decoded = peer.outputs_of(batch, training=False)["decoded"]
    np.testing.assert_allclose(decoded, peer.decoder(kept), rtol=1e-5, atol=1e-6)
    assert decoded.shape == (8, SIZE, SIZE, 9)


def test_the_experts_of_lae_encoder_train_on_their_own_views(batch):
    """As in LAE: the fine expert on stored images, the robust one on degraded ones, the gate to tell them apart."""
    peer = built("lae-encoder")
    told, outputs = peer.training_pass({**batch, "degraded": tf.zeros_like(batch["image"])})
    np.testing.assert_array_equal(told["image"][:8], batch["image"])
    np.testing.assert_array_equal(told["image"][8:], 0)
    np.testing.assert_array_equal(told["label"][8:], batch["label"])
    assert outputs["logit"].shape == (16, 1)
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(told["label"], outputs["logit"]))
    assert float(peer.loss_of(told, outputs)) == pytest.approx(float(loss + outputs["gate_loss"]), rel=1e-5)
    assert float(outputs["gate_loss"]) > 0


def test_validation_chooses_how_the_experts_of_lae_encoder_share(batch):
    peer = built("lae-encoder")
    told = {name: np.tile(part, (10, *[1] * (len(part.shape) - 1))) for name, part in batch.items()}
    chosen, scale = fit_mixture(peer, [told], copies=True)
    assert chosen.keys() == {"largest_share", "readiness", "flattened", "withheld"}
    assert (scale is None) == (chosen["flattened"] == chosen["withheld"] == 0)
    gate = peer.encoder.get_layer("gate").predict(batch["image"], verbose=0)
    readiness = -float(np.median(gate))
    peer.mixture.assign(readiness=readiness, flattened=0.0, withheld=0.0)
    before = peer(batch)["logit"].numpy()
    peer.mixture.assign(flattened=0.5, withheld=3.0)
    degraded = 1 / (1 + np.exp(gate + readiness))
    assert degraded.max() > 0.4
    expected = before - degraded * (0.5 * before + 3)
    np.testing.assert_allclose(peer(batch)["logit"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(peer.decide_on_batch(batch["image"])[0], expected[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "sbi", "ffd"])
def test_peers_on_the_trunk_start_from_its_pretrained_weights(name):
    kernel = trunk_weights()["_conv_stem.weight"].transpose(2, 3, 1, 0)
    layers = build_peer(name, SIZE).network._flatten_layers()
    (stem,) = [layer for layer in layers if layer.name == "stem_conv"]
    np.testing.assert_array_equal(stem.kernel, kernel)


def test_ffd_reads_known_masks_only(batch):
    peer = built("ffd")
    outputs = peer.network(batch["image"])
    plain = float(peer.loss_of(batch, outputs))
    flipped = np.array(batch["mask"])
    flipped[6:] = 1 - flipped[6:]
    assert float(peer.loss_of({**batch, "mask": tf.constant(flipped)}, outputs)) == plain
    flipped[4] = 1 - flipped[4]
    assert float(peer.loss_of({**batch, "mask": tf.constant(flipped)}, outputs)) != plain
    # Without any known mask only the decision's cross-entropy is left.
    nothing = {**batch, "mask_weight": tf.zeros((8, 1))}
    entropy = tf.reduce_mean(DecisionLoss()(batch["label"], outputs["logit"]))
    assert float(peer.loss_of(nothing, outputs)) == pytest.approx(float(entropy), rel=1e-5)


def test_ffd_loss_by_hand(batch):
    peer = built("ffd")
    undecided, side = tf.zeros((8, 1)), peer.network(batch["image"])["map"].shape[1]
    loss = peer.loss_of(batch, {"logit": undecided, "map": tf.zeros((8, side, side))})
    assert float(loss) == pytest.approx(2 * np.log(2), rel=1e-5)
    # An empty map costs its logit on the quarter that is forged, in two of the six images whose mask is known.
    loss = peer.loss_of(batch, {"logit": undecided, "map": tf.fill((8, side, side), -20.0)})
    assert float(loss) == pytest.approx(np.log(2) + 20 * 2 / 6 / 4, rel=1e-4)


class Recorder(Peer):
    """Remembers the labels and masks that it was trained on, and learns little."""

    def build_network(self, image_size):
        image = image_input(image_size)
        x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.BatchNormalization(name="norm")(image))
        return keras.Model(image, {"logit": logit_of(keras.layers.GlobalAveragePooling2D()(x))})

    def train_step(self, data):
        self.means.append(data["degraded"].numpy().mean(axis=(0, 1, 2)))
        self.batches.append((data["label"].numpy()[:, 0], data["mask"].numpy().mean(axis=(1, 2, 3))))
        return super().train_step(data)

    def compile(self, optimizer):
        self.batches, self.means = [], []
        super().compile(optimizer, run_eagerly=True)


class OnRealsAlone(Recorder):
    reals_alone = True


class WithMasks(Recorder):
    uses_masks = True


@pytest.fixture
def two_epochs(tiny_config, tmp_path):
    return tiny_config.model_copy(
        update={
            "output": str(tmp_path / "run"),
            "pretrain": tiny_config.pretrain.model_copy(update={"epochs": 1}),
            "align": tiny_config.align.model_copy(update={"epochs": 1}),
        }
    )


@pytest.mark.parametrize(("kind", "masked"), [(Recorder, None), (WithMasks, 4)])
def test_peers_train_and_validate_on_as_many_free_forgeries_as_lae(two_epochs, kind, masked):
    """Of eight images four are real and round(0.35 * 8) = 3 forged on the fly; the one fake left is a known one."""
    data = two_epochs.data.model_copy(update={"self_forged": 0.35})
    peer, decision, _ = train_peer(kind(SIZE, name="recorder"), two_epochs.model_copy(update={"data": data}))
    assert len(peer.batches) == 8
    for labels, masks in peer.batches:
        np.testing.assert_array_equal(labels.sum(), 4)
        forged = (masks > 0).sum()
        assert forged == masked if masked else forged in (3, 4)  # the known fake has no mask, or an annotated one
    # Ten real images and ten known fakes, a forgery of each real one, and degraded copies of all.
    assert decision["validation_images"] == 2 * (10 + 10 + 10)
    assert decision["validation_reals"] == 2 * 10


def test_a_peer_on_forged_images_alone_sees_no_fake_of_the_data_set(two_epochs):
    peer, decision, _ = train_peer(OnRealsAlone(SIZE, name="recorder"), two_epochs)
    # 32 training images, batches of 8, two epochs.
    assert len(peer.batches) == 8
    for labels, masks in peer.batches:
        np.testing.assert_array_equal(labels, [0, 0, 0, 0, 1, 1, 1, 1])
        np.testing.assert_array_equal(masks > 0, labels == 1)  # fakes of the data set come without masks here
    assert decision["validation_images"] == 40  # ten real images, a forgery of each, and degraded copies of all
    assert decision["threshold"] == 0.5 and decision["temperature"] > 0
    assert float(peer.calibration.boundary) == decision["boundary"]
    # Eight steps suffice to know the images' mean, of which the moving one starts at 0.
    moving = np.asarray(peer.network.get_layer("norm").moving_mean)
    assert (np.abs(moving - np.mean(peer.means, axis=0)) < 0.1 * moving).all()
