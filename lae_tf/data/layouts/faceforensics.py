"""FaceForensics++ (Roessler et al. 2019), with the videos of DeepFakeDetection if they are there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lae_tf.data.contract import SPLITS
from lae_tf.data.layouts.samples import Components, Found, Sample, clips, missing, read_json, require_samples
from lae_tf.errors import UsageError

COMPRESSIONS = ("raw", "c0", "c23", "c40")
_CONTENTS = ("videos", "frames", "images")
_ACTORS = "actors"


def find(root: Path, compression: str | None = None) -> Found:
    """Find the frames of originals and fakes, with their masks and sources.

    A fake ``071_054`` is video 071 with the face of 054: both originals, and the fakes of both directions, are
    one group. The official ``train.json``, ``val.json`` and ``test.json`` give the splits; they do not list
    the videos of DeepFakeDetection, whose actors all meet each other: these are one group, and test images
    where the split files exist (our rule).

    Args:
        root: folder with ``original_sequences`` and ``manipulated_sequences``.
        compression: raw, c0, c23 or c40; None takes all there are.

    Raises:
        UsageError: nothing found, or damaged split files.
    """
    found = Found()
    pairs, split_of = _read_splits(root)
    originals = _videos(root / "original_sequences", compression)
    fakes = _videos(root / "manipulated_sequences", compression)
    components = Components()
    for pair in pairs:
        components.join(*pair)
    for (folder, _, name), _ in originals.items():
        components.join(_members(name, folder == _ACTORS)[0])
    for (_, _, name), _ in fakes.items():
        components.join(*_members(name, "__" in name))

    for (folder, _, name), frames in originals.items():
        group, split = _place(_members(name, folder == _ACTORS)[0], components, split_of)
        found.samples += [Sample(path, group, split=split) for path in frames.values()]
    masks_of = {method.name: _masks(method) for method in _folders(root / "manipulated_sequences")}
    used: set[tuple[str, str]] = set()
    for (method, quality, name), frames in fakes.items():
        members = _members(name, "__" in name)
        group, split = _place(members[0], components, split_of)
        folder, target = (_ACTORS, _scene(name)) if "__" in name else ("youtube", members[0])
        source = originals.get((folder, quality, target), {})
        clip = f"manipulated_sequences/{method}/{quality}/{name}"
        if not source:
            found.unmatched.append(f"{clip}: its original {target} ({quality}) is not there")
        else:
            found.unmatched += missing(clip, f"have no frame of the original {target}", frames.keys() - source.keys())
        masks = masks_of[method].get(name, {})
        used.add((method, name))
        if masks_of[method]:
            found.unmatched += missing(clip, "have no mask", frames.keys() - masks.keys())
            found.unmatched += missing(clip, "of the masks have no image", masks.keys() - frames.keys())
        found.samples += [
            Sample(path, group, method, split, masks.get(frame, ""), source.get(frame, ""))
            for frame, path in frames.items()
        ]
    for method, masks_by_name in masks_of.items():
        for name in sorted(masks_by_name):
            if (method, name) not in used:
                found.unmatched.append(f"manipulated_sequences/{method}/masks/{name}: masks of a video without frames")
    present = {_members(name, folder == _ACTORS)[0] for folder, _, name in originals}
    absent = sorted(set(split_of) - present)
    if absent and found.samples:
        found.unmatched += [f"the split files name video {name}, whose original is not there" for name in absent]
    return require_samples(found, root, "original_sequences/youtube/c23/videos/000/0001.png and so on")


def original_video(root: Path, video: PurePosixPath) -> str | None:
    """Return the original of a video, in the first compression there is, so that all compressions share it."""
    if len(video.parts) != 5:
        return None
    sequences, folder, _, content, _ = video.parts
    if sequences == "manipulated_sequences":
        folder, name = (_ACTORS, _scene(video.stem)) if "__" in video.stem else ("youtube", video.stem.split("_")[0])
    else:
        name = video.stem
    places = (f"original_sequences/{folder}/{quality}/{content}/{name}{video.suffix}" for quality in COMPRESSIONS)
    return next((place for place in places if (root / place).is_file()), None)


def _videos(folder: Path, compression: str | None) -> dict[tuple[str, str, str], dict[str, str]]:
    """Return (source or method, compression, video) -> frames by stem."""
    return {
        (entry.name, quality, name): frames
        for entry in _folders(folder)
        for quality in COMPRESSIONS
        if compression in (None, quality)
        for content in _CONTENTS
        for name, frames in clips(entry / quality / content).items()
    }


def _masks(method: Path) -> dict[str, dict[str, str]]:
    return {name: frames for content in _CONTENTS for name, frames in clips(method / "masks" / content).items()}


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _members(name: str, actors: bool) -> list[str]:
    """Return the originals behind a video: target first, then the donor of the face."""
    return [f"actor{number}" for number in name.split("__")[0].split("_")] if actors else name.split("_")


def _scene(name: str) -> str:
    """Return the original of a fake ``<target>_<donor>__<scene>__<experiment>``: ``<target>__<scene>``."""
    actors, *scene = name.split("__")
    return "__".join([actors.split("_")[0], *scene[:1]])


def _place(member: str, components: Components, split_of: dict[str, str]) -> tuple[str, str]:
    outside = "test" if split_of and member.startswith("actor") else ""
    return components.group(member), split_of.get(member, outside)


def _read_splits(root: Path) -> tuple[list[list[str]], dict[str, str]]:
    pairs: list[list[str]] = []
    split_of: dict[str, str] = {}
    for folder in (root, root / "splits", root / "dataset" / "splits"):
        for split in SPLITS:
            path = folder / f"{split}.json"
            if not path.is_file():
                continue
            content = read_json(path)
            if not isinstance(content, list) or not all(
                isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)
                for pair in content
            ):
                raise UsageError(f'{path}: expected pairs of videos such as [["071", "054"], ...]')
            for pair in content:
                for name in pair:
                    if split_of.setdefault(name, split) != split:
                        raise UsageError(f"{path}: video {name} is in split {split_of[name]} too")
            pairs += content
    return pairs, split_of
