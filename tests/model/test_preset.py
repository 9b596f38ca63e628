"""From a model to a preset and back: same scores, same decisions, and nothing but an LAE."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load

import lae_tf
from lae_tf.errors import LAEError
from lae_tf.model.lae import LAE
from lae_tf.model.preset import begin_with, build_from, preset_of
from lae_tf.model.weight_names import named_weights


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(3, 32, 32, 3)).astype(np.float32)


def shaken(images, **arguments):
    """Return a small model whose weights are none that it begins with."""
    keras.utils.set_random_seed(0)
    model = LAE(image_size=32, **{"widths": (4, 8), "blocks": 0, "trunk": "none", **arguments})
    rng = np.random.default_rng(1)
    for name, variable in named_weights(model).items():
        if not name.startswith(("calibration", "attention_scale")):
            variable.assign(np.abs(np.asarray(variable) + rng.normal(0, 0.3, tuple(variable.shape))))
    model.calibration.boundary.assign(model.predict(images, verbose=0)["logit"].mean())
    model.calibration.threshold.assign(0.375)
    model.calibration.highest_real.assign(0.875)
    model.attention_scale.level.assign(0.25)
    return model


@pytest.fixture(scope="module")
def model(images):
    return shaken(images)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"trunk": "efficientnet-lite0", "trunk_weights": None}, {"head": "split", "dtype": "mixed_bfloat16"}],
    ids=["plain", "trunk", "split"],
)
def test_scores_and_decisions_survive(images, tmp_path, arguments):
    model = shaken(images, **arguments)
    model.save_to_preset(tmp_path / "mine", "# Mine\n\nOf a test.\n")
    loaded = lae_tf.LAE.from_preset(tmp_path / "mine")
    before, after = model.predict(images, verbose=0), loaded.predict(images, verbose=0)
    assert np.ptp(before["score"]) > 0
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert float(loaded.calibration.threshold) == 0.375 and loaded.calibration.bounds.highest_real == 0.875
    assert loaded.get_config() == {**model.get_config(), "name": loaded.name}
    assert (tmp_path / "mine" / "README.md").read_text() == "# Mine\n\nOf a test.\n"


def test_a_model_begins_with_weights_and_nothing_that_validation_chose(model):
    """The pooling of windows is chosen too, and no scalar."""
    other = LAE(image_size=64, widths=(4, 8), blocks=0, trunk="none", view="windows")
    own = {name: np.array(variable) for name, variable in named_weights(other).items()}
    begin_with(other, preset_of(model, "mine"))
    changed = {name for name, variable in named_weights(other).items() if not np.array_equal(variable, own[name])}
    networks = {name for name in own if name.startswith(("encoder/", "decoder/", "head/"))}
    assert changed == networks
    for name in networks:
        np.testing.assert_array_equal(named_weights(other)[name], named_weights(model)[name])


def test_names_of_weights_are_the_same_on_both_stacks(tmp_path):
    model = LAE(image_size=32, widths=(4, 8), blocks=0, trunk_weights=None)
    model.save_to_preset(tmp_path / "mine")
    found = set(load((tmp_path / "mine" / "model.safetensors").read_bytes()))
    assert len(found) == len(model.weights)
    # As either stack is known to have them, by its own names for a convolution, a depthwise one and a normalisation.
    assert found >= {
        "head/kernel",
        "calibration/threshold",
        "attention_scale/level",
        "decoder/subpixels/bias",
        "encoder/fine/stem_conv/kernel",
        "encoder/fine/stem_norm/moving_variance",
        "encoder/robust/trunk/stage0_block0_depthwise_conv/kernel",
        "encoder/gate/hidden/kernel",
    }
    assert not any(":" in name or "depthwise_kernel" in name for name in found)


def test_configuration_and_calibration_can_be_read_by_anyone(model, tmp_path):
    model.save_to_preset(tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert config["class"] == "lae_tf>LAE" and config["format"] == 1
    assert config["config"]["image_size"] == 32 and config["config"]["widths"] == [4, 8]
    assert config["calibration"]["calibration/threshold"] == 0.375
    assert config["calibration"]["attention_scale/level"] == 0.25
    assert config["software"]["lae_tf"] == lae_tf.__version__ and config["software"]["keras"] == keras.__version__
    assert "nobody wrote down what it was trained on" in (tmp_path / "mine" / "README.md").read_text()


def test_training_aids_are_left_out(images, tmp_path):
    model = shaken(images, discriminator=True, tuned="head")
    model.compile()
    model.save_to_preset(tmp_path / "mine")
    loaded = LAE.from_preset(tmp_path / "mine")
    assert loaded.discriminator is None and loaded.tuned == "all"
    assert len(loaded.autoencoder_variables) > len(model.autoencoder_variables)
    loaded.compile()
    loaded.fit(images, np.array([0, 1, 0], np.float32), verbose=0)


def test_imagenet_weights_are_not_asked_for(model, images, monkeypatch):
    from lae_tf.model import trunk_weights

    model = shaken(images, trunk="efficientnet-lite0", trunk_weights=None)
    preset = preset_of(model, "mine")
    preset.config["trunk_weights"] = "imagenet"
    monkeypatch.setattr(trunk_weights, "_package_file", lambda: pytest.fail("read the package"))
    trunk_weights.trunk_weights.cache_clear()
    assert build_from(LAE, preset).hyperparameters.trunk_weights is None


def refusal(preset):
    with pytest.raises(LAEError) as caught:
        build_from(LAE, preset)
    message = str(caught.value)
    assert message.startswith("mine: the preset's ") and "\n" not in message and len(message) < 1000
    return message


@pytest.mark.parametrize(
    "values, said",
    [
        ({"image_size": 33}, "image_size must be a multiple of 2"),
        ({"image_size": 10**9}, "image_size"),
        ({"widths": [4096, 4096]}, "asks for at least"),
        ({"head": "mean"}, "head"),
        ({"inputs": "x"}, "it has inputs, which no LAE has"),
        ({"name": {"class_name": "X", "config": {}}}, "it has name, which no LAE has"),
        ({"dtype": "float8"}, "precision"),
        ({"tuned": "some"}, "tuned is one of"),
    ],
)
def test_a_configuration_that_is_no_laes(model, values, said):
    preset = preset_of(model, "mine")
    preset.config.update(values)
    message = refusal(preset)
    assert "config.json does not describe an LAE" in message and said in message


def test_weights_of_another_model(model):
    for change, said in (
        (lambda weights: weights.pop("head/kernel"), "weights lack head/kernel, unlike"),
        (lambda weights: weights.update(x=np.zeros(1, np.float32)), "also hold x, unlike"),
        (lambda weights: weights.update({"head/bias": np.zeros(2, np.float32)}), "another shape for head/bias, unlike"),
    ):
        preset = preset_of(model, "mine")
        change(preset.weights)
        assert said in refusal(preset)
