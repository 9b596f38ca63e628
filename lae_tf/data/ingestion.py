"""Before training: images are verified once, those that the graph cannot decode cached as PNG, and masks must mark."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError, ProblemsError
from lae_tf.files.atomic import write_bytes
from lae_tf.images.files import normalise, read_bytes, read_mask, status_of


def decodable(manifest: Manifest, cache_dir: str | os.PathLike[str], progress: bool = True) -> Manifest:
    """Return a manifest whose files the graph can decode; arguments and errors are those of :func:`ingest`."""
    return manifest.with_files(lambda files: ingest(files, cache_dir, progress))


def ingest(
    paths: Sequence[str | os.PathLike[str]], cache_dir: str | os.PathLike[str], progress: bool = True
) -> list[str]:
    """Verify image files, and bring those that the graph cannot decode into a cache of PNG files.

    A file that was found sound is not decoded again while its size and time of change stay the same.

    Args:
        paths: image files.
        cache_dir: folder of the cache; made if it is missing.
        progress: show a progress bar on stderr.

    Returns:
        For each path the file to read instead, which is mostly the path itself.

    Raises:
        ProblemsError: names every file that cannot be used.
    """
    cache = Path(cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    record = cache / "verified.txt"
    known = dict(_recorded(record))
    problems: list[str] = []
    used: list[str] = []

    def visit(path: str) -> tuple[str, str | None, str]:
        """Return the file's fingerprint, the name in the cache ("-" = the file itself) and a problem."""
        try:
            fingerprint = _fingerprint(path)
            name = known.get(fingerprint)
            if name is None or (name != "-" and not (cache / name).is_file()):
                name = _ingest_one(path, cache)
            return fingerprint, name, ""
        except ImageError as error:
            return "", None, str(error)

    names = [os.fspath(path) for path in paths]
    with ThreadPoolExecutor() as pool, record.open("a", encoding="ascii") as log:
        results = pool.map(visit, names)
        bar = tqdm(results, total=len(names), desc="verify images", unit="image", disable=not progress)
        for path, (fingerprint, name, problem) in zip(names, bar, strict=True):
            if name is None:
                problems.append(problem)
                continue
            used.append(path if name == "-" else str(cache / name))
            if known.get(fingerprint) != name:
                log.write(f"{fingerprint} {name}\n")
    if problems:
        raise ProblemsError("images", problems)
    return used


def require_marked(masks: Sequence[str | os.PathLike[str]]) -> None:
    """Refuse masks of fakes that mark nothing: they would teach that nothing was forged.

    Args:
        masks: mask files of fakes.

    Raises:
        ProblemsError: names every mask that is empty or cannot be read.
    """

    def problem(path: str | os.PathLike[str]) -> str:
        try:
            marked = read_mask(path).any()
        except ImageError as error:
            return str(error)
        return "" if marked else f"{path} marks nothing, but its image is a fake: draw it anew or leave the cell empty"

    with ThreadPoolExecutor() as pool:
        problems = [sentence for sentence in pool.map(problem, masks) if sentence]
    if problems:
        raise ProblemsError("masks", problems)


def _recorded(record: Path) -> list[tuple[str, str]]:
    if not record.is_file():
        return []
    lines = (line.split() for line in record.read_text(encoding="ascii", errors="replace").splitlines())
    return [(words[0], words[1]) for words in lines if len(words) == 2]


def _fingerprint(path: str) -> str:
    status = status_of(path)
    text = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _ingest_one(path: str, cache: Path) -> str:
    data = read_bytes(path)
    name = f"{hashlib.sha256(data).hexdigest()}.png"
    if not (cache / name).is_file():
        usable = normalise(data, path)
        if usable is data:
            return "-"
        write_bytes(cache / name, usable)
    return name
