"""What every section of a configuration is, and one sentence for whatever is wrong in one."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lae_tf.config.yaml_values import shown

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A frozen part of the configuration."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


def problem(section: Any, details: Any) -> str:
    """Return one sentence for one of pydantic's error records on a :class:`Section`.

    With the nearest known key for an unknown one, and what a key means for a value that is wrong or missing.
    """
    location = [str(part) for part in details["loc"]]
    where = ".".join(location)
    if details["type"] == "extra_forbidden":
        for part in location[:-1]:
            section = section.model_fields[part].annotation
        close = get_close_matches(location[-1][:100], section.model_fields, n=1, cutoff=0.5)
        known = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(section.model_fields)}."
        return f"{where}: unknown key; {known}"
    if details["type"] == "value_error":  # of several keys together
        return f"{where}: {details['ctx']['error']}.".removeprefix(": ")
    if details["type"] == "model_type":
        return f"{where}: a section with keys of its own is expected; found {shown(details['input'])}."
    found = "missing" if details["type"] == "missing" else f"{details['msg']}; found {shown(details['input'])}"
    return f"{where}: {found}.{_meaning(section, location)}"


def _meaning(section: Any, location: Sequence[str]) -> str:
    """Return the meaning of the field that a location lies in, after a space; nothing where it has none."""
    for part in location:
        field = section.model_fields.get(part)
        if field is None:
            return ""
        if field.description:
            return f" Meaning: {' '.join(field.description.split())}"
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, Section)):
            return ""
    return ""
