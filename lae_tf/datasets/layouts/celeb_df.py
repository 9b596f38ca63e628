"""Celeb-DF, first and second version (Li et al. 2020)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lae_tf.datasets.layouts.samples import Found, Sample, clips, missing, require_samples
from lae_tf.errors import UsageError

_LIST = "List_of_testing_videos.txt"
_REAL = ("Celeb-real", "YouTube-real")
_FAKE = "Celeb-synthesis"
_METHOD = "celeb-synthesis"


def find(root: Path) -> Found:
    """Find the frames of real and synthesised videos.

    A fake ``id1_id2_0003`` is the video ``id1_0003`` with the face of id2, and in its group. Videos in
    ``List_of_testing_videos.txt`` are test images; if the fakes of one video are on both sides of the list,
    those that it does not name are left out. People occur on both sides of the official list.

    Raises:
        UsageError: nothing found, or a damaged list.
    """
    found = Found()
    tested = _read_list(root / _LIST)
    originals: dict[str, dict[str, str]] = {}
    seen = set()
    for folder in _REAL:
        for name, frames in clips(root / folder).items():
            seen.add(f"{folder}/{name}")
            split = "test" if f"{folder}/{name}" in tested else ""
            group = name if folder == "Celeb-real" else f"youtube_{name}"
            originals[group] = frames
            found.samples += [Sample(path, group, split=split) for path in frames.values()]
    for name, frames in clips(root / _FAKE).items():
        clip = f"{_FAKE}/{name}"
        seen.add(clip)
        group = _target(name)
        split = "test" if clip in tested else ""
        source = originals.get(group, {})
        if not source:
            found.unmatched.append(f"{clip}: its original {group} is not there")
        else:
            found.unmatched += missing(clip, f"have no frame of the original {group}", frames.keys() - source.keys())
        found.samples += [
            Sample(path, group, _METHOD, split, source=source.get(frame, "")) for frame, path in frames.items()
        ]
    require_samples(found, root, "Celeb-real/id0_0000/000000.png and so on")
    found.unmatched += [f"{_LIST} names {name}, which is not there" for name in sorted(tested - seen)]
    groups = {sample.group for sample in found.samples if sample.split}
    _keep_apart(found, groups)
    return found


def original_video(root: Path, video: PurePosixPath) -> str | None:
    """Return the video that a synthesised one was made from."""
    if video.parent.name != _FAKE:
        return None
    return str(video.parent.parent / "Celeb-real" / (_target(video.stem) + video.suffix))


def _target(name: str) -> str:
    """Return the video that ``<target>_<donor>_<number>`` was made from."""
    parts = name.split("_")
    return f"{parts[0]}_{parts[-1]}" if len(parts) > 1 else name


def _keep_apart(found: Found, groups: set[str]) -> None:
    """Leave out what the list does not name of a group that it names: a group has one split."""
    left: dict[str, list[str]] = {}
    kept = []
    for sample in found.samples:
        if sample.group in groups and not sample.split:
            left.setdefault(sample.group, []).append(sample.path)
        else:
            kept.append(sample)
    found.samples = kept
    for group, paths in sorted(left.items()):
        sentence = f"group {group}: {len(paths)} images left out, since {_LIST} names other videos of the group"
        found.leave_out(sentence, paths)


def _read_list(path: Path) -> set[str]:
    """Return the videos in the list, without suffix; its lines are ``<1 = real, 0 = fake> <video>``."""
    if not path.is_file():
        return set()
    names = set()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in ("0", "1"):
            raise UsageError(f"{path}, line {number}: found '{line}', expected '1 Celeb-real/id0_0000.mp4' or the like")
        names.add(PurePosixPath(words[1].replace("\\", "/")).with_suffix("").as_posix())
    return names
