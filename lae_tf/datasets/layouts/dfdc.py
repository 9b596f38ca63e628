"""The Deepfake Detection Challenge (Dolhansky et al. 2020)."""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath, PureWindowsPath

from lae_tf.datasets.layouts.samples import Found, Sample, clips, missing, require_samples
from lae_tf.errors import UsageError
from lae_tf.files.json_files import read_json
from lae_tf.files.walking import files_below

_METADATA = "metadata.json"
_METHOD = "dfdc"
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


def find(root: Path) -> Found:
    """Find the frames of videos that ``metadata.json`` files list, each in the folder of its videos.

    A fake is in the group of its ``original``. If the files name several splits, these are taken; the
    published training parts all say ``train``, and are then divided anew.

    Raises:
        UsageError: nothing found, or damaged metadata.
    """
    found = Found(reason=f"listed in no {_METADATA}")
    videos: dict[str, tuple[str, dict, dict[str, str]]] = {}
    for path in sorted(path for path in files_below(root) if path.name == _METADATA):
        frames_of = clips(path.parent)
        place = path.parent.relative_to(root).as_posix()
        listed = _read(path)
        for name, facts in listed.items():
            stem = _stem(name)
            if stem not in frames_of:
                found.unmatched.append(f"{place}/{name}: in {_METADATA}, but has no frames")
            elif stem in videos:
                sentence = f"{place}/{name}: is in {videos[stem][0]} too; left out"
                found.leave_out(sentence, frames_of[stem].values())
            else:
                videos[stem] = (place, facts, frames_of[stem])
        for name in sorted(frames_of.keys() - {_stem(name) for name in listed}):
            found.leave_out(f"{place}/{name}: is not in {_METADATA}", frames_of[name].values())
    several = len({facts.get("split") for _, facts, _ in videos.values()}) > 1
    for name, (place, facts, frames) in videos.items():
        split = _SPLITS.get(str(facts.get("split", "")).lower(), "") if several else ""
        if facts["label"] == "REAL":
            found.samples += [Sample(path, name, split=split) for path in frames.values()]
            continue
        original = _stem(str(facts.get("original") or name))
        source = videos.get(original, ("", {}, {}))[2]
        if not source:
            found.unmatched.append(f"{place}/{name}: its original {original} is not there")
        else:
            found.unmatched += missing(
                f"{place}/{name}", f"have no frame of the original {original}", frames.keys() - source.keys()
            )
        found.samples += [
            Sample(path, original, _METHOD, split, source=source.get(frame, "")) for frame, path in frames.items()
        ]
    return require_samples(found, root, "metadata.json beside folders of frames named as the videos")


def original_video(root: Path, video: PurePosixPath) -> str | None:
    """Return the video that the metadata names as the original."""
    facts = _read_cached(root / video.parent / _METADATA).get(video.name, {})
    original = facts.get("original") if facts.get("label") == "FAKE" else None
    return str(video.parent / PureWindowsPath(str(original)).name) if original else None


def _stem(name: str) -> str:
    """Return a video's name without folder and suffix, whichever system wrote it."""
    return PureWindowsPath(name).stem


@functools.lru_cache(maxsize=64)
def _read_cached(path: Path) -> dict[str, dict]:
    return _read(path) if path.is_file() else {}


def _read(path: Path) -> dict[str, dict]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UsageError(f'{path}: expected {{"video.mp4": {{"label": "FAKE", "original": "other.mp4"}}, ...}}')
    for name, facts in content.items():
        if not isinstance(facts, dict) or facts.get("label") not in ("REAL", "FAKE"):
            raise UsageError(f"{path}, '{name}': expected a label REAL or FAKE")
    return content
