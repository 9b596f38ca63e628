"""Masks drawn by people into the manifest: everything is checked, then everything is imported, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np

from lae_tf.annotation import coco, label_studio, png
from lae_tf.annotation.items import Drawing, ImageNames
from lae_tf.annotation.round import Round
from lae_tf.annotation.store import VERDICTS_FILE, AnnotationStore
from lae_tf.data.contract import LARGEST_COVERAGE
from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError, ProblemsError, UsageError
from lae_tf.files.atomic import building, keep_copy, write_bytes
from lae_tf.files.json_files import read_json
from lae_tf.images.files import read_mask, write_png
from lae_tf.masks.coco_file import coco_files
from lae_tf.selection.budget import LIMIT, require_no_mask_share
from lae_tf.selection.rounds import IMPORT_FILE, not_fakes

FORMATS = ("annotations", "label-studio", "coco", "png")


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        masks: how many masks are in the manifest now that came from this import.
        replaced: how many of these replaced an earlier mask of the same image.
        withdrawn: how many masks drawn earlier left the manifest, because their image was judged not to be a fake.
        not_fake: images judged not to be fakes; the manifest still says otherwise. They have no mask, and use
            nothing of the budget.
        missing: selected images that have neither a mask, of whichever import, nor a verdict.
        share: of the training images that have a mask drawn by people, in [0, 1].
        manifest: the file that was updated.
        backup: copy of the manifest as it was before, or None where there was nothing to change.
    """

    masks: int
    replaced: int
    withdrawn: int
    not_fake: list[str]
    missing: list[str]
    share: float
    manifest: str
    backup: str | None


def detect_format(source: Path) -> str:
    """Tell from a file's or folder's content which of ``FORMATS`` it is.

    Raises:
        UsageError: it is nothing that can be imported.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder.")
    if source.is_dir():
        if (source / VERDICTS_FILE).is_file():
            return "annotations"
        return "coco" if coco_files(source) else "png"
    if source.suffix.lower() != ".json":
        raise UsageError(
            f"{source}: expected a JSON file of Label Studio or COCO, or a folder; unpack a ZIP archive first."
        )
    return "label-studio" if isinstance(read_json(source), list) else "coco"


def read_drawings(
    source: Path, kind: str, selected: Round, names: ImageNames, problems: list[str]
) -> Iterator[Drawing]:
    """Yield what annotators made of a round's images.

    Args:
        source: file or folder.
        kind: one of ``FORMATS``.
        selected: the round.
        names: of its images.
        problems: gets one sentence for each entry that cannot be used.

    Raises:
        UsageError: the source as a whole is not of this kind.
    """
    if kind == "annotations":
        return AnnotationStore(source, selected.items).drawings(problems)
    if kind == "png":
        return png.read_folder(source / "masks" if (source / "masks").is_dir() else source, names, problems)
    if kind == "coco":
        files = coco_files(source) if source.is_dir() else [source]
        if not files:
            raise UsageError(f"{source}: holds no COCO file; expected annotations/instances_*.json or the like.")
        return chain.from_iterable(coco.read_annotations(file, names, problems) for file in files)
    return label_studio.read_export(source, names, problems)


def import_masks(source: Path, kind: str, selected: Round, allow_over_budget: bool = False) -> Imported:
    """Check what annotators made of a round's images, and bring it into the manifest.

    Masks are checked for their image's size, for being empty, for covering more than ``LARGEST_COVERAGE``,
    and, but for the page's, where a person says "done", for being the attention that was exported as a start;
    images for being selected, in the manifest, fake and decided once; the manifest for its budget. Masks are
    stored in the folder ``masks-drawn`` beside the manifest, under names with a hash of their pixels: no file that
    is there is written again, so that the masks an older manifest names stay what they were.

    Args:
        source: file or folder.
        kind: one of ``FORMATS``.
        selected: the round.
        allow_over_budget: permit ``LIMIT`` of the training images and more.

    Raises:
        ProblemsError: lists everything that is wrong; nothing is changed.
        UsageError: the source or the manifest cannot be used; nothing is changed.
        LAEError: another command changes the run.
    """
    with selected.run.locked(), building(selected.masks) as staging:
        return _import(source, kind, selected, allow_over_budget, staging)


def _import(source: Path, kind: str, selected: Round, allow_over_budget: bool, staging: Path) -> Imported:
    require_no_mask_share(selected.data.mask_share)
    manifest = Manifest.read(selected.data.manifest)
    problems: list[str] = []
    names = ImageNames(selected.items, manifest.frame["path"])
    drawings = read_drawings(source, kind, selected, names, problems)
    masks, not_fake = _stage(drawings, manifest, selected.masks, staging, problems, starts=kind != "annotations")
    if names.strangers and not names.found:
        other = "belongs to another run or round; " if names.are_of_another_run() else ""
        raise UsageError(
            f"{source}: {other}none of its {len(names.strangers)} images, such as '{names.strangers[0]}', is "
            f"selected in {selected.folder} (nothing is imported)."
        )
    if not problems and not masks and not not_fake:
        raise UsageError(f"{source}: holds no finished mask or verdict for the selected images.")
    files = {path: selected.masks / name for path, name in masks.items()}
    updated, withdrawn = _with_masks(manifest, files, not_fake)
    share = _share(updated, selected)
    over = share >= LIMIT and not (allow_over_budget or selected.allow_over_budget)
    if masks and over:
        problems.append(
            f"masks for {100 * share:.2f} % of the training images, which must stay under {100 * LIMIT:g} %; "
            "import fewer, or add --allow-over-budget"
        )
    if problems:
        raise ProblemsError(f"{source} (nothing is imported)", problems)
    changed = masks or withdrawn
    backup = _commit(updated, staging, list(masks.values()), selected) if changed else None
    before = dict(zip(manifest.frame["path"], manifest.frame["mask"], strict=True))
    # Verdicts of an earlier import stand, unless a mask came since.
    not_fake += [path for path in not_fakes(selected.folder) if path not in masks and path not in not_fake]
    with_mask = set(updated.frame["path"][updated.frame["mask"] != ""])
    imported = Imported(
        masks=len(masks),
        replaced=sum(before[path] != "" for path in masks),
        withdrawn=withdrawn,
        not_fake=not_fake,
        missing=[str(item.image) for item in selected.items if str(item.image) not in with_mask.union(not_fake)],
        share=share,
        manifest=selected.data.manifest,
        backup=None if backup is None else str(backup),
    )
    write_bytes(selected.folder / IMPORT_FILE, json.dumps(asdict(imported), indent=2).encode("utf-8"), durable=True)
    return imported


def _stage(
    drawings: Iterable[Drawing], manifest: Manifest, folder: Path, staging: Path, problems: list[str], starts: bool
) -> tuple[dict[str, str], list[str]]:
    """Check drawings one by one and write their masks aside.

    Args:
        drawings: of the source.
        manifest: the run's.
        folder: where the masks will go.
        staging: where they wait.
        problems: gets one sentence for each drawing that cannot be used.
        starts: they may have started as the attention.

    Returns:
        File name of the mask by path of the image, and the paths judged not to be fakes.
    """
    labels = dict(zip(manifest.frame["path"], manifest.frame["label"], strict=True))
    masks: dict[str, str] = {}
    not_fake: list[str] = []
    first: dict[str, str] = {}
    for drawing in drawings:
        path = str(drawing.item.image)
        try:
            problem = _problem(drawing, labels, first, starts)
        except ImageError as error:
            problem = str(error)
        if problem:
            problems.append(f"{drawing.source}: {problem}")
            continue
        first[path] = drawing.source
        if drawing.mask is None:
            not_fake.append(path)
            continue
        masks[path] = _free_name(folder, drawing, drawing.mask)
        write_png(staging / masks[path], drawing.mask * np.uint8(255), durable=True)
    return masks, not_fake


def _free_name(folder: Path, drawing: Drawing, mask: np.ndarray) -> str:
    """Return the name of a file that is not in the folder yet, or holds exactly this mask."""
    stem = f"{drawing.item.name}-{hashlib.sha256(mask.tobytes()).hexdigest()[:12]}"
    names = chain([f"{stem}.png"], (f"{stem}-{number}.png" for number in count(2)))
    return next(name for name in names if not (folder / name).exists() or _holds(folder / name, mask))


def _holds(path: Path, mask: np.ndarray) -> bool:
    try:
        return np.array_equal(read_mask(path), mask)
    except ImageError:
        return False


def _problem(drawing: Drawing, labels: dict[str, str], first: dict[str, str], starts: bool) -> str:
    path, mask = str(drawing.item.image), drawing.mask
    if path not in labels:
        return f"{path} is not in the manifest any more"
    if labels[path] != "fake":
        return f"{path} is {labels[path]} in the manifest; only fakes have masks"
    if path in first:
        return f"{path} is decided twice, also in {first[path]}"
    if mask is None:
        return ""
    height, width = drawing.item.size()
    if mask.shape != (height, width):
        return f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, the image has {width} x {height}"
    coverage = float(mask.mean())
    if coverage == 0:
        return "the mask is empty; draw the forged region, or remove it and leave the image unlabelled"
    if coverage > LARGEST_COVERAGE:
        limit = 100 * LARGEST_COVERAGE
        return f"the mask covers {100 * coverage:.1f} % of the image, more than {limit:g} %; is it inverted?"
    start = drawing.item.starting_mask(height, width) if starts else None
    if start is not None and np.array_equal(mask, start):
        return f"the mask of {path} is the model's attention as it was exported; correct it, or remove it"
    return ""


def _with_masks(manifest: Manifest, masks: dict[str, Path], not_fake: Iterable[str]) -> tuple[Manifest, int]:
    """Return the manifest with new masks and without those that people drew on what is no fake; and these's number."""
    frame = manifest.frame.copy()
    if "mask_source" not in frame:
        frame["mask_source"] = ""
    files = frame["path"].map(masks)
    drawn = files.notna()
    frame.loc[drawn, "mask"] = files[drawn].map(str)
    frame.loc[drawn, "mask_source"] = "human"
    withdrawn = frame["path"].isin(list(not_fake)) & (frame["mask_source"] == "human")
    frame.loc[withdrawn, ["mask", "mask_source"]] = ""
    return Manifest(frame, manifest.root), int(withdrawn.sum())


def _share(manifest: Manifest, selected: Round) -> float:
    """Return the budget used, counted over the images that the run trains on."""
    methods = selected.data.train_methods
    known = set(manifest.frame["method"])
    kept = manifest if methods is None else manifest.select(methods=[method for method in methods if method in known])
    return kept.mask_budget()


def _commit(updated: Manifest, staging: Path, names: list[str], selected: Round) -> Path:
    """Move the masks to their place, keep the old manifest, and replace it: the one step that counts is last."""
    file = Path(selected.data.manifest)
    new = [name for name in names if not (selected.masks / name).exists()]
    backup = None
    try:
        selected.masks.mkdir(parents=True, exist_ok=True)
        for name in new:
            os.replace(staging / name, selected.masks / name)
        backup = keep_copy(file)
        updated.write(file)
    except BaseException:
        for path in (*(selected.masks / name for name in new), *filter(None, [backup])):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            selected.masks.rmdir()
        raise
    return backup
