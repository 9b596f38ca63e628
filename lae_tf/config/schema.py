"""What a configuration may hold, from its fields alone: keys with default, values and meaning, and a JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lae_tf.config.sections import Config


@dataclass(frozen=True)
class Key:
    """One key of the configuration.

    Attributes:
        name: dotted, as ``--set`` takes it.
        default: as in JSON; None too where the key is required.
        required: whether it must be given.
        values: what it may be, with the range, in words.
        meaning: with the unit.
    """

    name: str
    default: Any
    required: bool
    values: str
    meaning: str


@dataclass(frozen=True)
class SectionKeys:
    """One section: its name, empty for keys that stand in none, its meaning and its keys."""

    name: str
    meaning: str
    keys: tuple[Key, ...]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration, for editors and other programs."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    unwrapped: dict[str, Any] = _on_one_line(schema)
    return unwrapped


def sections() -> list[SectionKeys]:
    """Return all keys by section, in the order of the configuration."""
    schema = json_schema()
    plain: list[Key] = []
    found = []
    for name, node in schema["properties"].items():
        if "$ref" not in node:
            plain.append(_key(name, node, required=name in schema.get("required", ())))
            continue
        section = schema["$defs"][node["$ref"].rpartition("/")[2]]
        required = section.get("required", ())
        keys = tuple(_key(f"{name}.{key}", node, key in required) for key, node in section["properties"].items())
        found.append(SectionKeys(name, section["description"], keys))
    return [SectionKeys("", schema["description"], tuple(plain)), *found]


def value_of(config: Config, key: Key) -> Any:
    """Return what a configuration has for a key, as in JSON."""
    value: Any = config.model_dump(mode="json")
    for part in key.name.split("."):
        value = value[part]
    return value


def _on_one_line(node: Any) -> Any:
    """Join the lines that a description has in the source."""
    if isinstance(node, list):
        return [_on_one_line(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: " ".join(value.split()) if name == "description" and isinstance(value, str) else _on_one_line(value)
        for name, value in node.items()
    }


def _key(name: str, node: dict[str, Any], required: bool) -> Key:
    return Key(name, node.get("default"), required, _values(node), node["description"])


def _values(node: dict[str, Any]) -> str:
    """Say which values a node of the schema allows."""
    if "anyOf" in node:
        return " or ".join(_values(each) for each in node["anyOf"])
    if "enum" in node:
        *others, last = map(str, node["enum"])
        return f"{', '.join(others)} or {last}"
    kind: str = node["type"]
    if kind == "array":
        if "prefixItems" in node:
            return f"[{'; '.join(_values(each) for each in node['prefixItems'])}]"
        return f"list of {_values(node['items'])}"
    if kind == "boolean":
        return "true or false"
    if kind == "string":
        return "text"
    return f"{kind}{_range(node)}"


def _range(node: dict[str, Any]) -> str:
    low = next((f"{node[name]} {sign}" for name, sign in _LOW if name in node), "")
    high = next((f"{sign} {node[name]}" for name, sign in _HIGH if name in node), "")
    if low and high:
        return f", {low} x {high}"
    number, _, sign = low.partition(" ")
    return f" {sign.replace('<', '>')} {number}" if low else f" {high}" if high else ""


_LOW = (("minimum", "<="), ("exclusiveMinimum", "<"))
_HIGH = (("maximum", "<="), ("exclusiveMaximum", "<"))
