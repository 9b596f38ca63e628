"""What the model says of one image, wherever it was scored: in this process, or by a server. Needs no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

from lae_tf.metrics.verdict import NO_BOUNDS, ConformalBounds


@dataclass(frozen=True)
class ScoredImage:
    """What the model says of one image.

    Attributes:
        path: the file, or the name that was given.
        score: calibrated P(fake); NaN for a bad file.
        label: ``fake`` where score >= threshold, else ``real``; empty for a bad file.
        logit: s before calibration.
        threshold: of the decision.
        error: empty, or why the file could not be scored.
        verdict: the label, or ``unsure`` where validation says that the model cannot tell; empty for a bad file.
        bounds: of the verdict.
    """

    path: str
    score: float = float("nan")
    label: str = ""
    logit: float = float("nan")
    threshold: float = float("nan")
    error: str = ""
    verdict: str = ""
    bounds: ConformalBounds = NO_BOUNDS

    def record(self) -> dict[str, object]:
        """Return the fields for tables and JSON: path and error, or path, score, label, verdict, logit, threshold."""
        if self.error:
            return {"path": self.path, "error": self.error}
        names = ("path", "score", "label", "verdict", "logit", "threshold")
        return {name: getattr(self, name) for name in names}
