"""Scoring the candidates: one streaming pass that keeps per-image features and never images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.model.attention import logit_gradient, pool_mask
from lae_tf.model.experts import describing
from lae_tf.model.lae import LAE


@dataclass(frozen=True)
class Features:
    """What selection knows of N images.

    Attributes:
        score: (N,) float32, calibrated P(fake).
        latent: (N, C) float32, z.
        evidence: (N, C) float32 >= 0: what each channel adds to the logit of "fake". Our definition: the positive
            part of the sum over locations of (ds/dF) F, gradient times activation.
        description: (N, D) float32, what an image shows: means of the trunk's outputs; the latent where the strategy
            asks for none, or of a model without a trunk.
        spread: (N,) float32 in [0, 1]: entropy of the normalised attention, divided by its maximum log(h w).
        reconstruction_error: (N,) float32, mean absolute error.
        group: (N,) the manifest's groups, as text.
        superficial: (N,) float32 in [0, 1]: share of the evidence from superficial channels; zeros until
            channel concepts are known (``ChannelConcepts.superficial_share``).
        annotated_latent: (M, C) latents of the images that have masks already; for ``k-center``.
        annotated_description: (M, D) descriptions of them; for strategies that cluster.
        annotated_group: (M,) their groups.
    """

    score: np.ndarray
    latent: np.ndarray
    evidence: np.ndarray
    description: np.ndarray
    spread: np.ndarray
    reconstruction_error: np.ndarray
    group: np.ndarray
    superficial: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    annotated_latent: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    annotated_description: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    annotated_group: np.ndarray = field(default_factory=lambda: np.zeros(0, object))

    def __len__(self) -> int:
        return len(self.score)


def directions(points: np.ndarray) -> np.ndarray:
    """Return points (N, D) as float64 of length 1; zeros stay."""
    points = points.astype(np.float64)
    unit: np.ndarray = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12)
    return unit


@dataclass
class ChannelActivity:
    """Where the channels' evidence lies, accumulated over a set of images.

    Attributes:
        map: (h, w, C) float64, mean evidence at each location.
        inside: (C,) float64, summed evidence inside known masks of fakes.
        total: (C,) float64, summed evidence on fakes with known masks.
        images: how many images.
    """

    map: np.ndarray
    inside: np.ndarray
    total: np.ndarray
    images: int = 0


class FeatureExtractor:
    """Scores images in batches, however many sets of them.

    Args:
        model: a trained model.
        describes: whether ``description`` is asked for, for which the trunk looks at images that else would be none of
            its; otherwise it is the latent.
    """

    def __init__(self, model: LAE, describes: bool = True):
        self._model = model
        self._step = _scoring_step(model, describes and model.hyperparameters.trunk != "none")

    def __call__(
        self, manifest: Manifest, batch_size: int = 32, title: str = "score candidates"
    ) -> tuple[Features, ChannelActivity]:
        """Return the features of images, and where the evidence of channels lies in them.

        Args:
            manifest: images that the graph can decode (see ``ingestion.ingest``); masks are used where known.
            batch_size: images a step.
            title: of the progress bar.
        """
        model = self._model
        columns: list[dict[str, np.ndarray]] = []
        grid, channels = model.encoder.output_shape[1:3], model.encoder.output_shape[-1]
        activity = ChannelActivity(np.zeros((*grid, channels)), np.zeros(channels), np.zeros(channels))
        with tqdm(total=len(manifest), desc=title, unit=" images", file=sys.stderr) as bar:
            for batch in evaluation_dataset(manifest, model.preprocessor, batch_size):
                outputs = {name: value.numpy() for name, value in self._step(batch).items()}
                activity.map += outputs.pop("map_sum")
                activity.inside += outputs.pop("inside")
                activity.total += outputs.pop("total")
                activity.images += len(outputs["score"])
                columns.append(outputs)
                bar.update(len(outputs["score"]))
        activity.map /= max(1, activity.images)
        names = columns[0] if columns else {}
        stacked = {name: np.concatenate([column[name] for column in columns]) for name in names}
        return Features(**stacked, group=manifest.frame["group"].to_numpy(dtype=object)), activity


def _scoring_step(model: LAE, describes: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    described = describing(model.encoder) if describes else None

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch: dict[str, Any]) -> dict[str, Any]:
        if described is None:
            outputs = model.forward_to_predict(batch["image"])
            description = outputs["latent"]
        else:
            seen, description = described(batch["image"])
            outputs = model.interpret(seen, training=False, images=batch["image"])
        features = outputs["features"]
        contribution = logit_gradient(model.head, features) * features
        evidence = tf.nn.relu(contribution)
        height, width = features.shape[1], features.shape[2]
        mask = pool_mask(batch["mask"], height, width) * (batch["label"] * batch["mask_weight"])[:, :, None]
        annotated = (batch["label"] * batch["mask_weight"])[:, :, None, None]
        attention = tf.reshape(tf.sigmoid(outputs["map_logits"]), (-1, height * width))
        share = attention / tf.reduce_sum(attention, axis=1, keepdims=True)
        entropy = -tf.reduce_sum(share * tf.math.log(share + 1e-12), axis=1) / tf.math.log(float(height * width))
        return {
            "score": model.calibration(outputs["logit"])[:, 0],
            "latent": outputs["latent"],
            "description": tf.cast(description, tf.float32),
            "evidence": tf.nn.relu(tf.reduce_sum(contribution, axis=(1, 2))),
            "spread": entropy,
            "reconstruction_error": tf.reduce_mean(tf.abs(batch["image"] - outputs["reconstruction"]), axis=(1, 2, 3)),
            "map_sum": tf.reduce_sum(evidence, axis=0),
            "inside": tf.reduce_sum(evidence * mask[..., None], axis=(0, 1, 2)),
            "total": tf.reduce_sum(evidence * annotated, axis=(0, 1, 2)),
        }

    return step
