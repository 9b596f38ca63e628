"""What a ``.keras`` file must be before Keras opens it: an LAE's, which names no code and claims no more than it holds.

Keras takes whatever lies under the name: HDF5 whose configuration holds Python byte code (classic stack), archives
whose weights are pickled, configurations that import any class. A model from a stranger must be none of these.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import keras
from pydantic import ValidationError

from lae_tf.config.model import ModelConfig
from lae_tf.config.section import Section, problem
from lae_tf.config.sections import DataConfig
from lae_tf.config.yaml_values import shown
from lae_tf.errors import LAEError
from lae_tf.model.weights_file import check_hdf5

# Largest size of each member, unpacked, in bytes. Keras would also take pickled weights (.npz) and assets.
MEMBERS = {"metadata.json": 1 << 16, "config.json": 1 << 18, "model.weights.h5": 1 << 31}
_WEIGHTS = "model.weights.h5"
_ZIP = b"PK\x03\x04"
_PACKED_AT_MOST = 100  # times; weights hardly shrink, and Keras stores them as they are
_DEEPEST = 16  # levels of config.json
_KEYS = {"module", "class_name", "config", "registered_name"}
_OPTIMIZERS = {
    *("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "LossScaleOptimizer", "Nadam", "RMSprop"),
    "SGD",
}
_SCHEDULES = {
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
}
_LOSSES = {
    "ActivationLoss",
    "AdversarialLoss",
    "AlignmentLoss",
    "DecisionLoss",
    "FeatureMatchingLoss",
    "PixelLoss",
    "VGG16PerceptualLoss",
}
# All that an LAE is compiled with, by the module that Keras would import it from.
_PARTS = {
    "keras.optimizers": _OPTIMIZERS,
    "keras.optimizers.schedules": _SCHEDULES,
    "keras.src.mixed_precision.loss_scale_optimizer": {"LossScaleOptimizerV3"},  # as the classic stack writes it
}
_Section = TypeVar("_Section", bound=Section)


def check_archive(path: Path) -> str:
    """Refuse a file that is not what :meth:`LAE.save` writes.

    Args:
        path: a ``.keras`` file.

    Returns:
        The version of Keras that wrote it, as it says.

    Raises:
        LAEError: not a zip archive with Keras' three members alone; a member is larger than ``MEMBERS`` says, or than
            its packed size makes believable; the configuration is not an LAE's, or asks for more weights than there
            are; the weights lie elsewhere. Says which.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if path.suffix != ".keras" or file.read(len(_ZIP)) != _ZIP:
            raise LAEError(
                f"{path}: is not a .keras file that training wrote (a zip archive); HDF5 files and SavedModels are "
                "programs, and are not opened."
            )
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            config, metadata = (_parse(archive, name) for name in ("config.json", "metadata.json"))
            weights = archive.read(_WEIGHTS)
        _check_model(config)
        check_size(config["config"], check_hdf5(io.BytesIO(weights)))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise LAEError(f"{path}: is a damaged archive ({error}); copy it anew.") from None
    except ValueError as error:
        raise LAEError(f"{path}: is not a model that training wrote: {error}.") from None
    return str(metadata.get("keras_version"))


def _check_members(archive: zipfile.ZipFile) -> None:
    names = sorted(archive.namelist())
    if names != sorted(MEMBERS):
        raise ValueError(
            f"it holds {', '.join(map(shown, names[:5])) or 'nothing'}, expected {', '.join(sorted(MEMBERS))}"
        )
    for member in archive.infolist():
        size, packed = member.file_size, member.compress_size
        if size > MEMBERS[member.filename]:
            raise ValueError(f"{member.filename} has {size} bytes, more than {MEMBERS[member.filename]}")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or size > _PACKED_AT_MOST * packed:
            raise ValueError(f"{member.filename} unpacks {packed} bytes to {size}")


def _parse(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        value = json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no object")
    return value


def _check_model(model: dict[str, Any]) -> None:
    """Check that the configuration is an LAE's, and that all it is compiled with is known."""
    if (model.get("class_name"), model.get("registered_name")) != ("LAE", "lae_tf>LAE") or not _is_ours(model):
        raise ValueError(f"it holds a {_name(model)}, expected an LAE")
    if not isinstance(model.get("config"), dict):
        raise ValueError("config.json has no 'config' of the LAE")
    unknown = sorted(set(model) - _KEYS - {"build_config", "compile_config"})
    if unknown:
        raise ValueError(f"config.json has the key {shown(unknown[0])}, which no LAE has")
    for name in ("config", "build_config", "compile_config"):
        for part in _objects(model.get(name), _DEEPEST):
            if name != "compile_config" or not _is_known(part):
                raise ValueError(f"its {name} names {_name(part)}, which no LAE holds")


def _objects(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Yield every dict that Keras could take for an object."""
    if not depth:
        raise ValueError(f"config.json has more than {_DEEPEST} levels")
    if isinstance(value, dict):
        if {"class_name", "registered_name", "module"} & set(value):
            yield value
        for item in value.values():
            yield from _objects(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item, depth - 1)


def _is_known(part: dict[str, Any]) -> bool:
    module, name, registered = part.get("module"), part.get("class_name"), part.get("registered_name")
    if set(part) - _KEYS or not isinstance(module, str) or not isinstance(name, str):
        return False
    if name in _LOSSES:
        return registered == f"lae_tf>{name}" and _is_ours(part)
    if registered in (None, name):
        return name in _PARTS.get(module, ())
    # A loss of the program that loads the model: the file chooses among what is imported, and imports nothing.
    loss = keras.saving.get_registered_object(registered) if isinstance(registered, str) else None
    return isinstance(loss, type) and issubclass(loss, keras.losses.Loss)


def _is_ours(part: dict[str, Any]) -> bool:
    return isinstance(part.get("module"), str) and part["module"].startswith("lae_tf.model.")


def _name(part: dict[str, Any]) -> str:
    return f"{shown(part.get('class_name'))} of {shown(part.get('module'))}"


def check_size(config: dict[str, Any], values: int) -> None:
    """Check that building the model takes about the memory that its weights take.

    Args:
        config: arguments of the LAE.
        values: how many numbers the weights' file holds.

    Raises:
        ValueError: it takes more, or a size is none that a run's configuration may have.
    """
    model = bounded(ModelConfig, {name: config[name] for name in ("widths", "blocks") if name in config})
    bounded(DataConfig, {"manifest": "", "image_size": config.get("image_size", 128)})
    # Less than there are: the 3 x 3 convolutions of the encoder's stages.
    pairs = zip(model.widths, model.widths[1:], strict=False)
    least = sum(9 * (before + 2 * model.blocks * width) * width for before, width in pairs)
    if least > values:
        raise ValueError(f"config.json asks for at least {least} weights, but there are {values}")


def bounded(section: type[_Section], values: dict[str, Any]) -> _Section:
    """Return arguments of the LAE if a run's configuration may have them.

    Raises:
        ValueError: it may not.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ValueError(problem(section, error.errors()[0]).rstrip(".")) from None
