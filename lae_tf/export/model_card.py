"""The model card: what an export was trained on, how well it does, how it decides, and what it is not for."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from lae_tf.config.sections import PLACES
from lae_tf.export.parity import Parity
from lae_tf.runtime.environment import describe
from lae_tf.training.records import read_record
from lae_tf.training.run import Run

_TEMPLATES = Path(__file__).parent / "templates"
_METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auroc": "AUROC"}
INTENDED_USE = (
    "To rank and pre-sort images that a person then judges, and to show where an image may have been forged. "
    "The score is calibrated on the validation images of the training data and on nothing else."
)
LIMITS = (
    "The score is not proof. Neither a person nor an image may be judged by it alone.",
    "On manipulations, cameras, compression or subjects unlike those of the training data it can be wrong with "
    "confidence; the rows marked 'unseen' below show how far it carries over, as far as that was measured.",
    "Real images that were edited harmlessly, scaled, screenshotted or recompressed can be called fake.",
    "Unless the view is 'windows', images are scaled down to the model's input; traces finer than that are lost.",
    "It looks at single images: neither sound nor movement nor where an image comes from.",
    "Someone who knows the model can make forgeries that it does not find.",
)


def describe_model(run: Run, version: int, form: str, folder: Path, parity: Parity) -> dict[str, Any]:
    """Gather the card of an export, ready for JSON. Paths of the machine that trained stay out of it.

    Args:
        run: what was exported.
        version, form: of the export.
        folder: that holds it; every file is listed with its hash.
        parity: what the gate measured.
    """
    config, data = run.config, run.require_json("data.json")
    return {
        "name": "lae",
        "version": version,
        "format": form,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "run": run.path.name,
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
        "input": {"image_size": config.data.image_size, "channels": "RGB", "range": [0, 1]},
        "data": {**data, "manifest": Path(data["manifest"]).name},
        "decision": {"boundary": 0.0, **run.require_json("calibration.json")},  # older versions fitted none
        "evaluation": _evaluation(run),
        "parity": {
            "golden_images": parity.images,
            "tolerance": parity.tolerance,
            "largest_difference": parity.largest_difference,
        },
        "config": config.model_dump(mode="json", exclude=PLACES),
        "trained_with": run.require_json("environment.json"),
        "exported_with": describe(),
        "sha256": {"checkpoint": _sha256(run.model_path), **_hashes(folder)},
    }


def write_model_card(card: dict[str, Any], folder: Path) -> None:
    """Write ``model_card.json`` and ``MODEL_CARD.md``."""
    (folder / "model_card.json").write_text(json.dumps(card, indent=2), encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(card_page(card), encoding="utf-8")


def card_page(card: dict[str, Any]) -> str:
    """Return a card as Markdown."""
    environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("MODEL_CARD.md.j2").render(card, metrics=_METRICS, cell=_cell)


def _evaluation(run: Run) -> dict[str, Any] | None:
    """Return the run's evaluation, or None where there is none of this very model and decision."""
    path = run.report / "evaluation.json"
    evaluation: dict[str, Any] | None = read_record(path, path.name) if path.is_file() else None
    decision = run.require_json("calibration.json")
    if evaluation is None or abs(evaluation["threshold"] - decision["threshold"]) > 1e-6:
        return None
    # Reports of older versions are known by a threshold that every training chose anew.
    model = run.model_digest()
    return evaluation if evaluation.get("model_sha256", model) == model else None


def _cell(row: dict[str, Any], metric: str) -> str:
    value, low, high = (row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    if value is None:
        return "-"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _hashes(folder: Path) -> dict[str, str]:
    files: Iterable[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
