"""What clients get back: typed results, from the answers of an exported model's signatures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from lae_tf.errors import LAEError
from lae_tf.metrics.decision import label_of
from lae_tf.metrics.verdict import ConformalBounds, verdict_of
from lae_tf.predict.scored import ScoredImage

R = TypeVar("R", bound="Score")


class ServerError(LAEError):
    """The server refused a request, could not be reached, or sent what is no answer.

    Attributes:
        status: the HTTP status, or the one that stands for a gRPC code; 0 where no answer came.
    """

    def __init__(self, message: str, status: int = 0):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Score(ScoredImage):
    """What the model says of one image; the fields of ``lae-tf predict``."""

    signature: ClassVar[str] = "serving_default"

    def at(self: R, threshold: float) -> R:
        """Return the same score with the label and the verdict that another threshold gives it."""
        if self.error:
            return self
        score = float(np.float32(self.score))  # as JSON rounded it, it may lie just below itself
        verdict = verdict_of(score, threshold, self.bounds)
        return replace(self, label=label_of(score, threshold), threshold=threshold, verdict=verdict)

    @classmethod
    def values(cls, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that a signature's outputs for one image fill."""
        numbers = {name: float(outputs[name]) for name in ("score", "logit", "threshold")}
        # Models of older versions know no verdict but the label.
        words = {"label": outputs["label"], "verdict": outputs.get("verdict", outputs["label"])}
        bounds = {name: float(np.float32(outputs[name])) for name in ConformalBounds._fields if name in outputs}
        return {
            **numbers,
            **{name: word.decode() if isinstance(word, bytes) else str(word) for name, word in words.items()},
            "bounds": ConformalBounds(**bounds),
        }


@dataclass(frozen=True)
class Explanation(Score):
    """A score, and where in the image it comes from.

    Attributes:
        heatmap_png: a PNG file: the attention over the image; empty for a bad file.
        reconstruction_error: mean absolute error of the reconstruction, in [0, 1]; NaN for a bad file.
    """

    signature: ClassVar[str] = "explain"

    heatmap_png: bytes = b""
    reconstruction_error: float = float("nan")

    @classmethod
    def values(cls, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that a signature's outputs for one image fill."""
        error = float(outputs["reconstruction_error"])
        return {
            **super().values(outputs),
            "heatmap_png": bytes(outputs["heatmap_png_bytes"]),
            "reconstruction_error": error,
        }


def read_predictions(predictions: Any, names: Sequence[str], kind: type[R]) -> list[R]:
    """Return one result per image.

    Args:
        predictions: a list with a mapping from outputs to values for each image; values may be JSON's, of
            shape () or (1,).
        names: of the images.
        kind: of the results.

    Raises:
        ServerError: that is no answer of an exported model.
    """
    if not isinstance(predictions, list) or len(predictions) != len(names):
        raise ServerError(f"The server did not answer with {len(names)} predictions; is it another model?")
    try:
        return [
            kind(name, **kind.values({key: _plain(value) for key, value in prediction.items()}))
            for name, prediction in zip(names, predictions, strict=True)
        ]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise ServerError(
            f"The server's answer lacks outputs of the signature {kind.signature}; is it another model?"
        ) from None


def _plain(value: Any) -> Any:
    """Return an output of one image, whether the model gives it shape (B,) or (B, 1), and bytes as bytes."""
    if isinstance(value, list):
        value = value[0]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value
