"""Label Studio: tasks out, both kinds of JSON export back.

Facts: https://labelstud.io/guide/tasks, /guide/predictions (brush), /tags/brushlabels, /guide/export (JSON and
JSON-MIN), /guide/storage (local files).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lae_tf.annotation import label_config
from lae_tf.annotation.items import FORGED, NOT_FAKE, Drawing, ImageNames, Item
from lae_tf.errors import ImageError, UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.files.json_files import read_json
from lae_tf.masks.polygons import fill_polygon
from lae_tf.masks.rle import RLEError, decode_brush, encode_brush

TASKS_FILE, CONFIG_FILE = "tasks.json", "labeling_config.xml"
BRUSH, POLYGON, VERDICT, IMAGE = "brush", "polygon", "verdict", "image"
"""Names of the tags in the labelling configuration; regions refer to them."""

WITHOUT_GEOMETRY = {"relation", "textarea", "rating", "number", "datetime", "taxonomy", "pairwise", "ranker", "text"}
"""Types of results that say something in words or numbers; those of a region repeat its outline."""

LABELING_CONFIG = f"""<View>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"/>
  <BrushLabels name="{BRUSH}" toName="{IMAGE}">
    <Label value="{FORGED}" background="#ff375f"/>
  </BrushLabels>
  <PolygonLabels name="{POLYGON}" toName="{IMAGE}">
    <Label value="{FORGED}" background="#ff375f"/>
  </PolygonLabels>
  <Choices name="{VERDICT}" toName="{IMAGE}" choice="single" showInline="true">
    <Choice value="{NOT_FAKE}"/>
  </Choices>
  <Text name="reason" value="$reason"/>
</View>
"""


def write_tasks(folder: Path, items: Sequence[Item], file_names: dict[int, str], attention: bool) -> None:
    """Write ``tasks.json`` and ``labeling_config.xml``.

    Args:
        folder: what LOCAL_FILES_DOCUMENT_ROOT of Label Studio will name.
        items: the selected images.
        file_names: by rank, the path of each image's copy, relative to ``folder``.
        attention: add where the attention exceeds 0.5 as a prediction, from which an annotator may start.

    Raises:
        ImageError: an image cannot be used.
    """
    tasks = []
    for item in items:
        url = f"/data/local-files/?d={quote(file_names[item.rank])}"
        task: dict[str, Any] = {"data": {"image": url, "rank": item.rank, "reason": item.reason}}
        height, width = item.size()
        start = item.starting_mask(height, width) if attention else None
        if start is not None:
            task["predictions"] = [{"model_version": "lae_tf attention", "result": [brush_region(start, item.name)]}]
        tasks.append(task)
    write_bytes(folder / CONFIG_FILE, LABELING_CONFIG.encode("utf-8"))
    write_bytes(folder / TASKS_FILE, json.dumps(tasks).encode("utf-8"))


def brush_region(mask: np.ndarray, identity: str) -> dict[str, Any]:
    """Return a mask, uint8 (H, W) in {0, 1}, as a brush region."""
    control = label_config.Control(label_config.BRUSH, BRUSH, IMAGE, "image", FORGED)
    return control.region({"format": "rle", "rle": encode_brush(mask)}, identity, mask.shape)


def read_export(path: Path, names: ImageNames, problems: list[str]) -> Iterator[Drawing]:
    """Yield the masks and verdicts of an export in JSON or JSON-MIN.

    Brush strokes and polygons of an image are united. Of several annotations of a task the one updated last
    counts; cancelled ones and tasks without any are left out.

    Args:
        path: of the JSON file.
        names: of the selected images.
        problems: gets one sentence for each task that cannot be used.

    Raises:
        UsageError: not an export of Label Studio.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UsageError(f"{path}: is not an export of Label Studio; expected a list of tasks (JSON or JSON-MIN).")
    # An annotation a task in JSON, but a record an annotation in JSON-MIN: the last one counts in both.
    latest: dict[int, tuple[str, str, Item, list[dict[str, Any]]]] = {}
    for number, task in enumerate(tasks, start=1):
        source = f"{path}, task {task.get('id', number)}"
        try:
            url = _image_url(task)
            annotations = list(_annotations(task))
        except (KeyError, TypeError, ValueError, AttributeError):
            problems.append(f"{source}: is not a task as Label Studio writes it")
            continue
        item = names.find_url(url)
        if isinstance(item, str):
            if annotations:
                problems.append(f"{source}: {item}")
            continue
        for updated, regions in annotations:
            if item.rank not in latest or updated >= latest[item.rank][0]:
                latest[item.rank] = (updated, source, item, regions)
    for _, source, item, regions in latest.values():
        try:
            yield Drawing(item, source, _unite(regions, *item.size()))
        except (RLEError, ImageError, UsageError) as error:
            problems.append(f"{source}: {error}")
        except (KeyError, TypeError, ValueError, AttributeError):
            problems.append(f"{source}: has a region that is not as Label Studio writes it")


def _image_url(task: dict[str, Any]) -> str:
    url = task["data"]["image"] if "data" in task else task["image"]
    if not isinstance(url, str):
        raise TypeError
    return url


def _annotations(task: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield when each annotation was updated, and its regions as full JSON has them."""
    if "data" in task:
        for annotation in task.get("annotations", []):
            if not annotation.get("was_cancelled") and not annotation.get("skipped"):
                yield str(annotation.get("updated_at") or annotation.get("created_at") or ""), annotation["result"]
        return
    # JSON-MIN: regions lie under the names of their tags, each with its value's fields beside its size;
    # a single choice is its text. A task without annotations has no annotation_id.
    if task.get("annotation_id") is None:
        return
    regions: list[dict[str, Any]] = []
    for values in task.values():
        for value in values if isinstance(values, list) else []:
            kinds = [key for key in value if key.endswith("labels")] if isinstance(value, dict) else []
            regions += [{"type": kind, "value": value, **value} for kind in kinds[:1]]
    if VERDICT in task:
        chosen = task[VERDICT]
        choices = [chosen] if isinstance(chosen, str) else [name for each in chosen for name in each["choices"]]
        regions.append({"type": "choices", "value": {"choices": choices}})
    yield str(task.get("updated_at") or task.get("created_at") or ""), regions


def _unite(regions: Sequence[dict[str, Any]], height: int, width: int) -> np.ndarray | None:
    mask = np.zeros((height, width), np.uint8)
    drawn = refused = False
    for region in regions:
        kind = region["type"].lower()
        if kind in WITHOUT_GEOMETRY:
            continue
        value = region["value"]
        if kind == "choices":
            refused |= NOT_FAKE in (value.get("choices") or [])
        elif kind in ("brushlabels", "polygonlabels"):
            mask |= _decode(kind, region, value, height, width)
            drawn = True
        else:
            raise UsageError(f"has a region of the type '{kind}'; expected brush strokes or polygons")
    if drawn == refused:
        what = f"both regions and the verdict '{NOT_FAKE}'" if drawn else f"neither a region nor '{NOT_FAKE}'"
        raise UsageError(f"has {what}")
    return None if refused else mask


def _decode(kind: str, region: dict[str, Any], value: dict[str, Any], height: int, width: int) -> np.ndarray:
    if value.get(kind) != [FORGED]:
        raise UsageError(f"has a region labelled {value.get(kind)}; expected ['{FORGED}']")
    size = (region["original_height"], region["original_width"])
    if size != (height, width):
        raise UsageError(f"was drawn on {size[1]} x {size[0]} pixels, the image has {width} x {height}")
    if region.get("image_rotation"):
        raise UsageError("has a region on a rotated image; draw it on the upright one")
    if kind == "brushlabels":
        return decode_brush(value["rle"], height, width)
    # Points are percentages of the image's sides.
    points = np.array(value["points"], dtype=float).reshape(-1, 2) * (width / 100, height / 100)
    if len(points) < 3 or not np.isfinite(points).all():
        raise UsageError("has a polygon of less than three points")
    return fill_polygon(points, height, width)
