"""From a folder of images to the manifest that a run trains on: the shortest way to a detector."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lae_tf.config.sections import Config
from lae_tf.data.splits import DEFAULT_SHARES, FEWER_SHARES
from lae_tf.datasets import DEFAULT_FORGERIES
from lae_tf.datasets.forge_sources import find_real, sources_of
from lae_tf.datasets.forging import ForgeOptions, forge_folder
from lae_tf.datasets.layouts import Options, build_manifest
from lae_tf.datasets.layouts.folders import find_folders, has_fakes, real_folder
from lae_tf.datasets.layouts.splits import assign
from lae_tf.errors import UsageError
from lae_tf.files.walking import subfolders
from lae_tf.training.run import Run

RECORD = "folder.json"
"""In the run: what its manifest was made of."""


@dataclass(frozen=True)
class Prepared:
    """What a run trains on, and what it was made of.

    Attributes:
        folder: as it was given, absolute.
        manifest: in the run's folder.
        counts: of the manifest, see ``Manifest.counts``.
        forged: methods that fakes were made with; empty where the folder had fakes.
        left_out: one sentence for each file that became neither image nor mask, or could not be read or forged.
    """

    folder: str
    manifest: str
    counts: dict[str, dict[str, int]]
    forged: list[str]
    left_out: list[str]


def manifest_path(output: str | os.PathLike[str]) -> Path:
    """Return where a run keeps the manifest of its folder."""
    return Path(os.path.abspath(output)) / "data" / "manifest.csv"


def prepare_folder(
    folder: str | os.PathLike[str], config: Config, resume: bool = False, progress: bool = True
) -> Prepared:
    """Write the manifest of a folder into the run's own, or return the one that the run has begun with.

    With ``real/`` and ``fake/``, at any depth below, and perhaps ``masks/``, it is that of the layout ``folders``. With
    real images alone, below ``real/`` or anywhere, they are forged by ``DEFAULT_FORGERIES``. Groups stay whole, and
    splits are alike in labels and methods.

    Args:
        folder: of images.
        config: its output and seed count.
        resume: go on with a run that has begun; its manifest may hold masks by now, and stays as it is.
        progress: show a progress bar on stderr.

    Raises:
        UsageError: nothing there to train on, or the run has begun and is not to be resumed, or with another folder;
            the run's folder is then as it was.
        LAEError: another command is changing the run.
    """
    folder, run = Path(os.path.abspath(folder)), Run(config.output)
    target = manifest_path(config.output)
    if run.has_begun:
        return _begun(run, folder, resume)
    source = _real_alone(folder)
    if source is None:
        _require_both_kinds(folder, config.seed)
    else:
        options = ForgeOptions(splits=_shares(source, target.parent))
    with run.locked():
        if source is None:
            built = build_manifest("folders", folder, target, Options(seed=config.seed), progress)
            prepared = Prepared(str(folder), str(target), built.manifest.counts(), [], built.unmatched)
        else:
            made = forge_folder(source, target.parent, DEFAULT_FORGERIES, config.seed, options, progress)
            prepared = Prepared(
                str(folder), str(target), made.manifest.counts(), list(DEFAULT_FORGERIES), made.problems
            )
        run.write_json(RECORD, asdict(prepared))
    return prepared


def _begun(run: Run, folder: Path, resume: bool) -> Prepared:
    record: dict[str, Any] | None = run.read_json(RECORD)
    if not resume:
        raise UsageError(f"{run.path} already holds a run; add --resume to go on, or choose another output.")
    if record is None or not os.path.isfile(manifest_path(run.path)):
        raise UsageError(
            f"{run.path} holds a run that was not made of a folder; go on with its configuration, {run.config_path}."
        )
    if os.path.realpath(record["folder"]) != os.path.realpath(folder):
        raise UsageError(
            f"{run.path} was made of {record['folder']}, not of {folder}; give that folder, or the run's own "
            f"configuration, {run.config_path}."
        )
    names = ("folder", "counts", "forged", "left_out")
    return Prepared(manifest=str(manifest_path(run.path)), **{name: record[name] for name in names})


def _real_alone(folder: Path) -> Path | None:
    """Return the folder of real images where there are no fakes, None where there are.

    Raises:
        UsageError: folders beside real/ may be fakes, and do not say so.
    """
    if has_fakes(folder):
        return None
    real = real_folder(folder)
    others = [] if real is None else [one.name for one in subfolders(folder) if one != real and one.name != "masks"]
    if others:
        raise UsageError(
            f"{folder}: holds {real.name if real else ''}/ and {', '.join(f'{name}/' for name in others[:5])}, and "
            "nothing says whether these are fakes; move fakes to fake/METHOD/, or give the folder of real images alone."
        )
    return real or folder


def _shares(real: Path, out: Path) -> tuple[float, float, float]:
    """Return the shares of the splits that as many real images can fill.

    Raises:
        UsageError: too few for training and validation.
    """
    found, files = find_real(real, out, [])
    groups = {source.group for source in sources_of(found, files, None)}
    if len(groups) < 2:
        raise UsageError(
            f"{real}: holds {len(files)} real image{'s of one video' if len(files) > 1 else ''}; training and "
            "validation need images of their own. Add photographs, a hundred or more."
        )
    return FEWER_SHARES.get(len(groups), DEFAULT_SHARES)


def _require_both_kinds(folder: Path, seed: int) -> None:
    """Refuse a folder of fakes, and perhaps real images, that cannot be trained on.

    Raises:
        UsageError: says what it holds, and what is needed.
    """
    samples, _ = assign(find_folders(folder).samples, None, seed)
    found = {(sample.split, bool(sample.method)) for sample in samples}
    if not found >= {(split, fake) for split in ("train", "val") for fake in (True, False)}:
        fakes = sum(bool(sample.method) for sample in samples)
        raise UsageError(
            f"{folder}: holds {len(samples) - fakes} real and {fakes} fake images; training and validation need both "
            "kinds each, from images of different stems. Add what is rare, below real/ and fake/."
        )
