"""Which unlabelled fakes are most worth a mask: scores the candidates, describes the channels, applies a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError
from lae_tf.model.lae import LAE
from lae_tf.selection.channels import ChannelConcepts, describe_channels
from lae_tf.selection.features import FeatureExtractor, Features
from lae_tf.selection.strategies import DESCRIBED, diversify, fewest_per_group, get_strategy

REALS_AT_MOST = 2000


@dataclass(frozen=True)
class Choice:
    """What a round asks masks for.

    Attributes:
        rows: (k,) rows of the candidates, best first.
        utilities: (k,) the strategy's.
        reasons: (k,) in words.
        candidates: the manifest the rows refer to.
        features: of the candidates.
        concepts: of the model's channels.
    """

    rows: np.ndarray
    utilities: np.ndarray
    reasons: list[str]
    candidates: Manifest
    features: Features
    concepts: ChannelConcepts


@dataclass(frozen=True)
class Criteria:
    """How images are chosen.

    Attributes:
        strategy: a name, or names joined by ``+``.
        seed: of the sample of real images and of the strategy; None takes the run's.
        per_group: at most so many masks in one group, those that it has included; None takes the fewest that the budget
            can be spent with, so that no video fills it.
        similarity: near-duplicates above this cosine of latents are skipped; None skips none.
        verdicts: a person's, by channel.
        batch_size: images a step.
    """

    strategy: str = "stratified"
    seed: int | None = None
    per_group: int | None = None
    similarity: float | None = 0.999
    verdicts: Mapping[int, str] = field(default_factory=dict)
    batch_size: int = 32


def choose(
    model: LAE, manifest: Manifest, count: int, criteria: Criteria, exclude: frozenset[str] = frozenset()
) -> Choice:
    """Choose up to ``count`` unlabelled fakes of the training split.

    Args:
        model: a trained model.
        manifest: training split, with files that the graph can decode.
        count: how many.
        criteria: how.
        exclude: paths that wait for their mask already.

    Raises:
        LAEError: there is nothing to choose from.
    """
    rng = np.random.default_rng(criteria.seed)
    state, size = manifest.mask_state, criteria.batch_size
    waiting = manifest.frame["path"].isin(exclude).to_numpy()
    candidates = manifest.take(np.flatnonzero((state == "unlabelled") & ~waiting))
    if not len(candidates):
        raise LAEError("there is nothing to choose from: every fake of the training split has a mask or waits for one.")
    reals = np.flatnonzero(state == "real")
    reals = np.sort(rng.permutation(reals)[:REALS_AT_MOST])
    annotated = np.flatnonzero(state == "annotated")
    extract = FeatureExtractor(model, bool(DESCRIBED & set(criteria.strategy.split("+"))))
    features, activity = extract(candidates, size)
    real_features, _ = extract(manifest.take(reals), size, "score real images")
    known = extract(manifest.take(annotated), size, "score annotated") if len(annotated) else None
    concepts = describe_channels(
        features, activity, known and known[0], known and known[1], real_features, dict(criteria.verdicts)
    )
    features = replace(
        features,
        superficial=concepts.superficial_share(features.evidence),
        annotated_latent=known[0].latent if known else features.annotated_latent,
        annotated_description=known[0].description if known else features.annotated_description,
        annotated_group=known[0].group if known else features.annotated_group,
    )
    per_group = criteria.per_group or fewest_per_group(features, count)
    drawn = rng.bit_generator.state
    wanted = count
    while True:  # greedy strategies take the longer, the more rows they order
        rng.bit_generator.state = drawn
        order, utilities = get_strategy(criteria.strategy)(features, wanted, rng)
        taken = diversify(order, features, count, per_group, criteria.similarity)
        if len(taken) == count or wanted >= len(candidates):
            break
        wanted *= 2
    rows = order[taken]
    reasons = [_reason(criteria.strategy, float(utilities[at]), concepts, features, order[at]) for at in taken]
    return Choice(rows, utilities[taken], reasons, candidates, features, concepts)


def _reason(strategy: str, utility: float, concepts: ChannelConcepts, features: Features, row: int) -> str:
    words = {
        "uncertainty": f"the score {features.score[row]:.2f} is uncertain",
        "margin": f"the score {features.score[row]:.2f} is close to the border",
        "attention-spread": f"attention is spread over {100 * features.spread[row]:.0f} % of the possible entropy",
        "disagreement": "score and reconstruction error disagree",
        "k-center": "unlike everything that has a mask" + ("" if "+" in strategy else f" (distance {utility:.2f})"),
        "typical": "typical of a part of the images without a mask",
        "typical-concept": f"of its part of the images {concepts.reason(features.evidence[row])}",
        "probability-cover": "many images without a mask are like it",
        "stratified": "drawn at random within its group",
        "random": "drawn at random",
    }
    parts = [words.get(part) or concepts.reason(features.evidence[row]) for part in strategy.split("+")]
    return "; ".join(parts)
