"""Explanations of image files, one at a time: every method, how faithful it is, and how well it meets the mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from lae_tf.data.views import Square, without_mirrors
from lae_tf.errors import ImageError
from lae_tf.explain.agreement import AGREEMENT, agreement
from lae_tf.explain.faithfulness import Faithfulness, blurred, measure
from lae_tf.explain.known_masks import Lookup, Truth, load_mask, nothing_known
from lae_tf.explain.methods import CONTROL, Explainer
from lae_tf.explain.squares import framed, level_of, mask_in, seen_in
from lae_tf.images.files import printable, read_image, read_mask_of
from lae_tf.metrics.decision import label_of
from lae_tf.model.lae import LAE
from lae_tf.predict.images import Prediction, predict_files

FAITHFULNESS = ("faithfulness", "insertion_auc", "deletion_auc")


@dataclass(frozen=True)
class Explanation:
    """One file, explained; a file that cannot be read has only a prediction with its error.

    In the views ``windows`` and ``faces`` it is the most suspicious square that is explained, ``prediction.square``.

    Attributes:
        prediction: of the file.
        truth: what is known of it.
        image: float32 (h, w, 3) in [0, 1], what is explained: the square, or the whole without its mirrors, as
            masks and maps are.
        whole: uint8 (h, w, 3), a small picture of the image with the square in a frame; None where there is no square.
        reconstruction: float32 (h, w, 3) in [0, 1].
        mask: uint8 (h, w) in {0, 1}; None where it is not known. Zeros for an image known to be real.
        mask_error: empty, or why the mask could not be read.
        part_score: P(fake) if there were nothing but what is explained.
        baseline_score: the same of its blurred copy, where deletion ends and insertion starts.
        maps: by method, float32 (h, w) in [0, 1].
        faithfulness: by method.
        agreement: by method the values of ``AGREEMENT``; empty unless a forged region is known.
    """

    prediction: Prediction
    truth: Truth = field(default_factory=Truth)
    image: NDArray[np.float32] | None = None
    whole: NDArray[np.uint8] | None = None
    reconstruction: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None
    mask_error: str = ""
    part_score: float = float("nan")
    baseline_score: float = float("nan")
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    faithfulness: dict[str, Faithfulness] = field(default_factory=dict)
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, object]]:
        """Return one row per method for tables: path, method, FAITHFULNESS, AGREEMENT (or NaN), and score, label and
        verdict of the image, score of what is explained of it, and score and label of its blurred copy.

        The path is :func:`lae_tf.images.files.printable`.
        """
        rows: list[dict[str, object]] = []
        for method, faithfulness in self.faithfulness.items():
            row: dict[str, object] = {
                "path": printable(self.prediction.path),
                "score": self.prediction.score,
                "label": self.prediction.label,
                "verdict": self.prediction.verdict,
                "part_score": self.part_score,
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
        UsageError: a method that does not exist.
    """
    explainer = Explainer(model, methods)
    for index, prediction in enumerate(predict_files(model, list(paths), batch_size=1)):
        yield _explain(explainer, prediction, truth(prediction.path), (seed, index))


def _explain(explainer: Explainer, prediction: Prediction, truth: Truth, seed: tuple[int, int]) -> Explanation:
    model, square = explainer.model, prediction.square
    image, whole = prediction.image, None
    if image is None:
        return Explanation(prediction, truth)
    size = prediction.size or image.shape[:2]
    if square is not None:
        try:
            pixels = read_image(prediction.path)
        except ImageError as error:  # it was there when it was scored
            return Explanation(replace(prediction, error=str(error)), truth)
        image, whole = seen_in(model, pixels, square), framed(pixels, square)
    mask, mask_error = _mask(truth, model, square, size)
    maps = explainer.maps(image, seed)
    baseline = blurred(image)
    rng = np.random.default_rng((*seed, 1))  # not the control's, or ties would be broken as it orders them
    level = level_of(model, square) if square is not None and model.view == "windows" else None
    score = partial(explainer.score, level=level)
    faithfulness = {name: measure(score, image, baseline, one, rng) for name, one in maps.items()}
    part_score, baseline_score = score(np.stack([image, baseline]))

    def shown(values: NDArray) -> NDArray:
        return values if square is not None else without_mirrors(values, size, model.view)

    maps = {name: shown(one) for name, one in maps.items()}
    mask = None if mask is None else shown(mask)
    forged = mask is not None and mask.any()
    return Explanation(
        prediction,
        truth,
        image=shown(image),
        whole=whole,
        reconstruction=shown(model.predict_on_batch(image[None])["reconstruction"][0]),
        mask=mask,
        mask_error=mask_error,
        part_score=float(part_score),
        baseline_score=float(baseline_score),
        maps=maps,
        faithfulness=faithfulness,
        agreement={name: agreement(one, mask) for name, one in maps.items()} if mask is not None and forged else {},
    )


def _mask(
    truth: Truth, model: LAE, square: Square | None, size: tuple[int, ...]
) -> tuple[NDArray[np.uint8] | None, str]:
    if not truth.mask:
        side = model.image_size
        return (np.zeros((side, side), np.uint8) if truth.label == 0 else None), ""
    try:
        if square is not None:
            return mask_in(model, read_mask_of(truth.mask, size), square), ""
        return load_mask(truth.mask, model.preprocessor, size), ""
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
