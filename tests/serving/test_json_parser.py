"""The parser against rapidjson's documented rules and against Python's parser."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.serving.rest.json_parser import MAX_DEPTH, JsonError, Repeated, _Parser, parse

EMPTY = "The document is empty."
INVALID = "Invalid value."
NO_NAME = "Missing a name for object member."
NO_CURLY = "Missing a comma or } after an object member."
NO_SQUARE = "Missing a comma or ] after an array element."
BAD_ESCAPE = "Invalid escape character in string."


@pytest.mark.parametrize(
    ("text", "problem", "offset"),
    [
        (b" \n", EMPTY, 2),
        (b"]", EMPTY, 0),
        (b"\0[1]", EMPTY, 0),
        (b"\xef\xbb\xbf[1,]", INVALID, 6),
        (b"nope", INVALID, 1),
        (b"[tru]", INVALID, 4),
        (b"[nan]", INVALID, 2),
        (b"[Infinit]", INVALID, 8),
        (b"[-]", INVALID, 2),
        (b"[+1]", INVALID, 1),
        (b"[.5]", INVALID, 1),
        (b"[1,]", INVALID, 3),
        (b"['a']", INVALID, 1),
        (b"[1 /* one */]", NO_SQUARE, 3),
        (b"[01]", NO_SQUARE, 2),
        (b"[1", NO_SQUARE, 2),
        (b"[1.]", "Miss fraction part in number.", 3),
        (b"[1e]", "Miss exponent in number.", 3),
        (b"[1e+]", "Miss exponent in number.", 4),
        (b"[2, 1e999]", "Number too big to be stored in double.", 4),
        (b"[" + b"9" * 400 + b"]", "Number too big to be stored in double.", 1),
        (b"{", NO_NAME, 1),
        (b'{"a":1,}', NO_NAME, 7),
        (b"{a:1}", NO_NAME, 1),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a":1 "b":2}', NO_CURLY, 7),
        (b'{"a":}', INVALID, 5),
        (b'["a', "Missing a closing quotation mark in string.", 3),
        (b'["a\0"]', "Missing a closing quotation mark in string.", 3),
        (b'["a\n"]', BAD_ESCAPE, 3),
        (b'["ab\\x"]', BAD_ESCAPE, 4),
        (b'["\\u12G4"]', "Incorrect hex digit after \\u escape in string.", 2),
        (b'["\\ud800"]', "The surrogate pair in string is invalid.", 2),
        (b'["\\ud800\\u0041"]', "The surrogate pair in string is invalid.", 2),
    ],
)
def test_errors_name_problem_and_offset(text, problem, offset):
    with pytest.raises(JsonError) as caught:
        parse(text)
    assert str(caught.value) == f"{problem} at offset: {offset}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"[1, 1.0, 1e2, -0]", [1, 1.0, 100.0, 0]),
        (b"[Inf, -Inf, Infinity, -Infinity]", [math.inf, -math.inf, math.inf, -math.inf]),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 1}),
        (b'{"a": 1} and more', {"a": 1}),
        (b'"a\\u0000b\\/\\n"', "a\0b/\n"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\xff"', "\udcff"),
        (b"1e-400", 0.0),
        (b"18446744073709551615", 2**64 - 1),
    ],
)
def test_values(text, value):
    parsed = parse(text)
    assert parsed == value
    if isinstance(value, list):
        assert [type(item) for item in parsed] == [type(item) for item in value]


def test_nan_is_a_number_and_a_lone_low_surrogate_three_bytes():
    assert math.isnan(parse(b"[NaN]")[0]) and math.isnan(parse(b"[-NaN]")[0])
    assert parse(b'"\\udc00"').encode("utf-8", "surrogateescape") == b"\xed\xb0\x80"


def test_a_repeated_key_is_remembered():
    parsed = parse(b'{"b64": "QQ==", "b64": "Qg=="}')
    assert isinstance(parsed, Repeated) and parsed.pairs == [("b64", "QQ=="), ("b64", "Qg==")]


def test_nesting_may_be_deeper_than_pythons_parser_goes():
    depth = 200_000
    value = parse(b"[" * depth + b"]" * depth)
    for _ in range(depth - 1):
        (value,) = value
    assert value == []
    with pytest.raises(JsonError, match=rf"offset: {depth}$"):
        parse(b"[" * depth)


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(documents, st.booleans())
def test_both_parsers_agree_with_python(document, ascii_only):
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    expected = json.loads(text.decode("utf-8", "surrogatepass")) if ascii_only else document
    if "\\ud" in text.decode("utf-8", "replace"):
        return  # A surrogate without its partner, which Python alone accepts.
    for parsed in (parse(text), _Parser(text, 0).parse()):
        if "\\ud" not in repr(expected):
            assert parsed == expected


@given(st.binary(max_size=60) | st.text('[]{}:,"\\ \nNaIinftruels0123456789.eE+-u', max_size=60).map(str.encode))
def test_any_bytes_parse_or_fail_alike(data):
    """The fast parser never accepts what the exact one refuses, and both read the same value."""

    def outcome(parser):
        try:
            return repr(parser())
        except JsonError as error:
            return str(error)

    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    assert outcome(lambda: parse(data)) == outcome(lambda: _Parser(data, start).parse())


def test_nesting_that_would_fill_the_memory_is_refused():
    with pytest.raises(JsonError, match=rf"too deep\. at offset: {MAX_DEPTH}$"):
        parse(b"[" * (MAX_DEPTH + 2))
