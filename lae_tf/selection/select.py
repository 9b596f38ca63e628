"""One round of selection: choose within the budget, and write the round."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from lae_tf.data.ingestion import decodable
from lae_tf.data.views import look
from lae_tf.errors import UsageError
from lae_tf.files.atomic import building, write_text
from lae_tf.images.files import read_image, write_png
from lae_tf.model.lae import LAE
from lae_tf.report import panels, plots
from lae_tf.selection.budget import parse_budget, require_no_mask_share
from lae_tf.selection.choosing import Choice, Criteria, choose
from lae_tf.selection.gallery import write_gallery
from lae_tf.selection.rounds import not_fakes, selected_paths
from lae_tf.selection.strategies import get_strategy
from lae_tf.training.run import Run
from lae_tf.training.training_data import training_manifest

SHEET_AT_MOST = 60
SHEET_LEGEND = (
    "Attention over the image in grey, from none to full. Above each image its rank in selection.csv, and the utility "
    "that the strategy gave it: the higher, the more its mask is worth."
)


def select_round(run: Run, budget: str, criteria: Criteria, allow_over_budget: bool = False) -> Path:
    """Run one round and write ``rounds/N/``: selection.csv, selection.json, contact sheet, attention, gallery.

    The folder appears complete or not at all.

    Returns:
        The round's folder.

    Raises:
        LAEError: no model, a run that hides masks, no fake without a mask, nothing left of the budget, or another
            command that changes the run.
    """
    with run.locked():
        config = run.config
        require_no_mask_share(config.data.mask_share)
        model = run.load_model()
        get_strategy(criteria.strategy)
        original = training_manifest(config).select(split="train")
        asked, judged = asked_paths(run)
        pending = (asked - judged) & set(original.frame["path"][original.mask_state == "unlabelled"])
        if not (original.mask_state == "unlabelled").any():
            raise UsageError(
                "every fake of the training split has a mask already, as those that lae-tf forge made do; "
                "there is nothing to select."
            )
        used = int(original.drawn.sum()) + len(pending)
        allowed = parse_budget(budget, len(original), used, allow_over_budget)
        manifest = decodable(original, run.image_cache)
        # Paths in the outputs are the user's own files, not copies in the cache.
        own = dict(zip(manifest.frame["path"], original.frame["path"], strict=True))
        waiting = frozenset(read for read, path in own.items() if path in pending | judged)
        if criteria.seed is None:
            criteria = replace(criteria, seed=config.seed)
        choice = choose(model, manifest, allowed.left, criteria, waiting)
        number = 1 + max(run.round_numbers(), default=0)
        folder = run.rounds / str(number)
        files = [str(choice.candidates.frame["path"][row]) for row in choice.rows]
        settings = {
            "round": number,
            "strategy": criteria.strategy,
            "seed": criteria.seed,
            "budget": budget,
            "per_group": criteria.per_group,
            "similarity": criteria.similarity,
            "verdicts": {str(channel): verdict for channel, verdict in criteria.verdicts.items()},
            "allow_over_budget": allow_over_budget,
            "masks_used_before": used,
            "selected": len(files),
            "training_images": allowed.training_images,
            "share_after": (used + len(files)) / allowed.training_images,
            "model_sha256": run.model_digest(),
            "manifest_sha256": original.digest(),
        }
        with building(folder) as temporary:
            own_files = [own[file] for file in files]
            write_selection(temporary / "selection.csv", choice, own_files, criteria.strategy)
            write_text(temporary / "selection.json", json.dumps(settings, indent=2))
            _draw(model, choice, files, temporary)
            write_gallery(temporary / "channels.html", model, choice)
            temporary.rename(folder)
        return folder


def asked_paths(run: Run) -> tuple[set[str], set[str]]:
    """Return images that earlier rounds asked for, and those of them that annotators judged "not a fake".

    The judged ones are neither asked for again nor counted as masks to come.
    """
    asked: set[str] = set()
    judged: set[str] = set()
    for folder in (run.rounds / str(number) for number in run.round_numbers()):
        asked |= set(selected_paths(folder))
        judged |= set(not_fakes(folder))
    return asked, judged


def write_selection(path: Path, choice: Choice, files: list[str], strategy: str) -> None:
    """Write selection.csv: rank, path, utility, strategy, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "path", "utility", "strategy", "reason"])
    for rank, (file, utility, reason) in enumerate(zip(files, choice.utilities, choice.reasons, strict=True), start=1):
        writer.writerow([rank, file, f"{utility:.6f}", strategy, reason])
    write_text(path, text.getvalue())


def _draw(model: LAE, choice: Choice, files: list[str], folder: Path) -> None:
    """Write each image's attention as a grey PNG of the image's aspect, and the contact sheet."""
    sheet, captions = [], []
    for rank, file in enumerate(files, start=1):
        image = read_image(file)
        heat = look(model, image).attention
        write_png(folder / "attention" / f"{rank:04d}.png", np.rint(255 * heat).astype(np.uint8))
        if rank <= SHEET_AT_MOST:
            share = model.image_size / max(image.shape[:2])
            size = [max(1, round(share * length)) for length in image.shape[1::-1]]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) / np.float32(255)
            sheet.append(panels.overlay(small, cv2.resize(heat, size, interpolation=cv2.INTER_AREA)))
            captions.append(f"{rank}: {choice.utilities[rank - 1]:.2f}")
    (folder / "contact_sheet.png").write_bytes(plots.png(panels.contact_sheet(sheet, captions, SHEET_LEGEND)))
