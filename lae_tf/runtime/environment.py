"""What this software runs on: versions, stack and devices, as stored with every run."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from lae_tf.version import __version__

PACKAGES = (
    "tensorflow",
    "keras",
    "tensorflow-addons",
    "tf-keras-vis",
    "numpy",
    "opencv-python-headless",
    "pillow",
)


def extras() -> dict[str, bool]:
    """Return the package's extras by name: whether all that one asks for is installed here."""
    try:
        required = [Requirement(line) for line in metadata.requires("lae-tf") or ()]
        names = metadata.metadata("lae-tf").get_all("Provides-Extra") or ()
    except metadata.PackageNotFoundError:  # run from its sources, not installed
        return {}
    return {name: all(map(_installed, _of_extra(required, name))) for name in names}


def _of_extra(required: list[Requirement], extra: str) -> list[Requirement]:
    """Return what an extra adds on this Python and platform."""
    with_it, without = {"extra": extra}, {"extra": ""}
    marked = [(one, one.marker) for one in required if one.marker]
    return [one for one, marker in marked if marker.evaluate(with_it) and not marker.evaluate(without)]


def _installed(requirement: Requirement) -> bool:
    """Whether a package is there in a version that is asked for, with its own extras."""
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    inner = [Requirement(line) for line in found.requires or ()]
    parts = (part for extra in requirement.extras for part in _of_extra(inner, extra))
    return requirement.specifier.contains(found.version, prereleases=True) and all(map(_installed, parts))


def describe() -> dict[str, Any]:
    """Return versions, the stack's name, and the devices TensorFlow sees, ready for JSON."""
    import tensorflow as tf

    from lae_tf.runtime import addons

    facts: dict[str, Any] = {
        "lae_tf": __version__,
        "stack": addons.STACK,
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts["platform"] = platform.platform()
    facts["cpu_count"] = os.cpu_count()
    facts["devices"] = [device.name for device in tf.config.list_logical_devices()]
    return facts
