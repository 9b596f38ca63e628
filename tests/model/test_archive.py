"""A model file from a stranger: read if an LAE saved it, else refused in one sentence before Keras opens it."""

import io
import json
import os
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lae_tf.errors import LAEError
from lae_tf.model import load_model
from lae_tf.model.lae import LAE

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def model():
    model = LAE(image_size=32, widths=(4, 8), blocks=1, trunk="none")
    model.compile(keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-3, 10)))
    model.optimizer.build(model.autoencoder_variables)
    return model


@pytest.fixture(scope="module")
def members(model, tmp_path_factory):
    """Content by name of what an LAE saves."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_config(members, change):
    """Return the members with a changed config.json."""
    config = json.loads(members["config.json"])
    change(config)
    return {**members, "config.json": json.dumps(config)}


def with_weights(members, change):
    """Return the members with a changed file of weights."""
    file = io.BytesIO(members[WEIGHTS])
    with h5py.File(file, "r+") as weights:
        change(weights)
    return {**members, WEIGHTS: file.getvalue()}


def refusal(path, **options):
    with pytest.raises(LAEError) as caught:
        load_model(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 1000
    return message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_an_lae_saves_is_read(model, members, tmp_path, method):
    loaded = load_model(pack(tmp_path / "model.keras", members, method))
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_all_that_a_configuration_can_ask_for_is_read(tmp_path):
    from lae_tf.config.sections import Config
    from lae_tf.training.build import build_model, compile_model

    for sections in (
        {"hardware": {"precision": "mixed_float16"}, "losses": {"adversarial": "hinge"}},
        {"losses": {"decision": "activation"}, "model": {"head": "split"}},
        {"losses": {"decision": "focal", "perceptual": "discriminator"}},
    ):
        values = {"data": {"manifest": "-", "image_size": 32}, **sections}
        values["model"] = {"widths": [4, 8], "trunk": "none", **values.get("model", {})}
        config = Config.parse(values)
        model = build_model(config)
        compile_model(model, config, config.align, steps=10)
        model.save(tmp_path / "model.keras")
        assert load_model(tmp_path / "model.keras", compile=False).get_config() == {
            **model.get_config(),
            "trunk_weights": None,
        }


# --- the archive ------------------------------------------------------------------------------------------


def test_hdf5_with_code_in_it_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "lambda x: __import__('pathlib').Path('ran').touch() or x"
    image = keras.Input((2,))
    model = keras.Model(image, keras.layers.Lambda(eval(code), output_shape=(2,))(image))
    (tmp_path / "ran").unlink(missing_ok=True)
    model.save("model.h5")
    os.replace("model.h5", "model.keras")
    for compile in (False, True):
        assert "not a .keras file" in refusal(tmp_path / "model.keras", compile=compile)
    assert not (tmp_path / "ran").exists()


def test_a_sound_archive_under_another_suffix_is_not_opened(members, tmp_path):
    # Keras goes by the suffix: it would look for HDF5, which may begin at byte 512 of a zip archive.
    assert "not a .keras file" in refusal(pack(tmp_path / "model.h5", members))


def test_a_zip_behind_other_content_is_not_opened(members, tmp_path):
    path = pack(tmp_path / "model.keras", members)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + path.read_bytes())
    assert "not a .keras file" in refusal(path)


@pytest.mark.parametrize("name", ["assets/vocabulary.txt", "../evil", "/etc/evil", "model.weights.npz", "x\ny"])
def test_other_members_are_refused(members, tmp_path, name):
    assert "expected config.json" in refusal(pack(tmp_path / "model.keras", {**members, name: b"0"}))


def test_pickled_weights_are_refused(members, tmp_path):
    kept = {name: content for name, content in members.items() if name != WEIGHTS}
    assert "npz" in refusal(pack(tmp_path / "model.keras", {**kept, "model.weights.npz": b"0"}))


@pytest.mark.parametrize("name", ["config.json", "metadata.json", WEIGHTS])
def test_a_missing_member_is_refused(members, tmp_path, name):
    kept = {other: content for other, content in members.items() if other != name}
    assert f"expected config.json, metadata.json, {WEIGHTS}" in refusal(pack(tmp_path / "model.keras", kept))


def test_a_member_that_is_there_twice_is_refused(members, tmp_path):
    path = pack(tmp_path / "model.keras", members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", members["config.json"])
    assert "'config.json', 'config.json'" in refusal(path)


def test_a_member_that_is_too_large_is_refused(members, tmp_path):
    large = {**members, "config.json": b" " * (1 << 18) + members["config.json"]}
    assert "config.json has" in refusal(pack(tmp_path / "model.keras", large))


def test_a_bomb_is_refused_without_being_unpacked(members, tmp_path):
    path = pack(tmp_path / "model.keras", {**members, WEIGHTS: bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    assert f"unpacks {zipfile.ZipFile(path).getinfo(WEIGHTS).compress_size} bytes to {1 << 24}" in refusal(path)


def test_what_is_no_json_is_refused(members, tmp_path):
    for text in (b"{", b"[]", b"\xff", b"[" * 100_000):
        assert "config.json" in refusal(pack(tmp_path / "model.keras", {**members, "config.json": text}))


# --- the configuration ------------------------------------------------------------------------------------


def part(module, name, registered=None, config=None):
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": registered}


PARTS = {
    "a lambda": part("builtins", "__lambda__", config={"value": "x"}),
    "a Lambda layer": part("keras.layers", "Lambda"),
    "a function": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    "a class of a module": part("subprocess", "Popen"),
    "a helper of Keras": part("keras.utils", "get_file", config={"origin": "http://127.0.0.1"}),
    "an optimizer registered as another": part("keras.optimizers", "Adam", "lae_tf>LAE"),
    "a loss of another module": part("evil", "PixelLoss", "lae_tf>PixelLoss"),
    "a class without a module": {"class_name": "Adam", "config": {}},
    "a layer": part("keras.layers", "Dense", config={"units": 1}),
    "a SavedModel within": part("keras.layers", "TFSMLayer", config={"filepath": "/tmp/x"}),
    "a class registered that is no loss": part("keras.optimizers", "x", "lae_tf>HighPass"),
    "a class registered nowhere": part("builtins", "x", "evil>Loss"),
    "a name that is no text": part("keras.optimizers", ["Adam"]),
}


@pytest.mark.parametrize("named", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("place", ["compile_config", "config", "build_config", "deep"])
def test_only_what_an_lae_is_made_of_is_built(members, tmp_path, named, place):
    def change(config):
        if place == "deep":
            config["compile_config"]["optimizer"]["config"]["learning_rate"]["config"]["name"] = [named]
        else:
            config[place] = {**config.get(place, {}), "dtype": named}

    assert "which no LAE holds" in refusal(pack(tmp_path / "model.keras", with_config(members, change)), compile=False)


def test_another_model_is_refused(members, tmp_path):
    for change in (
        {"class_name": "Sequential", "module": "keras", "registered_name": None},
        {"registered_name": "lae_tf>PixelLoss"},
        {"module": "os"},
        {"config": []},
        {"shared_object_id": 1},
    ):
        path = pack(tmp_path / "model.keras", with_config(members, lambda config, change=change: config.update(change)))
        assert "is not a model that training wrote" in refusal(path)


@pytest.mark.parametrize(
    "values", [{"image_size": 1 << 20}, {"widths": [4, 4000]}, {"widths": [4, 8] * 9}, {"blocks": 60}, {"widths": []}]
)
def test_a_model_that_is_larger_than_its_weights_is_not_built(members, tmp_path, values):
    path = pack(tmp_path / "model.keras", with_config(members, lambda config: config["config"].update(values)))
    message = refusal(path)
    assert next(iter(values)) in message or "weights, but there are" in message


# --- the weights ------------------------------------------------------------------------------------------


def outside(weights, file):
    """Return an external file's bytes as a data set."""
    weights.create_dataset("stolen", (4,), "u1", external=[(str(file), 0, 4)])


def test_weights_that_lie_elsewhere_are_refused(members, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"abcd")
    virtual = h5py.VirtualLayout((4,), "u1")
    virtual[:] = h5py.VirtualSource(str(secret), "x", (4,))
    changes = {
        "link": lambda weights: weights.update({"x": h5py.ExternalLink(str(secret), "/x")}),
        "a link": lambda weights: weights.update({"x": h5py.SoftLink("/")}),
        "data lie in another file": lambda weights: outside(weights, secret),
        "another file": lambda weights: weights.create_virtual_dataset("x", virtual),
        "twice": lambda weights: weights.update({"x": weights}),
        "as Keras stores it": lambda weights: weights.create_dataset("x", (10**9, 10**3), "f4", chunks=(1, 10)),
        "stored as": lambda weights: weights.create_dataset("x", (10**9, 10**3), "f4"),
        "no numbers": lambda weights: weights.create_dataset("x", data=["text"]),
        "no data set": lambda weights: weights.update({"x": np.dtype("f4")}),
        "cannot be read as a Keras model": lambda weights: weights.move(next(iter(weights)), "elsewhere"),
    }
    for expected, change in changes.items():
        assert expected in refusal(pack(tmp_path / "model.keras", with_weights(members, change))), expected


# --- anything else ----------------------------------------------------------------------------------------


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["config.json", "metadata.json", WEIGHTS, None]), st.data())
def test_a_damaged_file_gives_a_model_or_one_sentence(members, tmp_path, name, data):
    path = pack(tmp_path / "model.keras", members)
    content = bytearray(path.read_bytes() if name is None else members[name])
    # The first kilobytes hold the structure, the rest are weights.
    places = st.integers(0, min(len(content), 4096) - 1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        content[place] = byte
    if name is None:
        path.write_bytes(content)
    else:
        pack(path, {**members, name: bytes(content)})
    try:
        load_model(path, compile=data.draw(st.booleans()))
    except LAEError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500


def test_weights_that_claim_an_impossible_size_are_refused(members, tmp_path):
    content = bytearray(members[WEIGHTS])
    content[48] = 0  # the address of a driver's block, of which there is none: all ones
    assert "damaged" in refusal(pack(tmp_path / "model.keras", {**members, WEIGHTS: bytes(content)}))


_plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), _plain)
def test_a_changed_configuration_gives_a_model_or_one_sentence(members, tmp_path, data, value):
    config = json.loads(members["config.json"])
    place = config
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            break
        place = place[key]
        if not place:
            return
    place[key] = value
    path = pack(tmp_path / "model.keras", {**members, "config.json": json.dumps(config)})
    try:
        load_model(path, compile=data.draw(st.booleans()))
    except LAEError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
