"""From what a layout found to a manifest: splits, derived masks, and the list of what did not fit."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from lae_tf.data.contract import LARGEST_COVERAGE
from lae_tf.data.manifest import Manifest, require_suffix
from lae_tf.datasets.layouts import casia, celeb_df, coco, dfdc, faceforensics, folders
from lae_tf.datasets.layouts.left_over import left_over
from lae_tf.datasets.layouts.samples import Found, Sample
from lae_tf.datasets.layouts.splits import assign
from lae_tf.errors import ImageError, UsageError
from lae_tf.files.atomic import keep_copy, write_bytes
from lae_tf.images.files import read_image, write_png
from lae_tf.masks.differencing import Differencing, difference_mask

LAYOUTS = {
    "faceforensics++": "original_sequences, manipulated_sequences, masks, split files",
    "celeb-df": "Celeb-real, YouTube-real, Celeb-synthesis, List_of_testing_videos.txt",
    "dfdc": "videos beside metadata.json",
    "pairs": "real/ and a folder for each method, paired by stem",
    "folders": "real/ and fake/, perhaps below train/, val/ and test/",
    "casia": "Au/, Tp/ and Gt/",
    "coco": "images with COCO annotations of the forged regions",
}
"""Name -> what its tree holds."""


@dataclass(frozen=True)
class Built:
    """What :func:`build_manifest` made.

    Attributes:
        manifest: as written.
        unmatched: one sentence for whatever lacks its counterpart or was left out.
        report: file with these sentences; empty if there are none.
        derived: masks made by differencing.
        backup: copy of another manifest that stood in its place; empty if there was none.
    """

    manifest: Manifest
    unmatched: list[str]
    report: str
    derived: int
    backup: str = ""


class Options(NamedTuple):
    """What may be chosen where a manifest is built.

    Attributes:
        compression: of FaceForensics++: raw, c0, c23 or c40; None takes all.
        shares: of images for train, val and test, where the data set gives no splits; None takes the usual ones, and
            leaves out test, then val, where not every split could have each label.
        seed: of the splits.
        derive: make masks by differencing for fakes without one whose source is at hand.
    """

    compression: str | None = None
    shares: tuple[float, float, float] | None = None
    seed: int = 0
    derive: bool = False


def build_manifest(
    kind: str,
    root: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options | None = None,
    progress: bool = True,
) -> Built:
    """Recognise a data set and write its manifest.

    Masks that have to be made are written beside the manifest, to ``<name of the manifest>-masks``, and what
    did not fit to ``<name>-unmatched.txt``.

    Args:
        kind: a name in ``LAYOUTS``.
        root: the data set's folder.
        output: manifest to write, ``.csv`` or ``.parquet``.
        options: how, if not by the defaults.
        progress: show a progress bar on stderr.

    Raises:
        UsageError: an unknown layout, a folder that is not in this layout, or too few groups for the shares.
        ManifestError: the result breaks the manifest's contract.
    """
    compression, shares, seed, derive = options or Options()
    if kind not in LAYOUTS:
        raise UsageError(f"unknown layout '{kind}'; known are {', '.join(LAYOUTS)}")
    if compression is not None and kind != "faceforensics++":
        raise UsageError(f"a compression is of faceforensics++ alone, not of {kind}")
    root, output = Path(os.path.abspath(root)), Path(os.path.abspath(output))
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    require_suffix(output)
    with _Masks(output.with_name(f"{output.stem}-masks")) as masks:
        finders = {
            "faceforensics++": lambda: faceforensics.find(root, compression),
            "celeb-df": lambda: celeb_df.find(root),
            "dfdc": lambda: dfdc.find(root),
            "pairs": lambda: folders.find_pairs(root),
            "folders": lambda: folders.find_folders(root),
            "casia": lambda: casia.find(root),
            "coco": lambda: coco.find(root, masks.write),
        }
        found: Found = finders[kind]()
        samples, crossing = assign(found.samples, shares, seed)
        unmatched = found.unmatched + left_over(root, found) + crossing
        human = {"coco": "human"}.get(kind, "")
        made = {sample.path: human for sample in samples if sample.mask}
        if derive:
            derived, failures = _derive(samples, root, masks.write, progress)
            unmatched += failures
            made.update(dict.fromkeys(derived, "derived"))
        frame = pd.DataFrame(
            {
                "path": [sample.path for sample in samples],
                "label": ["fake" if sample.method else "real" for sample in samples],
                "mask": [sample.mask for sample in samples],
                "group": [sample.group for sample in samples],
                "method": [sample.method for sample in samples],
                "split": [sample.split for sample in samples],
                "mask_source": [made.get(sample.path, "") for sample in samples],
            }
        )
        manifest = Manifest.from_frame(frame, output.parent)
        # It may name masks that people drew, which the data set itself knows nothing of.
        backup = keep_copy(output) if output.is_file() else None
        manifest.write(output)
    if backup is not None and backup.read_bytes() == output.read_bytes():
        backup.unlink()
        backup = None
    report = output.with_name(f"{output.stem}-unmatched.txt")
    report.unlink(missing_ok=True)
    if unmatched:
        write_bytes(report, ("\n".join(unmatched) + "\n").encode("utf-8", "surrogateescape"))
    derived_masks = sum(value == "derived" for value in made.values())
    return Built(manifest, unmatched, str(report) if unmatched else "", derived_masks, str(backup or ""))


class _Masks:
    """Writes masks to a folder, and where the work fails takes back those that were not there before."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._new: list[Path] = []

    def write(self, name: str, mask: np.ndarray) -> str:
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
        path = self._folder / f"{name.replace('/', '_')[-80:]}-{digest}.png"
        if not path.exists():
            self._new.append(path)
        write_png(path, mask * np.uint8(255))
        return str(path)

    def __enter__(self) -> _Masks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        for path in self._new:
            path.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()


def _derive(samples: list[Sample], root: Path, write_mask, progress: bool) -> tuple[list[str], list[str]]:  # type: ignore[no-untyped-def]
    """Set the masks of fakes that have a source but no mask; return their paths, and a sentence for each failure."""
    waiting = [sample for sample in samples if sample.source and not sample.mask]

    def work(sample: Sample) -> str:
        try:
            mask = difference_mask(read_image(sample.path), read_image(sample.source), Differencing())
        except (ImageError, UsageError) as error:
            return f"{sample.path}: no mask derived from {sample.source}: {error}"
        if not 0 < mask.mean() <= LARGEST_COVERAGE:
            return f"{sample.path}: no mask derived: {mask.mean():.0%} of its pixels differ from {sample.source}"
        sample.mask = write_mask(os.path.relpath(os.path.splitext(sample.path)[0], root), mask)
        return ""

    with ThreadPoolExecutor() as pool:
        bar = tqdm(pool.map(work, waiting), total=len(waiting), desc="difference", unit=" images", disable=not progress)
        problems = [problem for problem in bar if problem]
    return [sample.path for sample in waiting if sample.mask], problems
