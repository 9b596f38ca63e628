"""What a project of Label Studio asks to be drawn on an image: read out of its labelling configuration.

Facts: https://labelstud.io/tags/image, /tags/brushlabels, /tags/polygonlabels, /tags/rectanglelabels, /tags/label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from lae_tf.annotation.items import FORGED
from lae_tf.errors import UsageError

LARGEST_CONFIG = 1 << 20
"""Characters; a configuration of thousands of labels has less."""

BRUSH, POLYGON, RECTANGLE = "brushlabels", "polygonlabels", "rectanglelabels"
_TAGS = {BRUSH: "BrushLabels", POLYGON: "PolygonLabels", RECTANGLE: "RectangleLabels"}
"""Types of regions as results name them, and their tags; of several in a project the first of these counts."""


@dataclass(frozen=True)
class Control:
    """A tag by which regions are drawn on an image.

    Attributes:
        kind: ``BRUSH``, ``POLYGON`` or ``RECTANGLE``.
        name: of the tag.
        image: name of the Image tag that it draws on.
        data: field of a task's data that says where the image is.
        label: of a forged region.
    """

    kind: str
    name: str
    image: str
    data: str
    label: str

    def region(self, value: Mapping[str, Any], identity: str, size: tuple[int, ...]) -> dict[str, Any]:
        """Return a region as results hold it.

        Args:
            value: its geometry.
            identity: that no other region of the image has.
            size: height and width of the upright image in pixels.
        """
        return {
            "id": identity,
            "type": self.kind,
            "from_name": self.name,
            "to_name": self.image,
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "value": {**value, self.kind: [self.label]},
        }


@dataclass(frozen=True)
class _Tag:
    """A tag of the configuration, its name in small letters, and the labels right below it."""

    kind: str
    attributes: dict[str, str]
    labels: list[str] = field(default_factory=list)


def read_control(label_config: object) -> Control:
    """Find the tag that forged regions are drawn by: brush before polygon before rectangle.

    Its label is "forged" or, under another name, the only one that it has.

    Args:
        label_config: XML, as requests of Label Studio hold it; nothing in it is trusted.

    Raises:
        UsageError: it is no such configuration, or has no image, no such tag, or no label to choose.
    """
    if not isinstance(label_config, str):
        raise UsageError("The request has no labelling configuration; expected XML as text.")
    tags = _read_tags(label_config)
    images = {tag.attributes["name"]: tag for tag in tags if tag.kind == "image" and "name" in tag.attributes}
    if not images:
        raise UsageError("The labelling configuration has no Image tag with a name; only images can be pre-annotated.")
    for kind in _TAGS:
        for tag in tags:
            targets = [name for name in tag.attributes.get("toName", "").split(",") if name in images]
            if tag.kind == kind and targets and "name" in tag.attributes:
                image = images[targets[0]]
                return Control(kind, tag.attributes["name"], targets[0], _data_field(image), _label(tag))
    kinds = " or ".join((", ".join(list(_TAGS.values())[:-1]), _TAGS[RECTANGLE]))
    raise UsageError(
        f"The labelling configuration has no {kinds} for its image; add one of them with a Label '{FORGED}'."
    )


def _read_tags(text: str) -> list[_Tag]:
    """Parse XML without document types, and so without entities of its own."""
    if len(text) > LARGEST_CONFIG:
        raise UsageError(f"The labelling configuration has {len(text)} characters; at most {LARGEST_CONFIG} are read.")
    tags: list[_Tag] = []
    path: list[_Tag] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        tag = _Tag(name.lower(), attributes)
        if path and tag.kind == "label":
            path[-1].labels.append(attributes.get("alias") or attributes.get("value", ""))
        tags.append(tag)
        path.append(tag)

    def refuse(*_: object) -> None:
        raise UsageError("The labelling configuration declares a document type (DOCTYPE), which is refused; remove it.")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8"), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise UsageError(f"The labelling configuration is not XML: {error}.") from None
    return tags


def _data_field(image: _Tag) -> str:
    value = image.attributes.get("value", "")
    if not value.startswith("$") or len(value) < 2:
        raise UsageError(
            f"The Image tag '{image.attributes['name']}' has the value '{value}'; expected the name of a field of the "
            "tasks' data, such as $image."
        )
    return value[1:]


def _label(tag: _Tag) -> str:
    labels = list(filter(None, tag.labels))
    if FORGED in labels:
        return FORGED
    if len(labels) == 1:
        return labels[0]
    found = f"the labels {', '.join(labels)}" if labels else "no label"
    name = f"{_TAGS[tag.kind]} '{tag.attributes['name']}'"
    raise UsageError(f"The tag {name} has {found}; expected one called '{FORGED}', or only one.")
