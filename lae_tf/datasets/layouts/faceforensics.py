"""FaceForensics++ (Roessler et al. 2019), with the videos of DeepFakeDetection if they are there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lae_tf.data.contract import SPLITS
from lae_tf.data.finding import images_below
from lae_tf.datasets.layouts.samples import Components, Found, Sample, clips, missing, require_samples
from lae_tf.errors import UsageError
from lae_tf.files.json_files import read_json
from lae_tf.files.walking import subfolders

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
    masks_of = {
        place: _masks(root / place)
        for method in subfolders(root / "manipulated_sequences")
        for place in _mask_places(f"manipulated_sequences/{method.name}", compression)
    }
    used: set[tuple[str, str]] = set()
    for (method, quality, name), frames in fakes.items():
        members = _members(name, "__" in name)
        group, split = _place(members[0], components, split_of)
        folder, target = (_ACTORS, _scene(name)) if "__" in name else ("youtube", members[0])
        source = originals.get((folder, quality, target), {})
        place = f"manipulated_sequences/{method}"
        clip = f"{place}/{quality}/{name}"
        if not source:
            found.unmatched.append(f"{clip}: its original {target} ({quality}) is not there")
        else:
            found.unmatched += missing(clip, f"have no frame of the original {target}", frames.keys() - source.keys())
        drawn = (masks_of[place], masks_of[f"{place}/{quality}"])
        masks = {frame: path for clips_of in drawn for frame, path in clips_of.get(name, {}).items()}
        used.update({(place, name), (f"{place}/{quality}", name)})
        if any(drawn):
            found.unmatched += missing(clip, "have no mask", frames.keys() - masks.keys())
            spare = masks.keys() - frames.keys()
            found.unmatched += missing(clip, "of the masks have no image", spare)
            found.explained.update(masks[frame] for frame in spare)
        found.samples += [
            Sample(path, group, method, split, masks.get(frame, ""), source.get(frame, ""))
            for frame, path in frames.items()
        ]
    for place, masks_by_name in masks_of.items():
        for name in sorted(masks_by_name):
            if (place, name) not in used:
                sentence = f"{place}/masks/{name}: masks of a video without frames"
                found.leave_out(sentence, masks_by_name[name].values())
    _name_other_compressions(root, compression, found)
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
        for entry in subfolders(folder)
        for quality in _chosen(compression)
        for content in _CONTENTS
        for name, frames in clips(entry / quality / content).items()
    }


def _mask_places(method: str, compression: str | None) -> list[str]:
    return [method, *(f"{method}/{quality}" for quality in _chosen(compression))]


def _chosen(compression: str | None) -> list[str]:
    return [quality for quality in COMPRESSIONS if compression in (None, quality)]


def _masks(folder: Path) -> dict[str, dict[str, str]]:
    """Return the masks of a method, or of one of its compressions as DeepfakeBench has them, by video and stem."""
    masks = clips(folder / "masks", without=_CONTENTS)
    for content in _CONTENTS:
        masks |= clips(folder / "masks" / content)
    return masks


def _name_other_compressions(root: Path, compression: str | None, found: Found) -> None:
    """Say how many images there are of each compression that was not asked for."""
    if compression is None:
        return
    for sequences in ("original_sequences", "manipulated_sequences"):
        for entry in subfolders(root / sequences):
            for quality in COMPRESSIONS:
                images = list(images_below(entry / quality)) if quality != compression else []
                if images:
                    place = f"{sequences}/{entry.name}/{quality}"
                    found.leave_out(f"{place}: {len(images)} images left out, not of {compression}", images)


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
