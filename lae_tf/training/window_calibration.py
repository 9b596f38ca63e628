"""What validation photographs choose of the view ``windows``: how the logits of windows become that of an image."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from scipy.optimize import minimize
from scipy.special import expit
from tqdm import tqdm

from lae_tf.config.sections import Config
from lae_tf.data.manifest import Manifest
from lae_tf.data.pyramid import halved
from lae_tf.data.views import look_in_windows
from lae_tf.files.atomic import write_text
from lae_tf.forge.degradations import launder
from lae_tf.forge.methods import generator
from lae_tf.forge.on_the_fly import SMALLEST_SIDE, self_forge_within
from lae_tf.images.files import read_image
from lae_tf.model.window_pooling import LEVELS, NO_WEIGHTS, PoolingWeights, WindowLogits, features, pooled_windows
from lae_tf.training.calibrate import calibrate, scale_of, store

_NINETY_NINTH = float(np.log(0.99 / 0.01))  # quantile of the standard logistic distribution
_RIDGE = 1e-2
_KEPT = TypeAdapter(list[tuple[tuple[list[list[float]], float], int, bool, bool]])  # as of _Looked, of a photograph
_LEAST = 30  # logits of a level from which its own scale is taken


class _Example(NamedTuple):
    image: np.ndarray
    is_fake: bool
    degraded: bool
    is_halved: bool


class _Looked(NamedTuple):
    """What the model says of an example."""

    logits: WindowLogits
    label: int
    degraded: bool
    is_halved: bool


def calibrate_windows(
    model: Any, images: Manifest, config: Config, attention_level: float, kept: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit the pooling of a model's windows on validation photographs, calibrate its scores, and store both in it.

    Beside every real photograph stands a forgery made from it, and beside each image, where training degrades images, a
    laundered copy; the pooling is fitted to images of half their sides, too.

    Args:
        model: LAE, or another of the view ``windows`` that can be looked with (``lae_tf.data.views.Detector``).
        images: of validation, at their own size.
        config: of the run.
        attention_level: to keep.
        kept: folder for what the model says of each photograph, so that a calibration which was stopped goes on.

    Returns:
        The decision, and one row per image of its own size with label (1 = fake), logit, score and degraded.
    """
    looked = _look_at_all(model, images, config, kept / _digest(model, images, config))
    logits = [one.logits for one in looked]
    scored = pd.DataFrame([one[1:] for one in looked], columns=_Looked._fields[1:])
    labels = scored["label"].to_numpy()
    model.window_pooling.assign(fit_pooling(logits, labels))
    scored["logit"] = [model.window_pooling.pooled(one) for one in logits]
    # A photograph and its half are no two images, and rates count images.
    scored = scored[~scored.pop("is_halved")].reset_index(drop=True)
    chosen = calibrate(scored["logit"].to_numpy(), scored["label"].to_numpy(), config.calibration.error_rate)
    decision = {**chosen, "attention_level": attention_level}
    store(model, decision)
    scored["score"] = scale_of(decision).scores(scored["logit"])
    # Stored images first, as of the other views.
    return decision, scored.sort_values("degraded", kind="stable", ignore_index=True)


def _digest(model: Any, images: Manifest, config: Config) -> str:
    """Return what the logits of all examples depend on."""
    digest = hashlib.sha256(f"{images.digest()} {config.seed} {config.augment.degrade > 0}".encode())
    chosen = (model.calibration, model.attention_scale, model.window_pooling)
    passed_over = {id(variable) for layer in chosen for variable in layer.weights}
    for variable in (each for each in model.weights if id(each) not in passed_over):
        digest.update(np.ascontiguousarray(variable).tobytes())
    return digest.hexdigest()[:16]


def _look_at_all(model: Any, images: Manifest, config: Config, folder: Path) -> list[_Looked]:
    reals = images.frame["path"][~images.is_fake].tolist()
    total = 2 * (len(images) + len(reals)) * (1 + bool(config.augment.degrade))
    looked: list[_Looked] = []
    with tqdm(total=total, desc="calibrate", unit=" images", file=sys.stderr) as bar:
        for number, (path, is_fake) in enumerate(zip(images.frame["path"], images.is_fake, strict=True)):
            file = folder / f"{number:06d}.json"
            earlier = _read(file)
            if earlier is None:
                earlier = []
                for image, label, *rest in _examples(path, bool(is_fake), reals, config):
                    earlier.append(_Looked(look_in_windows(model, image)[0], int(label), *rest))
                    bar.update()
                write_text(file, json.dumps(earlier, default=np.ndarray.tolist))
            else:
                bar.update(len(earlier))
            looked += earlier
    return looked


def _read(file: Path) -> list[_Looked] | None:
    """Return what was kept of a photograph; None where nothing was, or something else."""
    try:
        return [
            _Looked(WindowLogits([np.array(level, np.float32) for level in levels], whole), label, degraded, is_halved)
            for (levels, whole), label, degraded, is_halved in _KEPT.validate_json(file.read_bytes())
        ]
    except (OSError, ValueError):
        return None


def _examples(path: str, is_fake: bool, reals: list[str], config: Config) -> Iterator[_Example]:
    """Yield a photograph, a forgery of it if it is real, their halves, and laundered copies of all."""
    rng = generator(config.seed, "windows", path.rpartition("/")[2])
    photograph = read_image(path)
    pictures = [(photograph, is_fake)]
    if not is_fake and min(photograph.shape[:2]) >= SMALLEST_SIDE:
        donor = read_image(reals[rng.integers(len(reals))])
        forged, mask = self_forge_within(photograph, donor, rng)
        pictures.append((forged, bool(mask.any())))
    for picture, label in pictures:
        for is_halved, image in enumerate((picture, halved(picture))):
            yield _Example(image, label, False, bool(is_halved))
            if config.augment.degrade:
                yield _Example(launder(image, rng), label, True, bool(is_halved))


def fit_pooling(logits: Sequence[WindowLogits], labels: np.ndarray) -> PoolingWeights:
    """Return the weights for which the logit of the image tells validation's fakes from its real images best.

    Centre and spread of each level are those of real images' windows; the growth with the number of windows is fitted
    to real images, by least squares; the three weights by logistic regression with equal weight of both kinds, the
    first two being at least 0.

    Args:
        logits: of N images.
        labels: (N,), 1 = fake.
    """
    real = [one for one, label in zip(logits, labels, strict=True) if not label]
    centre, spread = (np.array(values, np.float64) for values in NO_WEIGHTS[:2])
    for level in range(LEVELS):
        found = [one.levels[level] for one in real if level < len(one.levels)]
        scale = _scale(np.concatenate(found)) if sum(map(len, found)) >= _LEAST else None
        if scale is not None or level:
            centre[level], spread[level] = scale or (centre[level - 1], spread[level - 1])
    centre[-1], spread[-1] = _scale(np.array([one.whole for one in real]))
    fitted = PoolingWeights(centre, spread, np.zeros(2), np.zeros(3))
    pooled = [(np.log1p(one.windows), value) for one in real if (value := pooled_windows(one, fitted)) is not None]
    if pooled:
        count, value = np.array(pooled).T
        slope = max(0.0, float(np.polyfit(count, value, 1)[0])) if np.ptp(count) > 0 else 0.0
        fitted = fitted._replace(growth=np.array([value.mean() - slope * count.mean(), slope]))
    x = np.array([[*features(one, fitted), 1.0] for one in logits])
    weights = np.where(labels == 1, 0.5 / max(1, int(labels.sum())), 0.5 / max(1, len(real)))

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ coefficients
        ridge = _RIDGE * coefficients * (1, 1, 0)
        error = weights * (expit(z) - labels)
        value = weights @ (np.logaddexp(0, z) - labels * z) + 0.5 * ridge @ coefficients
        return float(value), error @ x + ridge

    bounds = [(0.0, None), (0.0, None), (None, None)]
    best = minimize(loss, NO_WEIGHTS.weights.astype(np.float64), jac=True, method="L-BFGS-B", bounds=bounds).x
    return PoolingWeights(*(np.asarray(part, np.float32) for part in fitted._replace(weights=best)))


def _scale(values: np.ndarray) -> tuple[float, float]:
    """Return the median, and the spread of the logistic distribution that has the same 99 % quantile above it."""
    centre, high = np.quantile(values, [0.5, 0.99])
    return float(centre), max(float(high - centre) / _NINETY_NINTH, 1e-3)
