"""Paths that a verb reads; of the wrong kind, the error says what was found, what was expected and what to type."""

from __future__ import annotations

import os
import shlex
from typing import Any, ClassVar

import click

from lae_tf.cli.recognition import Found, recognise
from lae_tf.errors import UsageError


class InputPath(click.Path):
    """A path of one of a few kinds; of another, it raises UsageError.

    Attributes:
        kinds: those of ``recognition.Found`` that are taken.
        expected: the same in words.
        refusal: how the error begins.
    """

    kinds: ClassVar[tuple[str, ...]]
    expected: ClassVar[str]
    refusal: ClassVar[str] = ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        converted = super().convert(value, param, ctx)
        path = os.fsdecode(converted)
        if not os.path.exists(path):  # a pattern, or for the verb to say
            return converted
        found = recognise(path)
        if self.takes(path, found):
            return converted
        what = f"{path}: {self.refusal}it is {found.words}; expected {self.expected}."
        raise UsageError(" ".join(filter(None, (what, _order(found, ctx), self.advice(path, found)))))

    def takes(self, path: str, found: Found) -> bool:
        """Whether this is what is needed, or for the verb to judge."""
        return found.kind in self.kinds

    def advice(self, path: str, found: Found) -> str:
        """Return sentences on what to type, as far as it can be told."""
        return ""


class RunPath(InputPath):
    """A run, whether it is trained to the end or not."""

    kinds: ClassVar[tuple[str, ...]] = ("run",)
    expected = "a folder that 'lae-tf train' made (with config.yaml)"
    refusal = "no run here: "

    def advice(self, path: str, found: Found) -> str:
        if found.inside and found.kind in ("runs", "model", "config", "yaml"):
            return f"Give {quoted(found.inside)}."
        if found.kind == "preset":
            return f"A preset is asked by {typed('predict', '--model', path, 'photos/')}."
        if found.kind in ("export", "exports"):
            asked = typed("predict", "--server", "http://localhost:8501", "photos/")
            return f"An export is served by {typed('serve', path)} and asked by {asked}."
        steps = training_steps(path, found)
        return f"Without a run yet: {steps}." if steps else ""


class RunOrExportPath(RunPath):
    """A run or an export."""

    kinds = ("run", "export")
    expected = "a folder that 'lae-tf train' or 'lae-tf export' made"
    refusal = "neither a run nor an export: "

    def advice(self, path: str, found: Found) -> str:
        if found.kind == "exports":
            return f"Give {quoted(found.inside)}."
        return super().advice(path, found)


class ConfigPath(InputPath):
    """A configuration, or a manifest in its place."""

    kinds: ClassVar[tuple[str, ...]] = ("config", "yaml", "json", "file", "table")
    expected = "a configuration (.yaml) or a manifest (.csv, .parquet)"

    def advice(self, path: str, found: Found) -> str:
        if found.kind == "run":
            config = os.path.join(path, "config.yaml")
            again = typed("train", config, "--output", path, "--resume")
            return f"Its configuration is {quoted(config)}; {again} goes on with the run."
        if found.kind == "protocol":
            return f"It is for {typed('benchmark', path)}."
        if os.path.isfile(os.path.join(path, "config.yaml")):  # a quickstart's folder
            return f"It holds the configuration {quoted(os.path.join(path, 'config.yaml'))}."
        steps = training_steps(path, found)
        return f"To train on it: {steps}." if steps else ""


class TrainingPath(ConfigPath):
    """What a detector is trained from: a folder of images, a configuration or a manifest."""

    kinds = (*ConfigPath.kinds, "images", "sorted images", "folder")
    expected = "a folder of images, a configuration (.yaml) or a manifest (.csv, .parquet)"


class ProtocolPath(InputPath):
    """A protocol of a comparison."""

    kinds = ("protocol", "yaml", "json", "file")
    expected = "a protocol (.yaml) such as configs/swap.yaml"

    def advice(self, path: str, found: Found) -> str:
        if found.kind == "config":
            return "What it sets stands in a protocol below `training`."
        return "A protocol names it as `manifest`." if found.kind == "table" else ""


class ManifestPath(InputPath):
    """A manifest."""

    kinds = ("table",)
    expected = "a manifest (.csv, .parquet)"

    def advice(self, path: str, found: Found) -> str:
        if found.kind == "config":
            return "Give the manifest that it names as data.manifest."
        if found.kind == "data":
            return f"Give {quoted(found.inside)}."
        return f"To make one: {manifest_step(path)}." if found.kind == "sorted images" else ""


class PoolPath(InputPath):
    """A Parquet or TFRecord file, or a folder of them."""

    kinds = ("table", "file", "archive", "folder", "data")
    expected = "a Parquet or TFRecord file, or a folder of them"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if path.lower().endswith(".csv"):
            raise UsageError(f"{path}: is CSV; expected {self.expected}. `lae-tf manifest` writes it, -o NAME.parquet.")
        return path

    def advice(self, path: str, found: Found) -> str:
        return f"Files and folders are scored with {typed('predict', 'RUN', path)}." if "images" in found.kind else ""


class ExportPath(InputPath):
    """An export; what is in a folder that is none, the server says itself."""

    kinds = ("export", "exports", "folder", "data", "images", "sorted images")
    expected = "a folder that 'lae-tf export' made"
    refusal = "no export here: "

    def advice(self, path: str, found: Found) -> str:
        run = path if found.kind == "run" else found.inside if found.kind in ("runs", "model") else ""
        export = typed("export", run, "exports")
        return f"Export the run first: {export}, then {typed('serve', 'exports')}." if run else ""


class ImagePath(InputPath):
    """Images or videos: a file, a folder or a pattern."""

    kinds = ("image", "images", "sorted images", "video", "videos", "sorted videos", "data", "folder", "file")
    expected = "images or videos"

    def advice(self, path: str, found: Found) -> str:
        if found.kind == "table":
            return f"The images of a manifest are scored with {typed('evaluate', 'RUN', path)}."
        if found.kind == "run":
            return "A run stands before the images."
        return "Unpack it first." if found.kind == "archive" else ""


class RealImagesPath(InputPath):
    """A folder of real images."""

    kinds = ("images", "folder")
    expected = "a folder of real images"

    def takes(self, path: str, found: Found) -> bool:
        mixed = os.path.isdir(os.path.join(path, "real"))
        return super().takes(path, found) or (found.kind == "data" and not mixed)

    def advice(self, path: str, found: Found) -> str:
        if found.kind in ("data", "sorted images"):
            return f"Give the real ones alone, as in {quoted(os.path.join(path, 'real'))}."
        return f"{typed('frames', path, 'frames')} makes images of videos." if "video" in found.kind else ""


def require_images(paths: tuple[str, ...], context: click.Context) -> None:
    """Refuse what is surely neither images nor videos; one file among several is for the verb to skip.

    Raises:
        UsageError: a folder of another kind, or a single file.
    """
    for path in paths:
        if len(paths) == 1 or os.path.isdir(path):
            ImagePath().convert(path, None, context)


def quoted(path: str) -> str:
    """Return a path as one types it."""
    return shlex.quote(path)


def typed(*words: str) -> str:
    """Return a command as one types it, quoted where the shell needs it, within backticks."""
    return f"`{shlex.join(('lae-tf', *words))}`"


def manifest_step(folder: str) -> str:
    """Return what makes a manifest of a folder of images sorted in real/ and fake/, or in real/ and one a method."""
    layout = "folders" if os.path.isdir(os.path.join(folder, "fake")) else "pairs"
    return typed("manifest", layout, folder, "-o", "manifest.csv")


def training_steps(path: str, found: Found) -> str:
    """Return how what was found leads to a run, or nothing."""

    def train(data: str) -> str:
        return typed("train", data, "--output", "runs/first")

    folder = path if os.path.isdir(path) else os.path.dirname(path) or os.curdir
    of_methods = f"{manifest_step(folder)}, then {train('manifest.csv')}"
    frames = typed("frames", folder, "frames", "--layout", "folders")
    of_images = f"{train(folder)}, which forges fakes if all images are real; else sort them into real/ and fake/ first"
    of_videos = f"sort the videos into real/ and fake/, then {frames} and {train('frames/manifest.csv')}"
    steps = {
        "table": train(path),
        "config": train(path),
        "yaml": train(path),
        "data": train(found.inside),
        "sorted images": train(folder) if os.path.isdir(os.path.join(folder, "fake")) else of_methods,
        "sorted videos": f"{frames}, then {train('frames/manifest.csv')}",
        "image": of_images,
        "images": of_images,
        "video": of_videos,
        "videos": of_videos,
    }
    return steps.get(found.kind, "")


def _order(found: Found, context: click.Context | None) -> str:
    """Return the order of the verb's arguments where another one takes what was found."""
    arguments = [] if context is None else [one for one in context.command.params if isinstance(one, click.Argument)]
    if context is None or not any(found.kind in _kinds(argument) for argument in arguments):
        return ""
    _, *order = context.command.collect_usage_pieces(context)
    return f"The order is {' '.join((context.command_path, *order)).rstrip('.')}."


def _kinds(argument: click.Argument) -> tuple[str, ...]:
    if argument.name == "paths":  # those of `predict` may begin with a run
        return ImagePath.kinds
    return argument.type.kinds if isinstance(argument.type, InputPath) else ()
