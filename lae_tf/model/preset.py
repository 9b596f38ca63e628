"""From an LAE to what a preset holds of it, and back."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

from lae_tf.config.model import ModelConfig
from lae_tf.config.sections import HardwareConfig
from lae_tf.errors import LAEError
from lae_tf.model.archive import bounded, check_size
from lae_tf.model.experts import MIXTURE_OF_BEFORE
from lae_tf.model.weight_names import named_weights
from lae_tf.presets.folder import Preset
from lae_tf.runtime.environment import describe

_STRUCTURE = {"widths", "blocks", "high_pass", "contrast", "self_correlation", "trunk", "head"}
_MIXTURE = {f"encoder/mixture/{name}": np.float32(value) for name, value in MIXTURE_OF_BEFORE.items()}
_SOFTWARE = ("lae_tf", "stack", "python", "tensorflow", "keras", "numpy")


def preset_of(model: Any, name: str, card: str = "") -> Preset:
    """Return what a preset holds of a model.

    Args:
        model: an LAE. Its discriminator, optimizer and losses are left out, and no weights are frozen.
        name: of the preset.
        card: Markdown; by default a few lines that say what is known of the model alone.
    """
    weights = {key: np.asarray(variable, np.float32) for key, variable in named_weights(model).items()}
    software = describe()
    return Preset(
        name=name,
        config={**model.get_config(), "discriminator": False, "tuned": "all"},
        calibration={key: float(value) for key, value in weights.items() if not value.ndim},
        software={key: str(software[key]) for key in _SOFTWARE},
        card=card or _plain_card(model, name),
        weights=weights,
    )


def build_from(model_class: Any, preset: Preset) -> Any:
    """Return the model of a preset, not compiled.

    Args:
        model_class: the LAE's.
        preset: as it was read.

    Raises:
        LAEError: its configuration is not an LAE's, or its weights are not those of such a model.
    """
    try:
        _check_arguments(model_class, preset.config)
        check_size(preset.config, sum(value.size for value in preset.weights.values()))
        model = model_class.from_config({**preset.config, "trunk_weights": None})
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise LAEError(f"{preset.name}: the preset's config.json does not describe an LAE: {reason}.") from None
    variables = named_weights(model)
    weights = {**_of_before(variables), **preset.weights}
    _check_weights(preset.name, weights, {name: tuple(variable.shape) for name, variable in variables.items()})
    for name, variable in variables.items():
        variable.assign(weights[name])
    model.jit_compile = False  # as ``LAE.compile`` has it
    return model


def begin_with(model: Any, preset: Preset) -> None:
    """Give a model the weights of a preset of the same structure; what validation chose stays the model's own."""
    networks = tuple(f"{part.name}/" for part in (model.encoder, model.head, model.decoder))
    for name, variable in named_weights(model).items():
        if name.startswith(networks) and name not in _MIXTURE:
            variable.assign(preset.weights[name])


def other_structure(model: ModelConfig, preset: Preset) -> list[str]:
    """Return what a model has otherwise than a preset, so that it cannot begin with its weights: ``key is value``."""
    ours = model.model_dump(mode="json", include=_STRUCTURE)
    return [f"model.{key} is {value!r}" for key, value in ours.items() if preset.config.get(key) != value]


def _check_arguments(model_class: Any, config: dict[str, Any]) -> None:
    """Refuse arguments that no LAE has: Keras would make objects of some."""
    own = set(inspect.signature(model_class.__init__).parameters) - {"self", "arguments"} | {"name"}
    for name, value in config.items():
        if name in ModelConfig.model_fields:
            continue
        if name not in own or isinstance(value, dict | list):
            raise ValueError(f"it has {name[:100]}, which no LAE has")
    bounded(HardwareConfig, {"precision": config.get("dtype", "float32")})


def _of_before(names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the weights that presets of older versions lack."""
    return {name: np.asarray(value) for name, value in _MIXTURE.items() if name in names}


def _check_weights(preset: str, weights: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    found = {name: value.shape for name, value in weights.items()}
    for kind, names in (
        ("lack", expected.keys() - found.keys()),
        ("also hold", found.keys() - expected.keys()),
        ("have another shape for", {name for name in expected if found.get(name, expected[name]) != expected[name]}),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise LAEError(
                f"{preset}: the preset's weights {kind} {min(names)[:100]}{more}, unlike the model that its "
                "config.json describes; fetch or make the preset anew."
            )


def _plain_card(model: Any, name: str) -> str:
    return (
        f"# {name}\n\nA locality-aware autoencoder for images of {model.image_size} pixels a side; nobody wrote "
        "down what it was trained on and how well it does.\n"
    )
