"""Tells what a path on the command line holds, so that an error can say what was found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOOKED_AT = 2000
"""Files of a folder that are looked at before it counts as one of neither images nor videos."""

_READ = 100_000
"""Characters of a YAML file that are looked at."""

_RUN_FILES = ("model.keras", "environment.json", "checkpoints")
_FILES = {
    ".csv": ("table", "a CSV table, such as a manifest"),
    ".parquet": ("table", "a Parquet table, such as a manifest"),
    ".keras": ("model", "a model's file"),
    ".json": ("json", "a JSON file"),
    ".zip": ("archive", "an archive"),
    ".tar": ("archive", "an archive"),
    ".gz": ("archive", "an archive"),
}


@dataclass(frozen=True)
class Found:
    """What a path holds.

    Attributes:
        kind: of a folder: run, preset, export, runs or exports (it holds some), data (it holds a manifest), images or
            videos, sorted images or sorted videos (in real/ and others), folder; of a file: image, video, table,
            config, protocol, yaml (neither for sure), model, json, archive, file.
        words: the same in words, as in "it is ...".
        inside: the path within that was perhaps meant, or the run that a file lies in; empty where there is none.
    """

    kind: str
    words: str
    inside: str = ""


def recognise(path: str) -> Found:
    """Look at a file's name, and into YAML, or into a folder that exists."""
    if os.path.isdir(path):
        return _recognise_folder(Path(path))
    suffix = os.path.splitext(path)[1].lower()
    folder = Path(path).parent
    within = str(folder) if _is_run(folder) else ""
    if suffix in (".yaml", ".yml") and os.path.isfile(path):
        return Found(*_yaml(path), within)
    if suffix in _FILES:
        return Found(*_FILES[suffix], within)
    content = _content_of(path)
    return Found(content, f"{'an' if content == 'image' else 'a'} {content}")


def _yaml(path: str) -> tuple[str, str]:
    """Tell a configuration from a protocol by the keys that only one of them has."""
    with open(path, encoding="utf-8", errors="replace") as file:
        keys = {line.partition(":")[0].rstrip() for line in file.read(_READ).splitlines()}
    if keys & {"training", "train_methods"}:
        return "protocol", "a protocol"
    return ("config", "a configuration") if "data" in keys else ("yaml", "a YAML file")


def _recognise_folder(folder: Path) -> Found:
    from lae_tf.presets.folder import is_preset

    runs = [child for child in _children(folder) if _is_run(child)]
    if _is_run(folder) or ((folder / "config.yaml").is_file() and not runs):
        return Found("run", "a run")
    if is_preset(folder):
        return Found("preset", "a preset")
    if _is_export(folder):
        return Found("export", "an export")
    exports = [child for child in _children(folder) if _is_export(child)]
    if exports:
        return Found("exports", "a folder that holds an export", str(exports[0]))
    if runs:
        return Found("runs", "a folder that holds a run", str(runs[0]))
    for name in ("manifest.csv", "manifest.parquet"):
        if (folder / name).is_file():
            return Found("data", f"a folder that holds {name}", str(folder / name))
    content = _content(folder)
    names = {child.name.lower() for child in _children(folder)}
    if content and "real" in names and len(names - {"real", "masks"}) > 0:
        return Found(f"sorted {content}", f"a folder of {content}, sorted in real/ and others")
    return Found(content, f"a folder of {content}") if content else Found("folder", "a folder without images")


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and any((folder / name).exists() for name in _RUN_FILES)


def _is_export(folder: Path) -> bool:
    return any((place / "saved_model.pb").is_file() for place in (folder, *_children(folder)))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _content(folder: Path) -> str:
    """Return "images" or "videos" by the first file of either, or nothing."""
    videos = ""
    for number, file in enumerate(_files_below(folder)):
        content = _content_of(file)
        if content == "image":
            return "images"
        videos = videos or ("videos" if content == "video" else "")
        if number >= _LOOKED_AT:
            break
    return videos


def _content_of(path: str) -> str:
    """Return "image" or "video" by a file's name and first bytes, "file" where it is neither."""
    from lae_tf.data.signatures import Content, content_of

    try:
        content = content_of(path)
    except OSError:
        return "file"
    return content.value if content in (Content.IMAGE, Content.VIDEO) else "file"


def _files_below(folder: Path) -> Iterator[str]:
    """Yield files but hidden ones, as the verbs find them."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in files if not name.startswith("."))
