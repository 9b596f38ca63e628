"""Labels that the pictures themselves contradict."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lae_tf.audit.comparison import Comparison, has_fitting_mask, lies_outside, most_similar, says_where
from lae_tf.audit.findings import Finding, counted, finding
from lae_tf.images.files import read_image, read_mask
from lae_tf.masks.differencing import difference_mask

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
            f"{counted(len(contradicting), 'picture')} labelled real and fake, with the same pixels: one is wrong."
        )
        found.append(finding("fault", "labels", message, contradicting))
    if unchanged:
        message = (
            f"{counted(len(unchanged), 'image')} labelled fake cannot be told from a real image of their group: the "
            "label is wrong, or the edit too slight to see."
        )
        found.append(finding("warning", "labels", message, unchanged))
    if sources := _fakes_that_are_sources(facts):
        message = (
            f"{counted(len(sources), 'image')} labelled fake must be real: other fakes of the group differ from it "
            "inside their own masks alone, so it is what those were made from."
        )
        found.append(finding("fault", "labels", message, sources))
    if edited := _reals_that_are_edited(facts):
        message = (
            f"{counted(len(edited), 'pair')} of images labelled real, identical but for one region: one of the two is "
            "a forgery of the other."
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
            shares = [_share_outside(row["path"], one["path"], one["mask"]) for one in partners]
            seen = [(share, one["path"]) for share, one in zip(shares, partners, strict=True) if share is not None]
            if seen and max(share for share, _ in seen) < _OUTSIDE:
                pairs.append((row["path"], seen[0][1]))
    return pairs


def _share_outside(source: str, fake: str, mask: str) -> float | None:
    """Return the share of their difference outside the fake's mask, or None if it is too small or large to tell."""
    difference = difference_mask(read_image(fake), read_image(source))
    return lies_outside(difference, read_mask(mask)) if says_where(difference) else None


def _reals_that_are_edited(facts: pd.DataFrame) -> list[tuple[str, str]]:
    pairs = []
    for _, group in facts[facts["label"] == "real"].groupby(["group", "width", "height"]):
        if not 2 <= len(group) <= _FEW:
            continue
        rows = group.to_dict("records")
        for i in range(len(rows) - 1):
            other = most_similar(rows[i], group.iloc[i + 1 :])
            first, second = read_image(rows[i]["path"]), read_image(other)
            identical = float((first == second).all(axis=2).mean())
            if _IDENTICAL < identical < 1 and says_where(difference_mask(first, second)):
                pairs.append((rows[i]["path"], other))
    return pairs
