"""Holds a running server against the golden images of an export: TensorFlow Serving, or ``lae-tf serve``."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx

from lae_tf.errors import UsageError

_DEFAULT_MODEL = "/v1/models/lae"


def find_golden(path: Path) -> Path:
    """Find the golden images in an export: a version's folder, or the highest version below OUT or OUT/lae.

    Raises:
        UsageError: there are none.
    """
    for parent in (path, path / "lae"):
        numbers = [int(entry.name) for entry in parent.glob("*") if entry.name.isascii() and entry.name.isdigit()]
        places = [parent, *(parent / str(number) for number in sorted(numbers, reverse=True))]
        for place in places:
            if (place / "assets.extra/golden/golden.json").is_file():
                return place / "assets.extra/golden"
    raise UsageError(f"{path}: no golden images here; expected an export that `lae-tf export` made.")


def check_server(url: str, golden: Path, token: str | None = None, timeout: float = 60.0) -> list[str]:
    """Ask a server for the scores of the golden images, each on its own and all in one request.

    Args:
        url: of the server (``http://127.0.0.1:8501``; the model is then ``lae``), or of a model, a version or
            a label (``.../v1/models/lae/labels/canary``).
        golden: folder with golden.json, see :func:`find_golden`.
        token: bearer token to send.
        timeout: of one request, in seconds.

    Returns:
        One sentence per problem; empty where every score is the checkpoint's within the stored tolerance.
    """
    record = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
    images = record["images"]
    encoded = [base64.b64encode((golden / image["file"]).read_bytes()).decode("ascii") for image in images]
    place = url.rstrip("/") if "/v1/models/" in url else url.rstrip("/") + _DEFAULT_MODEL
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    problems: list[str] = []
    with httpx.Client(headers=headers, timeout=timeout) as client:
        for start, end in [(i, i + 1) for i in range(len(images))] + [(0, len(images))]:
            what = "alone" if end - start == 1 else "in one request with all"
            answer = _predict(client, f"{place}:predict", encoded[start:end])
            if isinstance(answer, str):
                problems.append(f"{images[start]['file']} {what}: {answer}")
                if answer.startswith("no answer"):
                    break
                continue
            for image, prediction in zip(images[start:end], answer, strict=True):
                difference = _difference(image, prediction, record["threshold"], record["tolerance"])
                if difference:
                    problems.append(f"{image['file']} {what}: {difference}")
    return problems


def _predict(client: httpx.Client, url: str, images: list[str]) -> list[Any] | str:
    """Return one prediction per image, or what went wrong."""
    try:
        response = client.post(url, json={"instances": [{"b64": image} for image in images]})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"no answer from {url} ({error or type(error).__name__})"
    if response.status_code != 200:
        return f"status {response.status_code}: {response.text.strip()[:300]}"
    try:
        predictions = response.json()["predictions"]
    except (ValueError, KeyError, TypeError):
        return f"the answer is not a prediction: {response.text.strip()[:300]}"
    if not isinstance(predictions, list) or len(predictions) != len(images):
        return f"{len(images)} predictions were expected: {response.text.strip()[:300]}"
    return predictions


def _difference(image: dict[str, Any], prediction: Any, threshold: float, tolerance: float) -> str:
    if not isinstance(prediction, dict) or not {"score", "label"} <= set(prediction):
        return f"answer {prediction!r} has no score and label; is it this model?"
    score = prediction["score"]
    # "not within" and not "over": NaN is within nothing.
    if not isinstance(score, (int, float)) or not abs(score - image["score"]) <= tolerance:
        return f"scores {score}, expected {image['score']:.7f} within {tolerance:g}"
    # Closer to the threshold than the tolerance, either label is right.
    if prediction["label"] != image["label"] and abs(image["score"] - threshold) > tolerance:
        return f"is called {prediction['label']}, expected {image['label']}"
    return ""
