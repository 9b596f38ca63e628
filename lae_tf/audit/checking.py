"""All checks of a data set, one after another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

from lae_tf.audit.balance import check_balance
from lae_tf.audit.comparison import compare_with_sources
from lae_tf.audit.crops import check_crops
from lae_tf.audit.duplicates import check_duplicates, near_duplicates
from lae_tf.audit.facts import read_facts
from lae_tf.audit.findings import Finding, finding
from lae_tf.audit.giveaways import Predictability, check_giveaways, measure_giveaways
from lae_tf.audit.labels import check_labels
from lae_tf.audit.masks import check_masks
from lae_tf.data.manifest import Manifest
from lae_tf.errors import ManifestError
from lae_tf.metrics.detection import too_few


@dataclass(frozen=True)
class Checked:
    """What the checks found.

    Attributes:
        path: the manifest's file.
        manifest: None if the file breaks the data contract; then nothing else was checked.
        findings: faults first.
        predictability: how well labels can be told from what has nothing to do with forging; empty where there are
            too few images.
        compared: how many fakes could be held against their source.
    """

    path: str
    manifest: Manifest | None
    findings: Sequence[Finding]
    predictability: Sequence[Predictability] = ()
    compared: int = 0

    @property
    def faults(self) -> int:
        """Number of findings that are faults."""
        return sum(one.severity == "fault" for one in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return everything in types that JSON knows."""
        measured = [
            {
                **asdict(one),
                "auroc": {name: None if isnan(value) else value for name, value in one.shown._asdict().items()},
                "no_interval": too_few(one.groups),
                "tells": one.tells,
            }
            for one in self.predictability
        ]
        return {
            "manifest": self.path,
            "images": 0 if self.manifest is None else len(self.manifest),
            "faults": self.faults,
            "warnings": len(self.findings) - self.faults,
            "findings": [asdict(one) for one in self.findings],
            "predictability": measured,
            "compared": self.compared,
        }


def check_data(path: str | os.PathLike[str], progress: bool = True) -> Checked:
    """Check a data set before anything is trained on it.

    Args:
        path: of a manifest.
        progress: show progress bars on stderr.

    Raises:
        UsageError: there is no such manifest.
    """
    name = os.fspath(path)
    try:
        manifest = Manifest.read(path)
    except ManifestError as error:
        return Checked(name, None, [finding("fault", "manifest", problem) for problem in error.problems])
    facts, problems = read_facts(manifest, progress)
    findings = _unreadable(problems) + check_balance(manifest)
    if facts.empty:
        return Checked(name, manifest, findings)
    compared = compare_with_sources(facts, progress)
    measured = measure_giveaways(facts)
    findings += check_masks(facts, compared) + check_labels(facts, compared)
    duplicates = near_duplicates(facts)
    findings += check_duplicates(duplicates) + check_crops(facts, duplicates, progress)
    findings += check_giveaways(measured)
    findings.sort(key=lambda one: one.severity)  # "fault" comes before "warning"
    return Checked(name, manifest, findings, measured, len(compared))


def _unreadable(problems: Sequence[tuple[str, str]]) -> list[Finding]:
    if not problems:
        return []
    files = [(file,) for file, _ in problems]
    message = f"{len(problems)} files cannot be used, the first because {problems[0][1]}"
    return [finding("fault", "files", message, files)]
