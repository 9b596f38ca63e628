"""Lets ``keras.saving.load_model`` know the model after ``import lae_tf`` alone, without importing Keras for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_HOME = "lae_tf.model.lae"  # by name: what runs the model must not import it


class _DeferredLAE:
    """Stands for the LAE in Keras' registry until one is loaded; the class then registers itself, and its parts."""

    @staticmethod
    def from_config(config: dict[str, Any]) -> Any:
        return importlib.import_module(_HOME).LAE.from_config(config)


class _WhenKerasIsImported(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register(keras: ModuleType) -> None:
    keras.saving.get_custom_objects().setdefault("lae_tf>LAE", _DeferredLAE)


def register_on_import() -> None:
    """Register the LAE with Keras: now if Keras is imported already, else as soon as it is."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _WhenKerasIsImported())
