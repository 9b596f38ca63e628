"""A preset as a folder: four files, none of which is a program, each known by its hash.

============================  =======================================================================
``config.json``               class, format, arguments of the model, calibration, versions
``model.safetensors``         float32 weights by name, calibration included
``README.md``                 the model card
``SHA256SUMS``                hashes of the other three, as ``sha256sum`` writes and checks them
============================  =======================================================================
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lae_tf.errors import LAEError, UsageError
from lae_tf.files.atomic import building

CONFIG, WEIGHTS, CARD, HASHES = "config.json", "model.safetensors", "README.md", "SHA256SUMS"
FILES = {CONFIG: 1 << 18, WEIGHTS: 1 << 31, CARD: 1 << 20, HASHES: 1 << 12}
"""The files and their largest sizes in bytes."""
CLASS = "lae_tf>LAE"
FORMAT = 1
"""Number of the format that is written; newer ones are refused."""

_HASH_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


class _Description(BaseModel):
    """What config.json holds."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)

    class_name: str = Field(alias="class")
    format: int
    config: dict[str, Any]
    calibration: dict[str, float]
    software: dict[str, str]


@dataclass(frozen=True)
class Preset:
    """What a preset's folder holds, read and checked.

    Attributes:
        name: the folder's, or what it was asked for by.
        config: arguments of the model, as its ``get_config`` gives them.
        calibration: those of the weights that are single numbers (temperature, threshold, ...), for whoever reads.
        software: versions of what wrote it, by package.
        card: the model card, Markdown.
        weights: float32 arrays by name.
        digest: SHA-256 of the weights' file, 64 hexadecimal digits.
    """

    name: str
    config: dict[str, Any]
    calibration: dict[str, float]
    software: dict[str, str]
    card: str
    weights: dict[str, np.ndarray]
    digest: str = ""

    @property
    def summary(self) -> str:
        """The card's first line of text, after the metadata between lines of ``---`` with which a card may begin."""
        text = re.sub(r"\A---\n.*?\n---\n", "", self.card, flags=re.DOTALL)
        lines = (line.strip() for line in text.splitlines())
        return next((line for line in lines if line and not line.startswith("#")), "")


def write_preset(folder: Path, preset: Preset) -> None:
    """Write a preset; its folder appears whole or not at all.

    Args:
        folder: is made.
        preset: to be written; its name and digest are not.

    Raises:
        UsageError: the folder exists.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already; a preset is never overwritten. Choose another folder.")
    description = _Description(
        class_name=CLASS,
        format=FORMAT,
        config=preset.config,
        calibration=preset.calibration,
        software=preset.software,
    )
    contents = {
        CONFIG: json.dumps(description.model_dump(by_alias=True), indent=2).encode() + b"\n",
        WEIGHTS: save(preset.weights),
        CARD: preset.card.encode(),
    }
    hashes = "".join(f"{_sha256(content)}  {name}\n" for name, content in contents.items())
    with building(folder) as work:
        for name, content in {**contents, HASHES: hashes.encode()}.items():
            (work / name).write_bytes(content)
        work.rename(folder)


def read_preset(folder: Path, name: str | None = None) -> Preset:
    """Read a preset and check it. It may come from a stranger: nothing in it is run.

    Args:
        folder: that holds it.
        name: of the preset; the folder's by default.

    Raises:
        LAEError: files are missing, unknown, too large or not those whose hashes are written down; the format is newer;
            or a file is damaged. Says which.
    """
    contents = {file: _read(folder, file) for file in _checked_names(folder)}
    for file, expected in _hashes(folder, contents[HASHES]).items():
        found = _sha256(contents[file])
        if found != expected:
            raise LAEError(
                f"{folder / file}: was changed or damaged: its SHA-256 is {found[:16]}..., but {HASHES} says "
                f"{expected[:16]}...; fetch the preset anew."
            )
    description = _described(folder / CONFIG, contents[CONFIG])
    return Preset(
        name=name or folder.resolve().name,
        config=description.config,
        calibration=description.calibration,
        software=description.software,
        card=contents[CARD].decode("utf-8", "replace"),
        weights=_weights(folder / WEIGHTS, contents[WEIGHTS]),
        digest=_sha256(contents[WEIGHTS]),
    )


def is_preset(folder: Path) -> bool:
    """Whether a folder looks like a preset's."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def _checked_names(folder: Path) -> list[str]:
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    for kind, names in (("lacks", FILES.keys() - found), ("also holds", found - FILES.keys())):
        if names:
            raise LAEError(
                f"{folder}: {kind} {', '.join(sorted(names)[:5])}; expected a preset, with {', '.join(FILES)} alone."
            )
    return list(FILES)


def _read(folder: Path, file: str) -> bytes:
    path = folder / file
    if not path.is_file():
        raise LAEError(f"{path}: is no file; fetch the preset anew.")
    size = path.stat().st_size
    if size > FILES[file]:
        raise LAEError(f"{path}: has {size} bytes, more than the {FILES[file]} that a preset's may have.")
    return path.read_bytes()


def _hashes(folder: Path, content: bytes) -> dict[str, str]:
    """Return the hashes by file."""
    matches = [_HASH_LINE.fullmatch(line) for line in content.decode("utf-8", "replace").splitlines()]
    found = {match[2]: match[1] for match in matches if match}
    if None in matches or found.keys() != FILES.keys() - {HASHES} or len(found) != len(matches):
        raise LAEError(
            f"{folder / HASHES}: expected one line, a hash and a name, for each of {', '.join(list(FILES)[:-1])}; "
            "fetch the preset anew."
        )
    return found


def _described(path: Path, content: bytes) -> _Description:
    try:
        values = json.loads(content)
        number = values.get("format") if isinstance(values, dict) else None
        if isinstance(number, int) and number > FORMAT:
            raise LAEError(
                f"{path}: the preset has format {number}, newer than {FORMAT}, which this lae_tf reads; update lae_tf."
            )
        description = _Description.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        where = ".".join(map(str, details["loc"]))[:100] or "the file"
        raise LAEError(f"{path}: does not describe a preset: {where}: {details['msg']}.") from None
    except (ValueError, RecursionError) as error:
        raise LAEError(f"{path}: is not JSON ({error}).") from None
    if (description.class_name, description.format) != (CLASS, FORMAT):
        raise LAEError(
            f"{path}: describes a {description.class_name[:100]} in format {description.format}; expected {CLASS} in "
            f"format {FORMAT}."
        )
    return description


def _weights(path: Path, content: bytes) -> dict[str, np.ndarray]:
    try:
        weights = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:  # KeyError: a type that NumPy does not have
        raise LAEError(f"{path}: cannot be read as safetensors ({str(error)[:200]}).") from None
    for name, value in weights.items():
        if value.dtype != np.float32:
            raise LAEError(f"{path}: {name[:100]} is {value.dtype}, expected float32.")
    return weights


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
