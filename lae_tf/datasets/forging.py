"""From a folder of real images to a folder of real and forged ones, with masks and a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from lae_tf.data.contract import COLUMNS, SPLITS, require_shares
from lae_tf.data.finding import images_below
from lae_tf.data.manifest import Manifest
from lae_tf.data.splits import DEFAULT_SHARES, divide
from lae_tf.datasets.extraction import holds_frames
from lae_tf.errors import ImageError, ProblemsError, UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.files.walking import LeftOut
from lae_tf.forge.face_swap import DonorError
from lae_tf.forge.methods import find_method, forge_image, generator
from lae_tf.forge.post_processing import PostProcessing, post_process
from lae_tf.images.files import SUFFIXES, read_image, status_of, write_png

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
class _Source:
    path: str
    name: str  # relative to the common folder, without suffix, in POSIX form
    group: str
    split: str


@dataclass(frozen=True)
class _Task:
    source: _Source
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
        workers: threads; default: one per processor.
    """

    per_image: int = 1
    splits: tuple[float, float, float] = DEFAULT_SHARES
    groups: Mapping[str, str] | None = None
    group_splits: Mapping[str, str] | None = None
    post_processing: PostProcessing | None = None
    workers: int | None = None


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
    ``OUT/<method>/*.png``, ``OUT/masks/<method>/*.png`` (255 = forged), ``OUT/manifest.csv`` and
    ``OUT/forge.json`` (what was asked for). Stopped at any moment it goes on where it was. Each forgery
    depends on the seed, the method, the image and its name; with a donor, which comes from the same split (a face
    swap's shows a face), also on which other images there are.

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
    per_image, splits, groups, group_splits, post_processing, workers = options or ForgeOptions()
    out = Path(os.path.abspath(out_dir))
    methods = list(dict.fromkeys(methods))
    request: dict[str, Any] = {
        "seed": seed,
        "per_image": per_image,
        "methods": {method: asdict(find_method(method).params) for method in methods},
    }
    if post_processing is not None:
        request["post_processing"] = asdict(post_processing)
    if not methods:
        raise UsageError("no method given; name at least one")
    if per_image < 1:
        raise UsageError(f"per_image is {per_image}, expected at least 1")
    left_out: list[LeftOut] = []
    folder, files = _find(real, out, left_out)
    sources = _sources(folder, files, groups)
    if group_splits is None:
        group_splits = _divide(sources, methods, splits, seed)
    sources = _placed(sources, group_splits)
    _claim(out, request, sources, per_image)

    problems: list[str] = []
    pool = ThreadPoolExecutor(workers)
    try:

        def forge(task: _Task) -> str:
            return _forge(task, seed, donors[task.source.split], post_processing, out)

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

        usable = run(sources, lambda source: _copy(source, seed, post_processing, out), "read real images")
        problems += [one.sentence for one in left_out]
        donors = {split: [source for source in usable if source.split == split] for split in SPLITS}
        made = run(list(_tasks(usable, methods, per_image)), forge, "forge")
    finally:
        pool.shutdown(cancel_futures=True)
    if not made:
        raise ProblemsError(str(out), problems or ["nothing was forged"])

    rows = [(f"real/{s.name}.png", "real", "", s.group, "", s.split) for s in usable]
    for task in made:
        source, file = task.source, f"{task.method}/{task.name}.png"
        rows.append((file, "fake", f"masks/{file}", source.group, task.method, source.split))
    manifest = Manifest.from_frame(pd.DataFrame(rows, columns=list(COLUMNS)), out)
    manifest.write(out / "manifest.csv")
    return Forged(manifest, problems)


def _tasks(sources: Sequence[_Source], methods: Iterable[str], per_image: int) -> Iterator[_Task]:
    for method in methods:
        for source in sources:
            for k in range(per_image):
                yield _Task(source, method, k, f"{source.name}/{k + 1}" if per_image > 1 else source.name)


def _copy(source: _Source, seed: int, post_processing: PostProcessing | None, out: Path) -> str:
    """Store a real image; return a problem or nothing."""
    target = out / "real" / f"{source.name}.png"
    try:
        if not target.is_file():
            image = read_image(source.path)
            if post_processing is not None:
                image = post_process(image, generator(seed, "post-process", "real", source.name), post_processing)
            write_png(target, image)
    except ImageError as error:
        return str(error)
    return ""


def _forge(
    task: _Task, seed: int, same_split: Sequence[_Source], post_processing: PostProcessing | None, out: Path
) -> str:
    """Make one forgery; return a problem or nothing."""
    source, method = task.source, task.method
    target = out / method / f"{task.name}.png"
    mask_target = out / "masks" / method / f"{task.name}.png"
    if target.is_file() and mask_target.is_file():
        return ""
    rng = generator(seed, method, source.name, task.number)
    choice: list[_Source] = []
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
    if post_processing is not None:
        rng = generator(seed, "post-process", method, source.name, task.number)
        forged = post_process(forged, rng, post_processing)
    write_png(mask_target, mask * 255)
    write_png(target, forged)
    return ""


def _find(
    real: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: Path, left_out: list[LeftOut]
) -> tuple[Path, list[str]]:
    """Return the folder that all real images lie below, and their absolute paths."""
    if isinstance(real, (str, os.PathLike)):
        folder = Path(os.path.abspath(real))
        if not folder.is_dir():
            raise UsageError(f"{real}: no such folder of real images")
        # the results may lie below the real images, and are no input
        files = sorted(images_below(folder, without=out, left_out=left_out))
        if not files:
            said = f". Left out: {left_out[0].sentence}" if left_out else ""
            raise UsageError(f"{real}: holds no image ({', '.join(SUFFIXES)}){said}")
        return folder, files
    files = sorted({os.path.abspath(path) for path in real})
    if not files:
        raise UsageError("no real images given")
    return Path(os.path.commonpath([os.path.dirname(path) for path in files])), files


def _sources(folder: Path, files: Sequence[str], groups: Mapping[str, str] | None) -> list[_Source]:
    """Return the real images with their groups, and no split yet."""
    names = _names(files, folder)
    if groups is None:
        videos = {path: holds_frames(path) for path in set(map(os.path.dirname, files))}
        pairs = zip(files, names, strict=True)
        found = [os.path.dirname(name) or "." if videos[os.path.dirname(path)] else name for path, name in pairs]
    else:
        by_path = {os.path.abspath(path): group for path, group in groups.items()}
        missing = [path for path in files if path not in by_path]
        if missing:
            raise UsageError(f"{missing[0]}: has no group; {len(missing)} of {len(files)} files have none")
        found = [by_path[path] for path in files]
    return [_Source(path, name, group, "") for path, name, group in zip(files, names, found, strict=True)]


def _placed(sources: Sequence[_Source], home: Mapping[str, str]) -> list[_Source]:
    for source in sources:
        if home.get(source.group) not in SPLITS:
            found = home.get(source.group)
            raise UsageError(f"group '{source.group}': split is {found}, expected {', '.join(SPLITS)}")
    return [replace(source, split=home[source.group]) for source in sources]


def _names(files: Sequence[str], folder: Path) -> list[str]:
    """Return the name of each file's results, without suffixes unless ``a.jpg`` lies beside ``a.png``."""
    whole = [Path(path).relative_to(folder) for path in files]
    plain = [path.with_suffix("").as_posix() for path in whole]
    return plain if len(set(plain)) == len(plain) else [path.as_posix() for path in whole]


def _divide(
    sources: Sequence[_Source], methods: Sequence[str], splits: tuple[float, float, float], seed: int
) -> dict[str, str]:
    require_shares(splits)
    shares = {split: share for split, share in zip(SPLITS, splits, strict=True) if share > 0}
    sizes = Counter(source.group for source in sources)
    units = {group: [group] for group in sizes}
    if all(find_method(method).needs_donor for method in methods):
        units = _in_company(sizes, seed)
        if len(units) < len(shares) <= len(sizes):
            raise UsageError(
                f"{len(sources)} images cannot give each of the splits {', '.join(shares)} two, and "
                f"{', '.join(methods)} needs a second one as donor; add images, ask for fewer splits (--splits), or "
                "name a method without donors"
            )
    numbers = {unit: {"": sum(sizes[group] for group in members)} for unit, members in units.items()}
    home = divide(numbers, shares, seed)
    return {group: home[unit] for unit, members in units.items() for group in members}


def _in_company(sizes: Mapping[str, int], seed: int) -> dict[str, list[str]]:
    """Put groups of one image together by twos or threes, so that no split gets an image without a donor."""
    single = [group for group, size in sizes.items() if size == 1]
    single.sort(key=lambda group: hashlib.sha256(f"{seed}\0{group}".encode("utf-8", "surrogateescape")).digest())
    units = {group: [group] for group, size in sizes.items() if size > 1}
    units |= {single[i]: single[i : i + 2] for i in range(0, len(single) - 1, 2)}
    if len(single) % 2:
        units.setdefault(min(units, default=single[-1]), []).append(single[-1])
    return units


def _bytes(path: str) -> int | None:
    """Return a file's size, by which a picture that was replaced is noticed wherever the folder lies."""
    try:
        return status_of(path).st_size
    except ImageError:
        return None  # reported when it is read


def _claim(out: Path, request: dict[str, Any], sources: Sequence[_Source], per_image: int) -> None:
    """Make ``out`` the place of these forgeries, or refuse if it is that of others."""
    listing = json.dumps([(source.name, source.group, source.split, _bytes(source.path)) for source in sources])
    request = {**request, "images": len(sources), "listing": hashlib.sha256(listing.encode()).hexdigest()}
    text = json.dumps(request, indent=2)
    record = out / "forge.json"
    if record.is_file():
        asked, earlier = json.loads(text), _read_record(record)
        if earlier is None:
            # Whatever lies there may have been made otherwise: it is made again, not taken over.
            for file in _results(sources, request["methods"], per_image):
                (out / file).unlink(missing_ok=True)
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


def _results(sources: Sequence[_Source], methods: Iterable[str], per_image: int) -> Iterator[str]:
    """Yield the files that will be written below the folder, manifest apart."""
    yield from (f"real/{source.name}.png" for source in sources)
    for task in _tasks(sources, methods, per_image):
        yield f"{task.method}/{task.name}.png"
        yield f"masks/{task.method}/{task.name}.png"
