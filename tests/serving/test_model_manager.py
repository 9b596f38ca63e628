"""Versions that come, go and fail, with a loader that reads a word instead of a SavedModel."""

import os
import shutil
import threading

import pytest

from lae_tf.errors import LAEError
from lae_tf.serving.config_files import ModelConfig, VersionPolicy
from lae_tf.serving.errors import Code, ServingError
from lae_tf.serving.model_manager import ModelManager


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
