"""The LAE as a Keras model: outputs, training, saving, precision, and what its pooling is for."""

import io
import json
import subprocess
import sys
import textwrap
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from lae_tf.errors import LAEError
from lae_tf.metrics.decision import label_of
from lae_tf.metrics.verdict import ConformalBounds, verdict_of
from lae_tf.model import load_model
from lae_tf.model.lae import LAE
from lae_tf.model.losses import ActivationLoss, AdversarialLoss, AlignmentLoss, DecisionLoss
from lae_tf.model.perceptual import FeatureMatchingLoss, VGG16PerceptualLoss, _vgg16_features
from lae_tf.training.calibrate import scale_of

SIZE = 16


def small(**arguments):
    keras.utils.set_random_seed(arguments.pop("seed", 0))
    return LAE(**{"image_size": SIZE, "widths": (4, 8), "blocks": 0, "trunk": "none", **arguments})


def batch_of(count=4, size=SIZE, seed=0):
    """Noise; every second image is a fake with a bright patch, every fourth has no mask."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0.2, 0.6, (count, size, size, 3)).astype(np.float32)
    label = (np.arange(count) % 2).astype(np.float32)[:, None]
    mask = np.zeros((count, size, size, 1), np.float32)
    mask[1::2, 4:10, 4:10] = 1.0
    weight = np.ones_like(label)
    weight[3::4] = 0.0
    return {"image": image + 0.3 * mask, "label": label, "mask": mask, "mask_weight": weight}


def adversarial_model(**arguments):
    model = small(discriminator=True, **arguments)
    model.compile(
        keras.optimizers.Adam(1e-2),
        adversarial_loss=AdversarialLoss("hinge"),
        perceptual_loss=FeatureMatchingLoss(),
        loss_weights={"alignment": 1.0, "adversarial": 0.1, "perceptual": 0.1},
    )
    return model


def in_subprocess(code, *arguments):
    """Run a script in a fresh interpreter and return the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


# --- outputs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["lse", "gap", "split"])
def test_predict_returns_the_documented_dict(head):
    outputs = small(head=head).predict(batch_of(5)["image"], batch_size=2, verbose=0)
    assert {name: (value.shape, value.dtype) for name, value in outputs.items()} == {
        "score": ((5, 1), np.float32),
        "logit": ((5, 1), np.float32),
        "attention": ((5, SIZE, SIZE), np.float32),
        "reconstruction": ((5, SIZE, SIZE, 3), np.float32),
        "latent": ((5, 8), np.float32),
    }
    for name in ("score", "attention", "reconstruction"):
        assert outputs[name].min() >= 0 and outputs[name].max() <= 1
    np.testing.assert_allclose(outputs["score"], 1 / (1 + np.exp(-outputs["logit"])), rtol=1e-5)


def test_a_batch_dict_is_predicted_like_its_images():
    model, batch = small(), batch_of()
    whole = model.predict(tf.data.Dataset.from_tensors(batch), verbose=0)
    alone = model.predict(batch["image"], verbose=0)
    np.testing.assert_allclose(whole["logit"], alone["logit"], rtol=1e-5, atol=1e-6)


def test_calibration_changes_the_score_alone():
    model, images = small(), batch_of()["image"]
    before = model.predict_on_batch(images)
    model.calibration.temperature.assign(4.0)
    model.calibration.boundary.assign(before["logit"][0, 0])
    after = model.predict_on_batch(images)
    np.testing.assert_array_equal(before["logit"], after["logit"])
    calibrated = (before["logit"] - before["logit"][0]) / 4
    np.testing.assert_allclose(after["score"], 1 / (1 + np.exp(-calibrated)), rtol=1e-5)
    assert after["score"][0, 0] == 0.5


@pytest.mark.parametrize("boundary", [-3.7, 0.0, 13.8])
def test_scores_reach_one_half_where_logits_reach_the_boundary(boundary):
    boundary = np.float32(boundary)
    layer = small().calibration
    layer.boundary.assign(boundary)
    layer.temperature.assign(0.3)
    around = boundary + np.linspace(-1, 1, 2001, dtype=np.float32)
    logits = np.append(around, [np.nextafter(boundary, np.float32(np.inf)), boundary])[:, None]
    for scores in (np.asarray(layer(logits)), scale_of({"boundary": boundary, "temperature": 0.3}).scores(logits)):
        np.testing.assert_array_equal(scores >= 0.5, logits >= boundary)


def test_bounds_of_verdicts_are_saved_with_the_model(tmp_path):
    model = small()
    assert model.calibration.bounds == ConformalBounds()
    for name, value in (("lowest_fake", 0.25), ("highest_real", 0.75), ("error_rate", 0.125)):
        getattr(model.calibration, name).assign(value)
    model.save(str(tmp_path / "model.keras"))
    assert load_model(tmp_path / "model.keras").calibration.bounds == ConformalBounds(0.25, 0.75, 0.125)


@pytest.mark.parametrize("known", [("0", "1"), ("0", "1", "2")])
def test_a_file_of_an_older_version_opens_with_its_scores_and_its_labels(tmp_path, recwarn, known):
    model, images = small(), batch_of()["image"]
    logits = model.predict_on_batch(images)["logit"]
    values = {"temperature": 0.7, "threshold": 0.731, "boundary": -0.3}
    for name, value in {**values, "lowest_fake": 0.1, "highest_real": 0.9, "error_rate": 0.2}.items():
        getattr(model.calibration, name).assign(value)
    boundary = np.float32(-0.3 if "2" in known else 0)
    model.save(str(tmp_path / "new.keras"))
    forget_calibration(tmp_path / "new.keras", tmp_path / "old.keras", known)
    recwarn.clear()
    old = load_model(tmp_path / "old.keras")
    assert not [str(one.message) for one in recwarn.list if issubclass(one.category, UserWarning)]
    np.testing.assert_allclose(
        old.predict_on_batch(images)["score"], 1 / (1 + np.exp((boundary - logits) / np.float32(0.7))), rtol=1e-6
    )
    threshold = float(old.calibration.threshold)
    assert threshold == np.float32(0.731) and float(old.calibration.boundary) == boundary
    for score in (0.0, 0.5, threshold, 1.0):
        assert verdict_of(score, threshold, old.calibration.bounds) == label_of(score, threshold)
    assert len(old.get_weights()) == len(model.get_weights())


def forget_calibration(new, old, known):
    """Write a saved model as versions did whose calibration had temperature and threshold, or these and a boundary."""
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "model.weights.h5":
                buffer = io.BytesIO(content)
                with h5py.File(buffer, "r+") as file:
                    found = [group for group in all_groups(file) if group.endswith("calibration/vars")]
                    assert len(found) == 1 and list(file[found[0]]) == ["0", "1", "2", "3", "4", "5"]
                    for weight in set(file[found[0]]) - set(known):
                        del file[found[0]][weight]
                content = buffer.getvalue()
            target.writestr(name, content)


def all_groups(file):
    names = []
    file.visit(names.append)
    return names


def test_the_attention_level_becomes_one_half():
    model, images = small(), batch_of()["image"]
    before = model.predict_on_batch(images)
    model.attention_scale.level.assign(0.2)
    after = model.predict_on_batch(images)
    odds = before["attention"] / (1 - before["attention"])
    # Odds of 0.2 are 1 to 4: four times the odds put it at 1 to 1.
    np.testing.assert_allclose(after["attention"], 4 * odds / (1 + 4 * odds), rtol=1e-4)
    np.testing.assert_array_equal(before["score"], after["score"])


def test_lse_pooling_lies_between_mean_and_maximum():
    gap, lse = small(head="gap"), small(head="lse", lse_sharpness=3.0)
    lse.set_weights(gap.get_weights())
    features = np.random.default_rng(0).normal(0, 3, (6, 8, 8, 8)).astype(np.float32)
    evidence = features @ np.asarray(gap.head.kernel) + np.asarray(gap.head.bias)
    np.testing.assert_allclose(gap.head(features), evidence.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    pooled = np.asarray(lse.head(features))
    assert (pooled > evidence.mean(axis=(1, 2))).all() and (pooled < evidence.max(axis=(1, 2))).all()
    np.testing.assert_allclose(pooled, np.log(np.exp(3 * evidence).mean(axis=(1, 2))) / 3, rtol=1e-4)


# --- arguments --------------------------------------------------------------------------------------------


def test_compile_refuses_a_bare_loss_and_says_what_to_pass():
    with pytest.raises(ValueError, match=r"by role: compile\(pixel_loss=.*latent_loss=.*'mse'"):
        small().compile("adam", loss="mse")


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ({}, {"loss_weights": {"align": 1.0}}, "loss_weights knows"),
        ({}, {"adversarial_loss": AdversarialLoss()}, "discriminator=True"),
        ({}, {"perceptual_loss": FeatureMatchingLoss()}, "discriminator=True"),
        ({}, {"latent_loss": ActivationLoss()}, "go together"),
        ({"head": "split"}, {"latent_loss": DecisionLoss()}, "go together"),
    ],
)
def test_compile_refuses_what_does_not_go_together(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments).compile("adam", **options)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"image_size": 17}, "multiple of 2, the stride"),
        ({"widths": (8,)}, "at least one stage"),
        ({"head": "max"}, "head: Input should be 'lse'.*found 'max'"),
        ({"attention": "score_cam"}, "attention: Input should be 'grad_cam'.*found 'score_cam'"),
        ({"attention": "cam", "head": "split"}, "linear head"),
        ({"trunk": "vgg"}, "trunk: Input should be 'efficientnet-lite0'.*found 'vgg'"),
        ({"widths": (4, 7), "head": "split"}, "even number of channels"),
        ({"lse_sharpness": 0.0}, "lse_sharpness: .*greater than 0; found 0.0"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_config_round_trip():
    model = small(
        head="gap",
        attention="cam",
        attention_slope=2.0,
        attention_threshold=0.1,
        high_pass=False,
        discriminator=True,
        dtype="mixed_bfloat16",
        name="mine",
    )
    config = json.loads(json.dumps(model.get_config()))
    copy = LAE.from_config(config)
    assert copy.get_config() == model.get_config()
    assert [tuple(w.shape) for w in copy.weights] == [tuple(w.shape) for w in model.weights]


# --- training as any Keras model --------------------------------------------------------------------------


def test_fit_and_evaluate_on_a_plain_dataset():
    model = small(high_pass=False)
    model.compile(keras.optimizers.Adam(1e-2), loss_weights={"alignment": 1.0})
    dataset = tf.data.Dataset.from_tensor_slices(batch_of(16)).batch(8)
    history = model.fit(dataset, epochs=12, validation_data=dataset, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["alignment_loss"][-1] < history["alignment_loss"][0]
    found = model.evaluate(dataset, return_dict=True, verbose=0)
    assert {
        "loss",
        "reconstruction_loss",
        "latent_loss",
        "alignment_loss",
        "accuracy",
        "auroc",
        "attention_iou",
    } == set(found)
    assert found["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-4)
    whole = model.objective.terms(batch_of(8), model.forward(batch_of(8)["image"], training=False))
    assert float(whole["loss"]) == pytest.approx(
        float(whole["reconstruction_loss"] + whole["latent_loss"] + whole["alignment_loss"]), rel=1e-5
    )


def test_a_single_batch_trains_and_other_data_are_refused():
    model = small(high_pass=False)
    model.compile(keras.optimizers.Adam(1e-2))
    batch = {name: np.asarray(value) for name, value in batch_of(8).items()}
    first = model.test_on_batch(batch, return_dict=True)
    model.train_on_batch(batch)
    assert "discriminator_loss" not in first and np.isfinite(float(first["loss"]))
    with pytest.raises(TypeError, match="dicts of image, label, mask"):
        model.test_on_batch(batch["image"])


def test_metrics_by_hand():
    """Reported decisions and attention equal what NumPy and scikit-learn make of the predictions."""
    model, batch = small(seed=3, contrast=False), batch_of(8)
    model.compile("adam")
    found = model.evaluate(tf.data.Dataset.from_tensors(batch), return_dict=True, verbose=0)
    outputs = model.forward(batch["image"], training=False)
    logit, label = outputs["logit"].numpy()[:, 0], batch["label"][:, 0]
    assert found["accuracy"] == pytest.approx(((logit > 0) == label).mean())
    assert found["auroc"] == pytest.approx(roc_auc_score(label, logit), abs=0.13)
    fired = outputs["map_logits"].numpy() > 0
    forged = batch["mask"][..., 0].reshape(8, 8, 2, 8, 2).mean(axis=(2, 4)) > 0.5
    known_fakes = (label == 1) & (batch["mask_weight"][:, 0] == 1)
    iou = [(f & g).sum() / (f | g).sum() for f, g in zip(fired[known_fakes], forged[known_fakes], strict=True)]
    assert found["attention_iou"] == pytest.approx(np.mean(iou), abs=1e-5)


def test_a_split_latent_trains_with_its_own_loss():
    model = small(head="split", high_pass=False)
    model.compile(keras.optimizers.Adam(1e-2), latent_loss=ActivationLoss(), loss_weights={"alignment": 0.1})
    batch = batch_of(16)
    history = model.fit(tf.data.Dataset.from_tensors(batch).repeat(25), verbose=0, epochs=2).history
    assert history["latent_loss"][-1] < history["latent_loss"][0]
    assert np.isfinite(history["loss"]).all()


def train_discriminator(model, images, reconstructions):
    _, gradients = model.discriminator.loss_and_gradients(images, reconstructions, AdversarialLoss(), replicas=1)
    variables = model.discriminator.trainable_variables
    model.discriminator_optimizer.apply_gradients(zip(gradients, variables, strict=True))


def test_decoder_and_discriminator_are_trained_by_their_own_losses_alone():
    model, batch = adversarial_model(), batch_of()
    images = tf.constant(batch["image"])

    def values(variables):
        return [np.array(variable) for variable in variables]

    autoencoder, discriminator = model.autoencoder_variables, model.discriminator.trainable_variables
    before = values(autoencoder), values(discriminator)
    train_discriminator(model, images, 1.0 - images)
    assert all((a == b).all() for a, b in zip(before[0], values(autoencoder), strict=True))
    assert any((a != b).any() for a, b in zip(before[1], values(discriminator), strict=True))
    # In a whole step the discriminator moves exactly as it does alone.
    other = adversarial_model()
    reconstruction = other.forward(images, training=True)["reconstruction"]
    train_discriminator(other, images, reconstruction)
    whole = adversarial_model()
    whole.train_step({name: tf.constant(value) for name, value in batch.items()})
    for one, two in zip(
        values(other.discriminator.trainable_variables), values(whole.discriminator.trainable_variables), strict=True
    ):
        np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize(
    "policy, attention", [("mixed_float16", "grad_cam"), ("mixed_bfloat16", "grad_cam"), ("mixed_float16", "cam")]
)
def test_mixed_precision_trains_and_keeps_decisions_in_float32(policy, attention):
    model, batch = small(dtype=policy, attention=attention), batch_of(8)
    model.compile(keras.optimizers.Adam(1e-3), loss_weights={"alignment": 1.0})
    with tf.GradientTape() as tape:
        outputs = model.forward(batch["image"], training=True)
        loss = model.objective.terms(batch, outputs)["loss"]
    assert {outputs[name].dtype for name in outputs} == {tf.float32}
    assert str(model.encoder.layers[-1].compute_dtype) == policy.removeprefix("mixed_")
    for variable, gradient in zip(
        model.autoencoder_variables, tape.gradient(loss, model.autoencoder_variables), strict=True
    ):
        assert np.isfinite(gradient).all(), variable.name
        assert tf.as_dtype(variable.dtype) == tf.float32
    before = [np.array(w) for w in model.autoencoder_variables]
    dataset = tf.data.Dataset.from_tensors(batch).repeat(4)
    history = model.fit(dataset, verbose=0).history
    assert np.isfinite([history[name] for name in history]).all()
    assert any((a != np.array(b)).any() for a, b in zip(before, model.autoencoder_variables, strict=True))
    predicted = model.predict_on_batch(batch["image"])
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in predicted.values())


def test_half_precision_hardly_changes_the_decision():
    full, half = small(), small(dtype="mixed_bfloat16")
    half.set_weights(full.get_weights())
    images = batch_of(8)["image"]
    np.testing.assert_allclose(
        half.predict_on_batch(images)["logit"], full.predict_on_batch(images)["logit"], atol=0.05
    )


def test_compiled_by_xla_the_step_is_the_same():
    losses = {}
    for xla in (False, True):
        model = small()
        model.compile(keras.optimizers.SGD(0.1), loss_weights={"alignment": 1.0}, jit_compile=xla)
        dataset = tf.data.Dataset.from_tensors(batch_of()).repeat(3)
        losses[xla] = model.fit(dataset, verbose=0).history["loss"][0]
        assert model.jit_compile is xla
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)


# --- saving -----------------------------------------------------------------------------------------------


def state_of(model):
    optimizers = [model.optimizer, *([model.discriminator_optimizer] if model.discriminator is not None else [])]
    variables = [variable for optimizer in optimizers for variable in tf_variables(optimizer)]
    return [np.array(variable) for variable in (*model.weights, *variables)]


def tf_variables(optimizer):
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


def whole_model(policy):
    if policy == "float32":
        return adversarial_model()
    model = small(dtype=policy)
    model.compile(keras.optimizers.Adam(1e-2), loss_weights={"alignment": 1.0})
    return model


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_saved_model_is_the_same_model_and_trains_on_the_same(tmp_path, policy):
    model, batch = whole_model(policy), {name: tf.constant(value) for name, value in batch_of(8).items()}
    model.train_step(batch)
    model.calibration.threshold.assign(0.37)
    model.save(str(tmp_path / "model.keras"))
    loaded = load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    assert loaded.objective.weights == model.objective.weights
    assert float(loaded.calibration.threshold) == pytest.approx(0.37)
    assert len(state_of(model)) > len(model.weights) + len(model.autoencoder_variables)  # with optimizer slots
    for one, other in zip(state_of(model), state_of(loaded), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, value in model.predict_on_batch(batch["image"]).items():
        np.testing.assert_array_equal(value, loaded.predict_on_batch(batch["image"])[name], err_msg=name)
    for one in (model, loaded):
        one.train_step(batch)
    for one, other in zip(state_of(model), state_of(loaded), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_saved_model_loads_with_nothing_but_the_package(tmp_path):
    model, batch = adversarial_model(), batch_of()
    model.save(str(tmp_path / "model.keras"))
    np.savez(tmp_path / "batch.npz", **batch)
    code = """
        import json, sys, os
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import lae_tf
        assert "keras" not in sys.modules
        import keras, numpy as np
        model = keras.saving.load_model(sys.argv[1] + "/model.keras")
        batch = dict(np.load(sys.argv[1] + "/batch.npz"))
        np.savez(sys.argv[1] + "/predicted.npz", **model.predict_on_batch(batch["image"]))
        print(json.dumps([type(model).__name__, float(model.optimizer.learning_rate)]))
    """
    kind, learning_rate = in_subprocess(code, tmp_path)
    assert kind == "LAE" and learning_rate == pytest.approx(1e-2)
    predicted = np.load(tmp_path / "predicted.npz")
    for name, value in model.predict_on_batch(batch["image"]).items():
        np.testing.assert_allclose(value, predicted[name], atol=1e-6, err_msg=name)


def test_a_model_is_loaded_to_predict_without_the_weights_of_its_losses(tmp_path, monkeypatch):
    model = small()
    model.compile(keras.optimizers.Adam(1e-2), perceptual_loss=Elsewhere())
    model.save(tmp_path / "m.keras")
    monkeypatch.setattr(Elsewhere, "weights_are_here", False)
    with pytest.raises(LAEError, match="weights are not here"):
        load_model(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras", compile=False)
    images = batch_of(2)["image"]
    np.testing.assert_array_equal(loaded.predict_on_batch(images)["score"], model.predict_on_batch(images)["score"])


@keras.saving.register_keras_serializable("tests")
class Elsewhere(keras.losses.Loss):
    """A perceptual loss whose weights may be on another machine."""

    weights_are_here = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if not self.weights_are_here:
            raise LAEError("weights are not here")

    def call(self, y_true, y_pred):
        return tf.reduce_mean(tf.square(y_true - y_pred))


def test_losses_survive_saving(tmp_path):
    model = small()
    model.compile("adam", alignment_loss=AlignmentLoss("dice"), latent_loss=DecisionLoss(gamma=2.0))
    model.save(str(tmp_path / "model.keras"))
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.objective.alignment.kind == "dice" and loaded.objective.latent.gamma == 2.0


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not really a zip", b"hello"])
def test_what_is_not_a_model_is_refused(tmp_path, content):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LAEError, match=r"model\.keras"):
        load_model(path)


def test_another_keras_model_is_refused(tmp_path):
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(str(tmp_path / "other.keras"))
    with pytest.raises(LAEError, match="expected an LAE"):
        load_model(tmp_path / "other.keras")


# --- several devices --------------------------------------------------------------------------------------

MIRRORED = """
    import json, os, sys
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras, numpy as np
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from lae_tf.model.lae import LAE

    batch = dict(np.load(sys.argv[1]))
    results = {}
    for name, strategy in (
        ("single", tf.distribute.get_strategy()),
        ("mirrored", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])),
    ):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = LAE(image_size=batch["image"].shape[1], widths=(4, 8), blocks=0, trunk=sys.argv[2],
                        trunk_weights=None, discriminator=True)
            model.compile(keras.optimizers.SGD(0.05), loss_weights={"alignment": 1.0},
                          discriminator_optimizer=keras.optimizers.SGD(0.05))
        dataset = tf.data.Dataset.from_tensors(batch).unbatch().batch(8).repeat(3)
        history = model.fit(dataset, verbose=0).history
        results[name] = {
            "loss": history["loss"][-1],
            "weights": [float(np.abs(np.array(w)).sum()) for w in model.trainable_weights],
        }
    print(json.dumps(results))
"""


@pytest.mark.parametrize("trunk", ["none", "efficientnet-lite0"])
def test_two_devices_train_like_one(tmp_path, trunk):
    """Both halves of the batch are the same images, so that batch statistics of a half equal those of the whole."""
    # At 16 pixels the trunk's last features are single pixels, whose normalisation turns rounding into numbers.
    half = batch_of(4, 16 if trunk == "none" else 64)
    if trunk != "none":
        half["degraded"] = np.round(8 * half["image"]) / np.float32(8)
        half["degraded"][::2] = half["image"][::2]
    np.savez(tmp_path / "batch.npz", **{name: np.concatenate([value, value]) for name, value in half.items()})
    results = in_subprocess(MIRRORED, tmp_path / "batch.npz", trunk)
    if trunk != "none":
        # Its many normalisations enlarge rounding (2e-6 of the first loss) to 2e-3 of the third. Gradients that were
        # added, not averaged, would double the mean loss.
        assert results["mirrored"]["loss"] == pytest.approx(results["single"]["loss"], rel=2e-3)
        return
    assert results["mirrored"]["loss"] == pytest.approx(results["single"]["loss"], rel=1e-4)
    # Real and reconstructed images nearly cancel in the discriminator's biases, whose sums are 0.02 to 0.09: the same
    # images in another order, on one device, move those by up to 7e-5.
    np.testing.assert_allclose(results["mirrored"]["weights"], results["single"]["weights"], rtol=1e-4, atol=2e-4)


# --- weights of the perceptual loss ------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network and an empty cache: the downloader fails at once."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr(keras.utils, "get_file", refuse)
    _vgg16_features.cache_clear()


def test_missing_weights_are_explained(offline, tmp_path):
    with pytest.raises(LAEError, match=r"VGG16 weights .*nowhere\.h5: no such file"):
        VGG16PerceptualLoss(str(tmp_path / "nowhere.h5"))


def test_weights_that_are_not_weights_are_explained(offline, tmp_path):
    (tmp_path / "bad.weights.h5").write_bytes(b"not HDF5")
    with pytest.raises(LAEError, match=r"neither in the Keras cache.*losses\.vgg16_weights"):
        VGG16PerceptualLoss(str(tmp_path / "bad.weights.h5"))


def test_weights_that_cannot_be_downloaded_are_explained(offline):
    with pytest.raises(LAEError, match=r"neither in the Keras cache.*losses\.vgg16_weights"):
        VGG16PerceptualLoss()


# --- the principle ----------------------------------------------------------------------------------------


def test_gap_needs_the_attention_threshold_to_decide_under_alignment():
    """With t = 0 alignment wants negative evidence outside a small forgery; its mean is then negative for fakes too."""
    rng = np.random.default_rng(0)

    def small_forgeries(count):
        batch = batch_of(count, 16)
        batch["mask"][:] = 0.0
        for i in range(1, count, 2):
            y, x = rng.integers(0, 7, 2) * 2
            batch["mask"][i, y : y + 2, x : x + 2] = 1.0  # one cell of 64
        texture = rng.normal(0, 0.08, batch["image"].shape)
        batch["image"] = (rng.uniform(0.3, 0.7, (count, 1, 1, 3)) + batch["mask"] * texture).astype(np.float32)
        batch["mask_weight"][:] = 1.0
        return batch

    train, test = small_forgeries(192), small_forgeries(200)
    accuracy = {}
    for head, threshold in (("gap", 0.0), ("lse", 0.0), ("gap", 2.0)):
        model = small(head=head, attention_threshold=threshold)
        model.compile(keras.optimizers.Adam(1e-2), loss_weights={"alignment": 3.0, "reconstruction": 0.0})
        model.fit(tf.data.Dataset.from_tensor_slices(train).batch(32).repeat(12), verbose=0)
        logit = model.predict(test["image"], verbose=0)["logit"][:, 0]
        accuracy[head, threshold] = ((logit > 0) == test["label"][:, 0]).mean()
    assert accuracy["lse", 0.0] > 0.9
    assert min(accuracy["lse", 0.0], accuracy["gap", 2.0]) > accuracy["gap", 0.0] + 0.1
