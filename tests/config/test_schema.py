"""What is said of a configuration's keys: every one, with its values and meaning, and the same in the JSON Schema."""

from importlib import resources

import jsonschema
import pytest
import yaml

from lae_tf.config.schema import json_schema, sections, value_of
from lae_tf.config.section import Section
from lae_tf.config.sections import Config, ConfigError

KEYS = {key.name: key for section in sections() for key in section.keys}
MINIMAL = {"data": {"manifest": "m.csv"}}


def leaves(section, prefix=""):
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_is_listed_with_its_meaning():
    assert list(KEYS) == list(leaves(Config))
    for key in KEYS.values():
        assert key.meaning.endswith(".") and "\n" not in key.meaning, key


@pytest.mark.parametrize(
    "name, values",
    [
        ("seed", "integer, 0 <= x < 2147483648"),
        ("output", "text"),
        ("data.image_size", "integer, 16 <= x <= 4096"),
        ("data.train_methods", "list of text or null"),
        ("data.mask_share", "number, 0 <= x <= 1 or null"),
        ("data.self_forged", "number, 0 <= x < 0.5"),
        ("augment.jpeg_quality", "[integer, 1 <= x <= 100; integer, 1 <= x <= 100]"),
        ("model.head", "lse, gap or split"),
        ("model.trunk", "efficientnet-lite0 or none"),
        ("model.attention_threshold", "number"),
        ("losses.focal_gamma", "number > 0"),
        ("align.annotated", "number, 0 < x < 1"),
        ("hardware.xla", "true or false"),
    ],
)
def test_values_are_said_with_their_range(name, values):
    assert KEYS[name].values == values


def test_defaults_are_those_of_a_configuration_that_names_its_manifest_alone():
    config = Config.parse(MINIMAL)
    assert [name for name, key in KEYS.items() if key.required] == ["data.manifest"]
    assert {name: value_of(config, key) for name, key in KEYS.items() if not key.required} == {
        name: key.default for name, key in KEYS.items() if not key.required
    }


def test_the_schema_takes_what_the_program_takes():
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    shipped = (resources.files("lae_tf.configs") / "quickstart.yaml").read_text()
    for values in (MINIMAL, yaml.safe_load(shipped), yaml.safe_load(Config.parse(MINIMAL).to_yaml())):
        Config.parse(values)
        validator.validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {**MINIMAL, "aling": {"epochs": 3}},
        {**MINIMAL, "align": {"epoch": 3}},
        {**MINIMAL, "align": {"epochs": -1}},
        {**MINIMAL, "align": {"annotated": 0}},
        {**MINIMAL, "augment": {"jpeg_quality": [0, 50]}},
        {**MINIMAL, "augment": {"jpeg_quality": [50]}},
        {**MINIMAL, "model": {"widths": []}},
        {**MINIMAL, "model": {"head": "max"}},
        {**MINIMAL, "seed": 2**31},
        {**MINIMAL, "data": {"manifest": "m.csv", "self_forged": 0.5}},
        {**MINIMAL, "hardware": 3},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_program_refuses(values):
    with pytest.raises(ConfigError):
        Config.parse(values)
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(values)


@pytest.mark.parametrize(
    "values, name",
    [
        ({**MINIMAL, "data": {}}, "data.manifest"),
        ({**MINIMAL, "align": {"epochs": "many"}}, "align.epochs"),
        ({**MINIMAL, "model": {"widths": [8, 0]}}, "model.widths"),
    ],
)
def test_a_wrong_value_is_refused_with_its_meaning(values, name):
    with pytest.raises(ConfigError) as caught:
        Config.parse(values)
    (problem,) = caught.value.problems
    assert problem.startswith(name) and problem.endswith(f"Meaning: {KEYS[name].meaning}")


def test_an_error_says_where_the_keys_are_listed():
    with pytest.raises(ConfigError) as caught:
        Config.parse({**MINIMAL, "bogus": 1, "augment": 3})
    assert str(caught.value).splitlines()[1:] == [
        "  augment: a section with keys of its own is expected; found 3.",
        f"  bogus: unknown key; known keys: {', '.join(Config.model_fields)}.",
        "`lae-tf config` lists every key with its values.",
    ]
