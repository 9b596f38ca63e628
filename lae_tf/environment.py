"""What this software runs on: versions, stack and devices, as stored with every run."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

PACKAGES = (
    "tensorflow",
    "keras",
    "tensorflow-addons",
    "tf-keras-vis",
    "numpy",
    "opencv-python-headless",
    "pillow",
)


def describe() -> dict[str, Any]:
    """Return versions, the stack's name, and the devices TensorFlow sees, ready for JSON."""
    import tensorflow as tf

    from lae_tf import __version__, addons

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
