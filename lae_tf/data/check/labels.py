"""Labels that the pictures themselves contradict."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lae_tf.annotation.differencing import difference_mask
from lae_tf.data.check.comparison import Comparison, has_fitting_mask, lies_outside, most_similar, says_where
from lae_tf.data.check.findings import Finding, finding
from lae_tf.data.images import read_image, read_mask

_FEW = 3  # real images in a group; more are frames of a video, and frames differ in places
_PARTNERS = 3  # fakes that an image is held against
_IDENTICAL = 0.4  # share of pixels that must be bit-identical in two pictures of which one was edited
_OUTSIDE = 0.02  # of what differs; less lies outside the mask of a fake that is held against its source


def check_labels(facts: pd.DataFrame, compared: Sequence[Comparison]) -> list[Finding]:
    """Find images whose label another image contradicts.

    - The same pixels are labelled real and fake: a fault.
    - A fake shows no difference from a real image of its group: a warning, since an edit may be that slight.
    - A fake in a group without its source is what other fakes were made from: they differ from it inside their masks
      alone. A fault: it is real.
    - Two real images of a small group are bit-identical but for one region: a fault, one of them was edited.

    Args:
        facts: of ``read_facts``.
        compared: of ``compare_with_sources``.
    """
    contradicting = _contradicting(facts)
    known = {file for pair in contradicting for file in pair}
    unchanged = [(one.fake, one.source) for one in compared if one.same and one.fake not in known]
    found = []
    if contradicting:
        message = (
            f"{len(contradicting)} pictures are labelled both real and fake, with the same pixels: one label is wrong."
        )
        found.append(finding("fault", "labels", message, contradicting))
    if unchanged:
        message = (
            f"{len(unchanged)} images labelled fake cannot be told from a real image of their group: the label is "
            "wrong, or the edit too slight to see."
        )
        found.append(finding("warning", "labels", message, unchanged))
    if sources := _fakes_that_are_sources(facts):
        message = (
            f"{len(sources)} images labelled fake seem to be real: other fakes of their group differ from them inside "
            "their own masks alone, so they are what those were made from."
        )
        found.append(finding("fault", "labels", message, sources))
    if edited := _reals_that_are_edited(facts):
        message = (
            f"{len(edited)} pairs of images labelled real are identical but for one region: one of the two is a "
            "forgery of the other."
        )
        found.append(finding("fault", "labels", message, edited))
    return found


def _contradicting(facts: pd.DataFrame) -> list[tuple[str, str]]:
    both = facts.groupby("digest")["label"].transform("nunique") > 1
    pairs = []
    for _, same in facts[both].groupby("digest", sort=False):
        real, fake = (same.loc[same["label"] == label, "path"].iloc[0] for label in ("real", "fake"))
        pairs.append((str(fake), str(real)))
    return pairs


def _fakes_that_are_sources(facts: pd.DataFrame) -> list[tuple[str, str]]:
    fakes = facts[facts["label"] == "fake"]
    orphaned = fakes[~fakes["group"].isin(facts.loc[facts["label"] == "real", "group"])]
    pairs = []
    for _, group in orphaned.groupby(["group", "width", "height"]):
        rows = group.to_dict("records")
        masked = [row for row in rows if has_fitting_mask(row)]
        for row in rows:
            if has_fitting_mask(row):
                continue
            partners = masked[:_PARTNERS]
            if partners and all(_differs_inside_mask_alone(row["path"], one["path"], one["mask"]) for one in partners):
                pairs.append((row["path"], partners[0]["path"]))
    return pairs


def _differs_inside_mask_alone(source: str, fake: str, mask: str) -> bool:
    difference = difference_mask(read_image(fake), read_image(source))
    return says_where(difference) and lies_outside(difference, read_mask(mask)) < _OUTSIDE


def _reals_that_are_edited(facts: pd.DataFrame) -> list[tuple[str, str]]:
    pairs = []
    for _, group in facts[facts["label"] == "real"].groupby(["group", "width", "height"]):
        if not 2 <= len(group) <= _FEW:
            continue
        rows = group.to_dict("records")
        for i in range(len(rows) - 1):
            other = most_similar(rows[i], group.iloc[i + 1 :])
            if other is None:
                continue
            first, second = read_image(rows[i]["path"]), read_image(other)
            identical = float((first == second).all(axis=2).mean())
            if _IDENTICAL < identical < 1 and says_where(difference_mask(first, second)):
                pairs.append((rows[i]["path"], other))
    return pairs
