"""One round of selection: score the pool, describe channels, choose within the budget, write the round."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lae_tf.data.ingestion import ingest
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import image_dataset
from lae_tf.errors import LAEError
from lae_tf.files.atomic import building, write_text
from lae_tf.images.files import write_png
from lae_tf.model.lae import LAE
from lae_tf.report import panels, plots
from lae_tf.selection.budget import parse_budget, require_no_mask_share
from lae_tf.selection.channels import ChannelConcepts, describe_channels
from lae_tf.selection.features import Features, pool_features
from lae_tf.selection.gallery import write_gallery
from lae_tf.selection.rounds import not_fakes, selected_paths
from lae_tf.selection.strategies import diversify, get_strategy
from lae_tf.training.run import Run
from lae_tf.training.stages import training_manifest

REALS_AT_MOST = 2000
SHEET_AT_MOST = 60
SHEET_LEGEND = (
    "Attention over the image in grey, from none to full. Above each image its rank in selection.csv, and the utility "
    "that the strategy gave it: the higher, the more its mask is worth."
)


@dataclass(frozen=True)
class Choice:
    """What a round asks masks for.

    Attributes:
        rows: (k,) rows of the pool, best first.
        utilities: (k,) the strategy's.
        reasons: (k,) in words.
        pool: the manifest the rows refer to.
        features: of the pool.
        concepts: of the model's channels.
    """

    rows: np.ndarray
    utilities: np.ndarray
    reasons: list[str]
    pool: Manifest
    features: Features
    concepts: ChannelConcepts


def choose(
    model: LAE,
    manifest: Manifest,
    count: int,
    strategy: str,
    seed: int,
    per_group: int | None = None,
    similarity: float | None = None,
    verdicts: Mapping[int, str] | None = None,
    exclude: frozenset[str] = frozenset(),
    batch_size: int = 32,
) -> Choice:
    """Choose up to ``count`` unlabelled fakes of the training split.

    Args:
        model: a trained model.
        manifest: training split, with files that the graph can decode.
        count: how many.
        strategy: a name, or names joined by ``+``.
        seed: of the sample of real images and of the strategy.
        per_group: at most so many of one group.
        similarity: near-duplicates above this cosine of latents are skipped.
        verdicts: a person's, by channel.
        exclude: paths that wait for their mask already.
        batch_size: images a step.

    Raises:
        LAEError: there is nothing to choose from.
    """
    rng = np.random.default_rng(seed)
    state = manifest.mask_state
    waiting = manifest.frame["path"].isin(exclude).to_numpy()
    pool = _part(manifest, np.flatnonzero((state == "unlabelled") & ~waiting))
    if not len(pool):
        raise LAEError("the pool is empty: every fake of the training split has a mask or waits for one.")
    reals = np.flatnonzero(state == "real")
    reals = np.sort(rng.permutation(reals)[:REALS_AT_MOST])
    annotated = np.flatnonzero(state == "annotated")
    features, activity = pool_features(model, pool, batch_size)
    real_features, _ = pool_features(model, _part(manifest, reals), batch_size, "score real images")
    known = pool_features(model, _part(manifest, annotated), batch_size, "score annotated") if len(annotated) else None
    concepts = describe_channels(
        features, activity, known and known[0], known and known[1], real_features, dict(verdicts or {})
    )
    features = replace(
        features,
        superficial=concepts.superficial_share(features.evidence),
        annotated_latent=known[0].latent if known else features.annotated_latent,
    )
    drawn = rng.bit_generator.state
    wanted = count
    while True:  # greedy strategies take the longer, the more rows they order
        rng.bit_generator.state = drawn
        order, utilities = get_strategy(strategy)(features, wanted, rng)
        taken = diversify(order, features, count, per_group, similarity)
        if len(taken) == count or wanted >= len(pool):
            break
        wanted *= 2
    rows = order[taken]
    reasons = [_reason(strategy, float(utilities[at]), concepts, features, order[at]) for at in taken]
    return Choice(rows, utilities[taken], reasons, pool, features, concepts)


def select_round(
    run: Run,
    budget: str,
    strategy: str,
    seed: int | None = None,
    per_group: int | None = None,
    similarity: float | None = 0.999,
    verdicts: Mapping[int, str] | None = None,
    allow_over_budget: bool = False,
    batch_size: int = 32,
) -> Path:
    """Run one round and write ``rounds/N/``: selection.csv, selection.json, contact sheet, attention, gallery.

    The folder appears complete or not at all.

    Returns:
        The round's folder.

    Raises:
        LAEError: no model, a run that hides masks, an empty pool, nothing left of the budget, or another command
            that changes the run.
    """
    with run.locked():
        config = run.config
        require_no_mask_share(config.data.mask_share)
        model = run.load_model()
        get_strategy(strategy)
        original = training_manifest(config).select(split="train")
        asked, judged = asked_paths(run)
        pending = (asked - judged) & set(original.frame["path"][original.mask_state == "unlabelled"])
        used = int(original.drawn.sum()) + len(pending)
        allowed = parse_budget(budget, len(original), used, allow_over_budget)
        manifest = original.with_files(lambda files: ingest(files, run.image_cache))
        # Paths in the outputs are the user's own files, not copies in the cache.
        own = dict(zip(manifest.frame["path"], original.frame["path"], strict=True))
        waiting = frozenset(read for read, path in own.items() if path in pending | judged)
        seed = config.seed if seed is None else seed
        choice = choose(
            model, manifest, allowed.left, strategy, seed, per_group, similarity, verdicts, waiting, batch_size
        )
        number = 1 + max(run.round_numbers(), default=0)
        folder = run.rounds / str(number)
        files = [str(choice.pool.frame["path"][row]) for row in choice.rows]
        settings = {
            "round": number,
            "strategy": strategy,
            "seed": seed,
            "budget": budget,
            "per_group": per_group,
            "similarity": similarity,
            "verdicts": {str(channel): verdict for channel, verdict in (verdicts or {}).items()},
            "allow_over_budget": allow_over_budget,
            "masks_used_before": used,
            "selected": len(files),
            "training_images": allowed.training_images,
            "share_after": (used + len(files)) / allowed.training_images,
            "model_sha256": run.model_digest(),
            "manifest_sha256": original.digest(),
        }
        with building(folder) as temporary:
            write_selection(temporary / "selection.csv", choice, [own[file] for file in files], strategy)
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
    """Write each image's attention as a grey PNG of the model's size, and the contact sheet."""
    sheet, captions = [], []
    rank = 0
    for images in image_dataset(files, model.preprocessor, 32):
        attention = np.asarray(model.predict_on_batch(images)["attention"])
        for image, heat in zip(images.numpy(), attention, strict=True):
            rank += 1
            write_png(folder / "attention" / f"{rank:04d}.png", np.rint(255 * heat.clip(0, 1)).astype(np.uint8))
            if rank <= SHEET_AT_MOST:
                sheet.append(panels.overlay(image, heat))
                captions.append(f"{rank}: {choice.utilities[rank - 1]:.2f}")
    (folder / "contact_sheet.png").write_bytes(plots.png(panels.contact_sheet(sheet, captions, SHEET_LEGEND)))


def _part(manifest: Manifest, rows: np.ndarray) -> Manifest:
    return Manifest(manifest.frame.iloc[rows].reset_index(drop=True), manifest.root)


def _reason(strategy: str, utility: float, concepts: ChannelConcepts, features: Features, row: int) -> str:
    words = {
        "uncertainty": f"the score {features.score[row]:.2f} is uncertain",
        "margin": f"the score {features.score[row]:.2f} is close to the border",
        "attention-spread": f"attention is spread over {100 * features.spread[row]:.0f} % of the possible entropy",
        "disagreement": "score and reconstruction error disagree",
        "k-center": "unlike everything that has a mask" + ("" if "+" in strategy else f" (distance {utility:.2f})"),
        "random": "drawn at random",
    }
    parts = [words.get(part) or concepts.reason(features.evidence[row]) for part in strategy.split("+")]
    return "; ".join(parts)
