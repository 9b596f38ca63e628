"""How many images there are of each label and method."""

from __future__ import annotations

from lae_tf.audit.findings import Finding, finding
from lae_tf.data.contract import LABELS
from lae_tf.data.manifest import Manifest

_RAREST_LABEL = 0.1  # share of a split's images
_RAREST_METHOD = 0.1  # number of images relative to the split's most frequent method


def check_balance(manifest: Manifest) -> list[Finding]:
    """Find splits that miss a label, and labels or methods that are rare.

    A split without one label is a fault: nothing can be learned or measured there. The limits (a label with less than
    a tenth of a split, a method with less than a tenth of the most frequent one) are ours.
    """
    found = []
    for split, counts in manifest.counts().items():
        total = counts["real"] + counts["fake"]
        for label in LABELS:
            if counts[label] == 0:
                message = f"Split {split} has {total} images and none is {label}: add some, or move a group there."
                found.append(finding("fault", "balance", message))
            elif counts[label] < _RAREST_LABEL * total:
                message = (
                    f"Split {split} has only {counts[label]} {label} images of {total}: accuracy says little "
                    "there, and training sees mostly the other label; add some."
                )
                found.append(finding("warning", "balance", message))
        fakes = manifest.select(split=split, label="fake").frame
        numbers = fakes["method"].value_counts()
        rare = {method: n for method, n in numbers.items() if n < _RAREST_METHOD * numbers.max()}
        if rare:
            named = ", ".join(f"{method} ({number})" for method, number in rare.items())
            message = (
                f"Split {split} has few images of {named}, against {numbers.max()} of {numbers.idxmax()}: its "
                "mean over fakes is that of the frequent method."
            )
            found.append(finding("warning", "balance", message))
    return found
