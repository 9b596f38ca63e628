"""Explanations of image files, one at a time: every method, how faithful it is, and how well it meets the mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from lae_tf.data.views import require_view, without_mirrors
from lae_tf.errors import ImageError
from lae_tf.explain.agreement import AGREEMENT, agreement
from lae_tf.explain.faithfulness import Faithfulness, blurred, measure
from lae_tf.explain.known_masks import Lookup, Truth, load_mask, nothing_known
from lae_tf.explain.methods import CONTROL, Explainer
from lae_tf.images.files import printable
from lae_tf.metrics.decision import label_of
from lae_tf.model.lae import LAE
from lae_tf.model.preprocessing import Preprocessor
from lae_tf.predict.images import Prediction, predict_files

FAITHFULNESS = ("faithfulness", "insertion_auc", "deletion_auc")


@dataclass(frozen=True)
class Explanation:
    """One file, explained; a file that cannot be read has only a prediction with its error.

    Attributes:
        prediction: of the file.
        truth: what is known of it.
        reconstruction: float32 (h, w, 3) in [0, 1], the input without its mirrors, as masks and maps.
        mask: uint8 (h, w) in {0, 1}; None where it is not known. Zeros for an image known to be real.
        mask_error: empty, or why the mask could not be read.
        baseline_score: P(fake) of the blurred copy, where deletion ends and insertion starts.
        maps: by method, float32 (h, w) in [0, 1].
        faithfulness: by method.
        agreement: by method the values of ``AGREEMENT``; empty unless a forged region is known.
    """

    prediction: Prediction
    truth: Truth = field(default_factory=Truth)
    reconstruction: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None
    mask_error: str = ""
    baseline_score: float = float("nan")
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    faithfulness: dict[str, Faithfulness] = field(default_factory=dict)
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, object]]:
        """Return one row per method for tables: path, method, FAITHFULNESS, AGREEMENT (or NaN), and score and label of
        the image and of its blurred copy.

        The path is :func:`lae_tf.images.files.printable`.
        """
        rows: list[dict[str, object]] = []
        for method, faithfulness in self.faithfulness.items():
            row: dict[str, object] = {
                "path": printable(self.prediction.path),
                "score": self.prediction.score,
                "label": self.prediction.label,
                "baseline_score": self.baseline_score,
                "baseline_label": label_of(self.baseline_score, self.prediction.threshold),
                "method": method,
            }
            row |= {name: getattr(faithfulness, name) for name in FAITHFULNESS}
            row |= {name: self.agreement.get(method, {}).get(name, float("nan")) for name in AGREEMENT}
            rows.append(row)
        return rows


def explain_files(
    model: LAE,
    paths: Sequence[str],
    truth: Lookup = nothing_known,
    methods: Sequence[str] = (),
    seed: int = 0,
) -> Iterator[Explanation]:
    """Explain each file in order; memory does not grow with their number.

    Args:
        model: a trained model.
        paths: image files.
        truth: labels and masks, where they are known.
        methods: names out of ``methods.METHODS``; all by default.
        seed: of noise, ties and the random map.

    Raises:
        UsageError: a method that does not exist, or a model of another view than the whole.
    """
    require_view(model, "lae-tf explain")
    explainer = Explainer(model, methods)
    for index, prediction in enumerate(predict_files(model, list(paths), batch_size=1)):
        yield _explain(explainer, prediction, truth(prediction.path), (seed, index))


def _explain(explainer: Explainer, prediction: Prediction, truth: Truth, seed: tuple[int, int]) -> Explanation:
    image = prediction.image
    if image is None:
        return Explanation(prediction, truth)
    mask, mask_error = _mask(truth, explainer.model.preprocessor, prediction.size or image.shape[:2])
    maps = explainer.maps(image, seed)
    baseline = blurred(image)
    rng = np.random.default_rng((*seed, 1))  # not the control's, or ties would be broken as it orders them
    faithfulness = {name: measure(explainer.score, image, baseline, one, rng) for name, one in maps.items()}

    def shown(values: NDArray) -> NDArray:
        return without_mirrors(values, prediction.size or image.shape[:2], explainer.model.view)

    maps = {name: shown(one) for name, one in maps.items()}
    mask = None if mask is None else shown(mask)
    forged = mask is not None and mask.any()
    return Explanation(
        replace(prediction, image=shown(image)),
        truth,
        reconstruction=shown(explainer.model.predict_on_batch(image[None])["reconstruction"][0]),
        mask=mask,
        mask_error=mask_error,
        baseline_score=float(explainer.score(baseline[None])[0]),
        maps=maps,
        faithfulness=faithfulness,
        agreement={name: agreement(one, mask) for name, one in maps.items()} if mask is not None and forged else {},
    )


def _mask(truth: Truth, preprocessor: Preprocessor, size: tuple[int, int]) -> tuple[NDArray[np.uint8] | None, str]:
    if not truth.mask:
        side = preprocessor.image_size
        return (np.zeros((side, side), np.uint8) if truth.label == 0 else None), ""
    try:
        return load_mask(truth.mask, preprocessor, size), ""
    except ImageError as error:
        return None, str(error)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of explanations over images.

    Args:
        table: rows as :meth:`Explanation.rows` gives them.

    Returns:
        One row per method, the most faithful first: method, the means of FAITHFULNESS and AGREEMENT over the images
        where they apply (columns that apply to none are left out), ``images``, ``with_mask``, and, where the control
        is among the methods, ``beats_random``: the share of images on which a method is more faithful than it, and
        ``p_value``: how often a method that is no better would have such a share or a higher one (sign test).
    """
    groups = table.groupby("method", sort=False)
    summary = groups[[*FAITHFULNESS, *AGREEMENT]].mean().dropna(axis=1, how="all")
    by_image = table.pivot(index="path", columns="method", values="faithfulness")
    if CONTROL in by_image:
        won = by_image.gt(by_image[CONTROL], axis=0).sum().drop(CONTROL)
        summary["beats_random"] = won / len(by_image)
        summary["p_value"] = won.map(lambda wins: binomtest(int(wins), len(by_image), alternative="greater").pvalue)
    summary["images"] = groups.size()
    summary["with_mask"] = groups[AGREEMENT[0]].count()
    return summary.sort_values("faithfulness", ascending=False, kind="stable").reset_index()
