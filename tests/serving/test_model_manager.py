"""Versions that come, go and fail, with a loader that reads a word instead of a SavedModel."""

import os
import shutil
import threading

import pytest
import tensorflow as tf

from lae_tf.errors import LAEError
from lae_tf.serving.engine.config_files import ModelConfig, VersionPolicy
from lae_tf.serving.engine.loaded_model import LoadedModel, load_warm
from lae_tf.serving.engine.model_manager import ModelManager
from lae_tf.serving.errors import Code, ServingError


def prediction_log(name, signature, inputs):
    """Write a PredictionLog by hand: every field is a tag, a length and the content."""

    def field(number, content):
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    entries = b"".join(
        field(2, field(1, key.encode()) + field(2, tf.make_tensor_proto(value).SerializeToString()))
        for key, value in inputs.items()
    )
    spec = field(1, name.encode()) + (field(3, signature.encode()) if signature else b"")
    return field(6, field(1, field(1, spec) + entries))


class Fake:
    def __init__(self, name, version, path):
        self.version = version
        if (path / "saved_model.pb").read_text() != "good":
            raise ServingError(Code.DATA_LOSS, "damaged")


def write(base, version, content="good"):
    folder = base / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_text(content)


def manager(base, policy=None, labels=None, load=Fake):
    return ModelManager([ModelConfig("m", base, policy or VersionPolicy(), labels or {})], load)


def served(models):
    return models.loaded_versions()["m"]


def states(models):
    return {status.version: status.state for status in models.statuses("m")}


def test_the_largest_number_is_served_and_replaced(tmp_path):
    for version in ("2", "10", "0009", "x", "-1", "99999999999999999999"):
        write(tmp_path, version)
    models = manager(tmp_path)
    models.poll()
    assert served(models) == [10] and models.get("m").version == 10
    write(tmp_path, 11)
    held = models.get("m")
    models.poll()
    assert served(models) == [11] and held.version == 10
    assert states(models) == {11: "AVAILABLE", 10: "END"}
    with pytest.raises(ServingError) as caught:
        models.get("m", 10)
    assert caught.value.code is Code.NOT_FOUND


def test_a_damaged_version_never_replaces_a_good_one(tmp_path):
    write(tmp_path, 1)
    models = manager(tmp_path)
    models.poll()
    write(tmp_path, 2, "bad!")
    for _ in range(2):
        models.poll()
        assert served(models) == [1]
    newest, oldest = models.statuses("m")
    assert (newest.state, newest.error.code, oldest.state) == ("END", Code.DATA_LOSS, "AVAILABLE")
    write(tmp_path, 2, "good")
    models.poll()
    assert served(models) == [2]


def test_a_failed_load_is_repeated_only_after_a_change(tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2, "bad!")
    attempts = []

    def load(name, version, path):
        attempts.append(version)
        return Fake(name, version, path)

    models = manager(tmp_path, load=load)
    models.poll()
    models.poll()
    assert attempts == [2, 1]
    os.utime(tmp_path / "2" / "saved_model.pb", ns=(1, 1))
    models.poll()
    assert attempts == [2, 1, 2]


def test_going_back_to_an_older_version(tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2)
    models = manager(tmp_path)
    models.poll()
    shutil.rmtree(tmp_path / "2")
    models.poll()
    assert served(models) == [1]
    shutil.rmtree(tmp_path / "1")
    models.poll()
    assert served(models) == [1]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(latest=2), [2, 3]),
        (VersionPolicy(all=True), [1, 2, 3]),
        (VersionPolicy(specific=(1, 3)), [1, 3]),
        (VersionPolicy(specific=(2, 7)), [2]),
    ],
)
def test_policies(tmp_path, policy, expected):
    for version in (1, 2, 3):
        write(tmp_path, version)
    models = manager(tmp_path, policy)
    models.poll()
    assert served(models) == expected
    if 7 in policy.specific:
        (missing,) = models.statuses("m", 7)
        assert (missing.state, missing.error.code) == ("END", Code.NOT_FOUND)


def test_start_says_why_nothing_is_served(tmp_path):
    with pytest.raises(LAEError, match="must hold a directory whose name is a number"):
        manager(tmp_path).start(0)
    write(tmp_path, 1, "bad!")
    with pytest.raises(LAEError, match="version 1: damaged"):
        manager(tmp_path).start(0)


def test_the_directory_is_watched(tmp_path):
    write(tmp_path, 1)
    models = manager(tmp_path)
    models.start(0.01)
    write(tmp_path, 2)
    ready = threading.Event()
    for _ in range(500):
        if served(models) == [2]:
            break
        ready.wait(0.01)
    models.close()
    assert served(models) == [2]


def test_a_loader_of_surprises_is_an_internal_error(tmp_path):
    write(tmp_path, 1)

    def load(name, version, path):
        raise RuntimeError("surprise")

    models = manager(tmp_path, load=load)
    models.poll()
    (status,) = models.statuses("m")
    assert (status.error.code, status.error.message) == (Code.INTERNAL, "RuntimeError: surprise")


def test_a_directory_that_vanishes_for_a_moment_changes_nothing(tmp_path):
    write(tmp_path / "base", 1)
    models = manager(tmp_path / "base", VersionPolicy(specific=(1,)))
    models.poll()
    (tmp_path / "base").rename(tmp_path / "away")
    models.poll()
    assert served(models) == [1] and states(models) == {1: "AVAILABLE"}
    (tmp_path / "away").rename(tmp_path / "base")
    models.poll()
    assert served(models) == [1] and states(models) == {1: "AVAILABLE"}


def test_a_version_is_warmed_up_before_it_takes_over(tmp_path, models_dir):
    """Its records run before it is served; where one fails, the version before it serves on."""
    base = tmp_path / "half"
    shutil.copytree(models_dir / "half" / "1", base / "1")
    models = ModelManager([ModelConfig("half", base)])
    models.start(0)
    for version, value, served_then in ((2, [1.5, 2.5], [2]), (3, "no number", [2])):
        shutil.copytree(models_dir / "half" / "2", base / str(version))
        records = base / str(version) / "assets.extra" / "tf_serving_warmup_requests"
        records.parent.mkdir()
        with tf.io.TFRecordWriter(str(records)) as writer:
            writer.write(prediction_log("half", "", {"x": value}))
        models.poll()
        assert models.loaded_versions() == {"half": served_then}
    newest = models.statuses("half")[0]
    assert newest.state == "END" and newest.error.message.startswith("A warm-up record failed: ")
    records.unlink()
    models.poll()
    assert models.loaded_versions() == {"half": [3]}
    shutil.copytree(models_dir / "half" / "2", base / "4")
    (base / "4" / "assets.extra").mkdir()
    (base / "4" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no record" * 20)
    models.poll()
    assert models.loaded_versions() == {"half": [3]}


def test_warm_up_runs_every_record(tmp_path, models_dir, monkeypatch):
    version = tmp_path / "1"
    shutil.copytree(models_dir / "half" / "2", version)
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for signature, value in (("", [1.0]), ("total", [1.0, 2.0])):
            writer.write(prediction_log("half", signature, {"x": value}))
    ran = []
    run = LoadedModel.run

    def noting(model, name, inputs):
        ran.append((name, inputs["x"].tolist()))
        return run(model, name, inputs)

    monkeypatch.setattr(LoadedModel, "run", noting)
    load_warm("half", 1, version)
    assert ran == [("serving_default", [1.0]), ("total", [1.0, 2.0])]
