"""Number and string rendering against an independent reading of the rule, value by value."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.serving.rest.json_parser import parse
from lae_tf.serving.rest.json_text import decimals, quote, shown


def test_documented_examples():
    values = np.array([3, 0.2, 9e6, 16777216, 0.123456702, 3e-5, -0.0, np.nan, np.inf, -np.inf], np.float32)
    expected = "3.0 0.2 9e+06 16777216.0 0.123456702 3e-05 -0.0 NaN Infinity -Infinity"
    assert decimals(values) == expected.split()
    assert decimals(np.array([1 / 3, 123456789.0, 1e300])) == ["0.33333333333333331", "123456789.0", "1e+300"]
    assert decimals(np.empty((0, 3), np.float32)) == []


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_follows_the_rule(value):
    number = np.float32(value)
    short = f"{value:.6g}"
    text = short if np.float32(float(short)) == number else f"{value:.9g}"
    expected = text if "." in text or "e" in text else text + ".0"
    (token,) = decimals(np.array([number]))
    assert token == expected
    assert np.float32(float(token)) == number


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_float64_reads_back_equal(values):
    tokens = decimals(np.array(values))
    assert [float(token) for token in tokens] == values


@given(st.text())
def test_strings_read_back_equal(text):
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        return
    assert json.loads(quote(text)) == text


def test_strings_are_escaped_like_rapidjson():
    assert quote('"\\/\b\f\n\r\t\x01\x7fé') == '"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7fé"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.0", "1.0"),
        ("1e2", "100.0"),
        ("300", "300"),
        ("null", "null"),
        ("true", "true"),
        ("[]", "[]"),
        ('{"a": [1, "b"]}', '{\n    "a": [\n        1,\n        "b"\n    ]\n}'),
        ("36893488147419103232", "3.68934881e+19"),
    ],
)
def test_values_in_error_texts(text, expected):
    assert shown(parse(text.encode())) == expected


def test_long_and_deep_values_are_cut():
    assert shown("x" * 10_000) == '"' + "x" * 255 + "..."
    assert len(shown(parse(b"[" * 100_000 + b"]" * 100_000))) == 259
