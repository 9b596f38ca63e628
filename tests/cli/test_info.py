"""`lae-tf info`: what runs here, what is missing, and how to get it."""

import json
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from lae_tf.runtime import environment
from lae_tf.runtime.addons import STACK


def test_extras_are_listed(lae_tf_command):
    found = json.loads(lae_tf_command("info", "--json")[1])["extras"]
    assert {"serve", "grpc", "ui", "video", "onnx", "beam"} <= found.keys()
    assert found["ui"] and found["serve"]  # the tests themselves need them


def test_the_other_stack_and_missing_extras_are_said(lae_tf_command, monkeypatch):
    monkeypatch.setattr(environment, "extras", lambda: {"serve": True, "gpu": False})
    code, out, _ = lae_tf_command("info")
    other = {"classic": "current", "current": "classic"}[STACK]
    assert code == 0
    assert f"The {other} stack is TensorFlow" in out
    assert "Extras that are not installed: gpu." in out and "pip install '.[gpu]'" in out
    assert any(line.split() == ["extras", "serve"] for line in out.splitlines())


class Distribution:
    def __init__(self, version, requires):
        self.version, self.requires = version, requires


@pytest.mark.parametrize(
    "installed, there",
    [
        ({}, False),
        ({"base": Distribution("2.0", [])}, True),
        ({"base": Distribution("1.0", [])}, False),
        ({"base": Distribution("2.0", ['cuda>=12; extra == "and-cuda"'])}, False),
        ({"base": Distribution("2.0", ['cuda>=12; extra == "and-cuda"']), "cuda": Distribution("12.1", [])}, True),
    ],
)
def test_an_extra_is_there_with_the_extras_of_its_packages(monkeypatch, installed, there):
    def distribution(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    requires = ["numpy", 'base[and-cuda]>=2; extra == "gpu"', "old; python_version < '3' and extra == 'gpu'"]
    monkeypatch.setattr(metadata, "requires", lambda name: requires)
    monkeypatch.setattr(metadata, "distribution", distribution)
    assert {str(one) for one in environment._of_extra(list(map(Requirement, requires)), "gpu")} == {
        'base[and-cuda]>=2; extra == "gpu"'
    }
    assert all(map(environment._installed, environment._of_extra(list(map(Requirement, requires)), "gpu"))) == there
