"""The checks as one HTML page with samples."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lae_tf.audit.checking import Checked
from lae_tf.audit.findings import Finding
from lae_tf.audit.giveaways import ALL_FAKES
from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError
from lae_tf.images.files import printable, read_image, read_mask
from lae_tf.metrics.detection import too_few
from lae_tf.report.page import NO_INTERVAL, Card, Example, Section, Shot, Table, write_report
from lae_tf.version import __version__

_SIDE = 192  # pixels of a sample's longer side
_PER_FINDING = 4  # samples, that is files or tuples of files
_PER_METHOD = 6
_METHODS = 12
_OUTLINE = (255, 40, 200)
_HEADINGS = {"fault": "Fault", "warning": "Warning"}
_ABOUT_GIVEAWAYS = (
    "A small decision tree is fitted on what has nothing to do with forging, and asked about images of groups that it "
    "has not seen. 0.5 is guessing; the stronger the tint, the more a label is given away, and a detector will learn "
    "that instead of forgeries. The intervals are bootstrapped over groups and hold for all rows together with 95 %."
)


def write_page(checked: Checked, path: str | os.PathLike[str]) -> Path:
    """Write the page, all of it or nothing.

    Args:
        checked: of ``check_data``.
        path: of the HTML file.

    Returns:
        The path.
    """
    masks = set() if checked.manifest is None else set(checked.manifest.frame["mask"])
    sections = [Section(cards=_cards(checked), text=_verdict(checked))]
    for severity, heading in _HEADINGS.items():
        for one in checked.findings:
            if one.severity == severity:
                sections.append(Section(f"{heading}: {one.check}", one.message, examples=_examples(one, masks)))
    if checked.predictability:
        sections.append(Section("Give-aways", _ABOUT_GIVEAWAYS, tables=[_giveaways(checked)]))
    if checked.manifest is not None:
        counts = Table(_counts(checked.manifest), "Images by split and method")
        sections.append(Section("Images", tables=[counts], examples=_samples(checked.manifest)))
    provenance = {
        "command": f"lae-tf check-data {checked.path}",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "lae-tf": __version__,
    }
    return write_report(Path(path), "Data check", sections, subtitle=checked.path, provenance=provenance)


def _cards(checked: Checked) -> list[Card]:
    warnings = len(checked.findings) - checked.faults
    cards = [Card("Faults", str(checked.faults)), Card("Warnings", str(warnings))]
    if checked.manifest is not None:
        cards.append(Card("Images", f"{len(checked.manifest):,}"))
        cards.append(Card("Fakes held against their source", f"{checked.compared:,}"))
    return cards


def _verdict(checked: Checked) -> str:
    if checked.manifest is None:
        return "The manifest itself is wrong, so nothing else was checked."
    if checked.faults:
        return "Mend the faults before training: with them, training or measuring misleads."
    return "No fault was found." + (" Look at the warnings." if checked.findings else "")


def _examples(one: Finding, masks: set[str]) -> list[Example]:
    tuples = one.files[:_PER_FINDING]
    if not tuples or one.check == "files":
        return []
    examples = []
    for number, files in enumerate(tuples, start=1):
        shots = [Shot.of(_thumbnail(file, file in masks), _short(file)) for file in files]
        examples.append(Example(shots, f"{number} of {one.count:,}", " ~ ".join(map(printable, files))))
    return examples


def _samples(manifest: Manifest) -> list[Example]:
    examples = []
    parts: list[tuple[str, pd.DataFrame]] = [("real", manifest.select(label="real").frame)]
    fakes = manifest.select(label="fake").frame
    parts += [(str(method), part) for method, part in list(fakes.groupby("method"))[:_METHODS]]
    for name, part in parts:
        if part.empty:
            continue
        drawn = part.sample(min(_PER_METHOD, len(part)), random_state=0)
        shots = [Shot.of(_outlined(row.path, row.mask), _short(row.path)) for row in drawn.itertuples()]
        about = "masks outlined in magenta" if (drawn["mask"] != "").any() and name != "real" else "no masks"
        examples.append(Example(shots, f"{name}: {len(part):,} images, {about}"))
    return examples


def _outlined(path: str, mask: str) -> np.ndarray:
    image = _thumbnail(path)
    if mask:
        try:
            region = cv2.resize(read_mask(mask), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        except ImageError:
            return image
        contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(image, contours, -1, _OUTLINE, 1)
    return image


def _thumbnail(path: str, is_mask: bool = False) -> np.ndarray:
    try:
        image = np.repeat(read_mask(path)[..., None] * np.uint8(255), 3, axis=2) if is_mask else read_image(path)
    except ImageError:
        return np.full((_SIDE, _SIDE, 3), 128, np.uint8)
    scale = _SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)


def _giveaways(checked: Checked) -> Table:
    told = {one.kind for one in checked.predictability if one.fakes == ALL_FAKES and one.tells}
    shown = [one for one in checked.predictability if one.fakes == ALL_FAKES or (one.tells and one.kind not in told)]
    frame = pd.DataFrame(
        {
            "known": [one.kind for one in shown],
            "fakes": [one.fakes for one in shown],
            NO_INTERVAL: [too_few(one.groups) for one in shown],
            "auroc": [one.auroc.value for one in shown],
            "auroc_low": [one.shown.low for one in shown],
            "auroc_high": [one.shown.high for one in shown],
            "strongest feature": [one.strongest for one in shown],
            "median in fakes": [one.medians[0] for one in shown],
            "median in real": [one.medians[1] for one in shown],
            "verdict": ["gives away" if one.tells else "" for one in shown],
        }
    )
    return Table(frame, "How well labels can be told; single methods where they are and all together are not")


def _counts(manifest: Manifest) -> pd.DataFrame:
    frame = manifest.frame.assign(method=manifest.frame["method"].where(manifest.is_fake, "(real)"))
    table = pd.crosstab(frame["method"], frame["split"])
    table = table[[split for split in ("train", "val", "test") if split in table]]
    return table.rename_axis(columns=None).reset_index()


def _short(path: str) -> str:
    return "/".join(Path(printable(path)).parts[-2:])
