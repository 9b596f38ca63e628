"""Holds a running server against the golden images of an export: TensorFlow Serving, or ``lae-tf serve``."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from lae_tf.errors import LAEError, UsageError
from lae_tf.serving.client.rest_client import require_http
from lae_tf.video.face_places import FACES


@dataclass
class CheckedImage:
    """What a server said of one golden image.

    Attributes:
        file: its name.
        expected: the checkpoint's score.
        alone: the server's score in a request of its own; None where it gave none.
        together: its score in one request with all images; None where it gave none.
        problems: one sentence each; empty where both answers are right.
    """

    file: str
    expected: float
    alone: float | None = None
    together: float | None = None
    problems: list[str] = field(default_factory=list)


class _Golden(NamedTuple):
    """A set of golden images.

    Attributes:
        images: their records.
        instances: the files in base64, for a model of faces with the places of these.
        tolerance: largest allowed difference of a score.
        edges: by the name of an output in words, the scores at which the word changes.
    """

    images: list[dict[str, Any]]
    instances: list[dict[str, Any]]
    tolerance: float
    edges: dict[str, list[float]]


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


def check_server(
    url: str, golden: Path, model: str = "lae", token: str | None = None, timeout: float = 60.0
) -> list[CheckedImage]:
    """Ask a server for the scores of the golden images, each on its own and all in one request.

    Args:
        url: of the server (``http://127.0.0.1:8501``), or of a model, a version or a label
            (``.../v1/models/lae/labels/canary``).
        golden: folder with golden.json, see :func:`find_golden`.
        model: its name there, where ``url`` is the server's.
        token: bearer token to send.
        timeout: of one request, in seconds.

    Returns:
        The images in the set's order; without problems where every score is the checkpoint's within the stored
        tolerance.

    Raises:
        LAEError: nobody answers at ``url``, or the set cannot be read.
    """
    require_http(url)
    known = _read(golden)
    images = known.images
    place = url.rstrip("/") if "/v1/models/" in url else f"{url.rstrip('/')}/v1/models/{model}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    checked = [CheckedImage(image["file"], image["score"]) for image in images]
    with httpx.Client(headers=headers, timeout=timeout) as client:
        for start, end in [(i, i + 1) for i in range(len(images))] + [(0, len(images))]:
            alone = end - start == 1
            what = "alone" if alone else "in one request with all"
            answer = _predict(client, f"{place}:predict", known.instances[start:end])
            if isinstance(answer, str):
                for one in checked[start:end]:
                    one.problems.append(f"{what}: {answer}")
                continue
            for image, one, prediction in zip(images[start:end], checked[start:end], answer, strict=True):
                score, difference = _compare(image, prediction, known)
                if alone:
                    one.alone = score
                else:
                    one.together = score
                if difference:
                    one.problems.append(f"{what}: {difference}")
    return checked


def _read(golden: Path) -> _Golden:
    try:
        record = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
        images = record["images"]
        instances = [_instance((golden / image["file"]).read_bytes(), image) for image in images]
        edges = {"label": [record["threshold"]]}
        if all("verdict" in image for image in images):  # exports of older versions know none
            edges["verdict"] = [record[name] for name in ("threshold", "lowest_fake", "highest_real")]
        return _Golden(images, instances, record["tolerance"], edges)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LAEError(f"{golden}: the golden images cannot be read ({error!r}); export the run again.") from None


def _instance(data: bytes, image: dict[str, Any]) -> dict[str, Any]:
    file = {"b64": base64.b64encode(data).decode("ascii")}
    return {"image_bytes": file, FACES: image[FACES]} if FACES in image else file


def _predict(client: httpx.Client, url: str, images: list[dict[str, Any]]) -> list[Any] | str:
    """Return one prediction per image, or what went wrong."""
    try:
        response = client.post(url, json={"instances": images})
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise LAEError(f"No answer from {url} ({error or type(error).__name__}); is the server running?") from None
    if response.status_code != 200:
        return f"status {response.status_code}: {response.text.strip()[:300]}"
    try:
        predictions = response.json()["predictions"]
    except (ValueError, KeyError, TypeError):
        return f"the answer is not a prediction: {response.text.strip()[:300]}"
    if not isinstance(predictions, list) or len(predictions) != len(images):
        return f"{len(images)} predictions were expected: {response.text.strip()[:300]}"
    return predictions


def _compare(image: dict[str, Any], prediction: Any, known: _Golden) -> tuple[float | None, str]:
    """Return the server's score and what is wrong with its answer."""
    if not isinstance(prediction, dict) or not {"score", *known.edges} <= set(prediction):
        return None, f"answer {prediction!r} has no score and {' and '.join(known.edges)}; is it this model?"
    score, tolerance = prediction["score"], known.tolerance
    if not isinstance(score, (int, float)):
        return None, f"scores {score!r}, which is no number"
    # "not within" and not "over": NaN is within nothing.
    if not abs(score - image["score"]) <= tolerance:
        return score, f"scores {score}, expected {image['score']:.7f} within {tolerance:g}"
    for name, edges in known.edges.items():
        # Closer to an edge than the tolerance, the words on both of its sides are right.
        if prediction[name] != image[name] and all(abs(image["score"] - edge) > tolerance for edge in edges):
            return score, f"is called {prediction[name]}, expected {image[name]}"
    return score, ""
