"""From a folder of real images to a folder of real and forged ones, with masks and a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from lae_tf.data.contract import COLUMNS, SPLITS
from lae_tf.data.manifest import Manifest
from lae_tf.data.splits import DEFAULT_SHARES
from lae_tf.datasets.forge_sources import Source, divide_sources, find_real, placed, sources_of
from lae_tf.errors import ImageError, ProblemsError, UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.files.walking import LeftOut
from lae_tf.forge.face_swap import DonorError
from lae_tf.forge.methods import find_method, forge_image, generator
from lae_tf.forge.post_processing import PostProcessing, post_process
from lae_tf.images.files import read_image, status_of, write_jpeg, write_png

_DONORS = 10  # draws of a donor, as not every image may show a face
_TEMPORARY = re.compile(r"\.[0-9a-f]+\.tmp(\..*)?")  # names that a kill leaves of files half written


@dataclass(frozen=True)
class Forged:
    """What :func:`forge_folder` made.

    Attributes:
        manifest: of ``OUT/manifest.csv``.
        problems: one sentence for each image that could not be read or forged.
    """

    manifest: Manifest
    problems: list[str]


@dataclass(frozen=True)
class _Task:
    source: Source
    method: str
    number: int
    name: str  # of the result, as a source's


class ForgeOptions(NamedTuple):
    """What may be chosen where a folder is forged.

    Attributes:
        per_image: forgeries per image and method.
        splits: shares of the images for training, validation and test; groups stay whole, and each share above zero
            gets at least one.
        groups: file -> group, for files in ``real``; without it each image is its own group, and all frames of a
            video extracted by ``lae-tf frames`` are one.
        group_splits: group -> split, instead of ``splits``.
        post_processing: what befalls every written image, real and forged alike, after forging; forgeries are
            made from the images before it, and masks stay exact in their place.
        jpeg: lowest and highest quality, 1 to 100, at which every image, real and forged alike, is saved after all;
            None saves all without loss.
        workers: threads; default: one per processor.
    """

    per_image: int = 1
    splits: tuple[float, float, float] = DEFAULT_SHARES
    groups: Mapping[str, str] | None = None
    group_splits: Mapping[str, str] | None = None
    post_processing: PostProcessing | None = None
    jpeg: tuple[int, int] | None = None
    workers: int | None = None


class _Place(NamedTuple):
    """Where results go and what befalls them on the way."""

    folder: Path
    seed: int
    options: ForgeOptions

    @property
    def suffix(self) -> str:
        return ".jpg" if self.options.jpeg else ".png"

    def image(self, kind: str, name: str) -> Path:
        """Return the file of a real image (``real``), or of a forgery by a method."""
        return self.folder / kind / f"{name}{self.suffix}"

    def mask(self, method: str, name: str) -> Path:
        return self.folder / "masks" / method / f"{name}.png"

    def save(self, image: np.ndarray, kind: str, source: str, number: int | None, file: Path) -> None:
        """Write an image; ``kind``, its source's name and its number decide what befalls it."""
        draw = (kind, source) if number is None else (kind, source, number)
        if self.options.post_processing is not None:
            rng = generator(self.seed, "post-process", *draw)
            image = post_process(image, rng, self.options.post_processing)
        if self.options.jpeg is None:
            write_png(file, image)
            return
        low, high = self.options.jpeg
        write_jpeg(file, image, int(generator(self.seed, "jpeg", *draw).integers(low, high + 1)))


def forge_folder(
    real: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    methods: Sequence[str],
    seed: int,
    options: ForgeOptions | None = None,
    progress: bool = True,
) -> Forged:
    """Forge real images with each method, and write all of them with a manifest.

    Writes ``OUT/real/*.png`` (lossless copies, so that real and fake images have one and the same history),
    ``OUT/<method>/*.png``, ``OUT/masks/<method>/*.png`` (255 = forged), ``OUT/manifest.csv`` and ``OUT/forge.json``
    (what was asked for); images are ``*.jpg`` with ``options.jpeg``. Stopped at any moment it goes on where it was.
    Each forgery depends on the seed, the method, the image and its name; with a donor, which comes from the same
    split (a face swap's shows a face), also on which other images there are.

    Args:
        real: folder, searched with its sub-folders, or the files themselves.
        out_dir: folder to write to.
        methods: names in ``METHODS``.
        seed: of the forgeries and of the splits.
        options: how, if not by the defaults.
        progress: show a progress bar on stderr.

    Raises:
        UsageError: nothing to read, an unknown method, shares that are not shares, too few groups or donors for the
            splits, or an ``out_dir`` that holds forgeries made otherwise.
        ProblemsError: no image could be used.
    """
    options = options or ForgeOptions()
    per_image, group_splits = options.per_image, options.group_splits
    out = Path(os.path.abspath(out_dir))
    methods = list(dict.fromkeys(methods))
    request: dict[str, Any] = {
        "seed": seed,
        "per_image": per_image,
        "methods": {method: asdict(find_method(method).params) for method in methods},
    }
    if options.post_processing is not None:
        request["post_processing"] = asdict(options.post_processing)
    if options.jpeg is not None:
        if not 1 <= options.jpeg[0] <= options.jpeg[1] <= 100:
            raise UsageError(f"jpeg is {options.jpeg}, expected the lowest and then the highest quality, 1 to 100")
        request["jpeg"] = list(options.jpeg)
    if not methods:
        raise UsageError("no method given; name at least one")
    if per_image < 1:
        raise UsageError(f"per_image is {per_image}, expected at least 1")
    left_out: list[LeftOut] = []
    folder, files = find_real(real, out, left_out)
    sources = sources_of(folder, files, options.groups)
    if group_splits is None:
        group_splits = divide_sources(sources, methods, options.splits, seed)
    sources = placed(sources, group_splits)
    place = _Place(out, seed, options)
    _claim(place, request, sources)

    problems: list[str] = []
    pool = ThreadPoolExecutor(options.workers)
    try:

        def forge(task: _Task) -> str:
            return _forge(task, donors[task.source.split], place)

        def run(tasks: Sequence[Any], work: Callable[[Any], str], title: str) -> list[Any]:
            """Return the tasks that succeeded."""
            outcomes = tqdm(pool.map(work, tasks), total=len(tasks), desc=title, unit="image", disable=not progress)
            good = []
            for task, problem in zip(tasks, outcomes, strict=True):
                if problem:
                    problems.append(problem)
                else:
                    good.append(task)
            return good

        usable = run(sources, lambda source: _copy(source, place), "read real images")
        problems += [one.sentence for one in left_out]
        donors = {split: [source for source in usable if source.split == split] for split in SPLITS}
        made = run(list(_tasks(usable, methods, per_image)), forge, "forge")
    finally:
        pool.shutdown(cancel_futures=True)
    if not made:
        raise ProblemsError(str(out), problems or ["nothing was forged"])

    rows = [(str(place.image("real", s.name).relative_to(out)), "real", "", s.group, "", s.split) for s in usable]
    for task in made:
        source, method = task.source, task.method
        image, mask = place.image(method, task.name).relative_to(out), place.mask(method, task.name).relative_to(out)
        rows.append((str(image), "fake", str(mask), source.group, method, source.split))
    manifest = Manifest.from_frame(pd.DataFrame(rows, columns=list(COLUMNS)), out)
    manifest.write(out / "manifest.csv")
    return Forged(manifest, problems)


def _tasks(sources: Sequence[Source], methods: Iterable[str], per_image: int) -> Iterator[_Task]:
    for method in methods:
        for source in sources:
            for k in range(per_image):
                yield _Task(source, method, k, f"{source.name}/{k + 1}" if per_image > 1 else source.name)


def _copy(source: Source, place: _Place) -> str:
    """Store a real image; return a problem or nothing."""
    target = place.image("real", source.name)
    try:
        if not target.is_file():
            place.save(read_image(source.path), "real", source.name, None, target)
    except ImageError as error:
        return str(error)
    return ""


def _forge(task: _Task, same_split: Sequence[Source], place: _Place) -> str:
    """Make one forgery; return a problem or nothing."""
    source, method = task.source, task.method
    target, mask_target = place.image(method, task.name), place.mask(method, task.name)
    if target.is_file() and mask_target.is_file():
        return ""
    rng = generator(place.seed, method, source.name, task.number)
    choice: list[Source] = []
    if find_method(method).needs_donor:
        choice = [other for other in same_split if other.group != source.group]
        choice = choice or [other for other in same_split if other.name != source.name]
        if not choice:
            return f"{source.path}: {method} needs a second image in the split {source.split}"
    for _ in range(_DONORS):
        try:
            image = read_image(source.path)
            donor = read_image(choice[rng.integers(len(choice))].path) if choice else None
            forged, mask = forge_image(method, image, rng, donor)
            break
        except DonorError:
            continue
        except ImageError as error:
            return f"{source.path}: {error}"
    else:
        return f"{source.path}: {method} found no face in {_DONORS} images drawn from the split {source.split}"
    write_png(mask_target, mask * 255)
    place.save(forged, method, source.name, task.number, target)
    return ""


def _bytes(path: str) -> int | None:
    """Return a file's size, by which a picture that was replaced is noticed wherever the folder lies."""
    try:
        return status_of(path).st_size
    except ImageError:
        return None  # reported when it is read


def _claim(place: _Place, request: dict[str, Any], sources: Sequence[Source]) -> None:
    """Make the folder the place of these forgeries, or refuse if it is that of others."""
    out = place.folder
    listing = json.dumps([(source.name, source.group, source.split, _bytes(source.path)) for source in sources])
    request = {**request, "images": len(sources), "listing": hashlib.sha256(listing.encode()).hexdigest()}
    text = json.dumps(request, indent=2)
    record = out / "forge.json"
    if record.is_file():
        asked, earlier = json.loads(text), _read_record(record)
        if earlier is None:
            # Whatever lies there may have been made otherwise: it is made again, not taken over.
            for file in _results(sources, request["methods"], place):
                file.unlink(missing_ok=True)
        elif earlier != asked:
            keys = [key for key in {**asked, **earlier} if earlier.get(key) != asked.get(key)]
            raise UsageError(f"{out}: holds forgeries made otherwise (different {', '.join(keys)}); use another folder")
    elif out.is_dir() and not all(_TEMPORARY.fullmatch(entry.name) for entry in out.iterdir()):
        raise UsageError(f"{out}: is not empty and holds no forge.json; use another folder")
    write_bytes(record, (text + "\n").encode())


def _read_record(record: Path) -> dict[str, Any] | None:
    """Return what was asked for, or None if the file is damaged, as after a power cut."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _results(sources: Sequence[Source], methods: Iterable[str], place: _Place) -> Iterator[Path]:
    """Yield the files that will be written, manifest apart."""
    yield from (place.image("real", source.name) for source in sources)
    for task in _tasks(sources, methods, place.options.per_image):
        yield place.image(task.method, task.name)
        yield place.mask(task.method, task.name)
