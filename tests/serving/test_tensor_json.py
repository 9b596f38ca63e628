"""Requests to arrays, and arrays to answers: shapes, dtypes and error texts, without a model."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lae_tf.serving.errors import Code, ServingError
from lae_tf.serving.rest.response_json import from_tensors
from lae_tf.serving.rest.tensor_json import Format, decode_base64, parse_object, to_tensors

ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "


def convert(text: str, **dtypes) -> dict[str, np.ndarray]:
    inputs = {name: np.dtype(dtype) for name, dtype in (dtypes or {"x": "float32"}).items()}
    return to_tensors(parse_object(text.encode()), inputs)[0]


def refusal(text: str, **dtypes) -> str:
    with pytest.raises(ServingError) as caught:
        convert(text, **dtypes)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize(
    ("dtype", "token", "value"),
    [
        ("float32", "1", 1.0),
        ("float32", "1435774380", 1435774336.0),
        ("float32", "1e39", np.inf),
        ("float32", "-1e39", -np.inf),
        ("float32", "1e-60", 0.0),
        ("float64", "1e39", 1e39),
        ("float64", "36893488147419103232", 2.0**65),
        ("uint8", "300", 44),
        ("uint8", "-1", 255),
        ("int8", "200", -56),
        ("int16", "70000", 4464),
        ("int32", "-2147483648", -(2**31)),
        ("int64", "9223372036854775807", 2**63 - 1),
        ("uint32", "4294967295", 2**32 - 1),
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("int32", "-0", 0),
        ("bool", "true", True),
        ("object", '"h\u00e9\\u0000"', b"h\xc3\xa9\0"),
        ("object", '{"b64": "/+8="}', b"\xff\xef"),
        ("object", '""', b""),
    ],
)
def test_accepted_values(dtype, token, value):
    for text in (f'{{"instances": [{token}]}}', f'{{"inputs": [{token}]}}'):
        (array,) = convert(text, x=dtype).values()
        assert array.dtype == dtype and array.tolist() == [value]


@pytest.mark.parametrize(
    ("dtype", "token", "said", "expected"),
    [
        ("float32", '"1"', 'JSON Value: "1" Type: String', "float"),
        ("float64", "true", "JSON Value: true Type: True", "double"),
        ("float32", "null", "JSON Value: null Type: Null", "float"),
        ("float32", '{"b64": "QQ=="}', 'JSON Value: {\n    "b64": "QQ=="\n} Type: Object', "float"),
        ("int32", "1.0", "JSON Value: 1.0 Type: Number", "int32"),
        ("int32", "1e2", "JSON Value: 100.0 Type: Number", "int32"),
        ("int32", "2147483648", "JSON Value: 2147483648 Type: Number", "int32"),
        ("uint8", "2147483648", "JSON Value: 2147483648 Type: Number", "uint8"),
        ("int16", "false", "JSON Value: false Type: False", "int16"),
        ("int64", "9223372036854775808", "JSON Value: 9223372036854775808 Type: Number", "int64"),
        ("uint32", "-1", "JSON Value: -1 Type: Number", "uint32"),
        ("uint64", "-1", "JSON Value: -1 Type: Number", "uint64"),
        ("uint64", "18446744073709551616", "JSON Value: 1.84467441e+19 Type: Number", "uint64"),
        ("bool", "1", "JSON Value: 1 Type: Number", "bool"),
        ("object", "1", "JSON Value: 1 Type: Number", "string"),
        ("object", "null", "JSON Value: null Type: Null", "string"),
    ],
)
def test_refused_values(dtype, token, said, expected):
    message = f"{said} is not of expected type: {expected}"
    assert refusal(f'{{"inputs": [{token}]}}', x=dtype) == message
    assert refusal(f'{{"instances": [{token}]}}', x=dtype) == ELEMENT.format(0) + message


@pytest.mark.parametrize("dtype", ["float16", "uint16", "complex64"])
def test_dtypes_without_json_form(dtype):
    name = {"float16": "half"}.get(dtype, dtype)
    with pytest.raises(ServingError) as caught:
        convert('{"inputs": [1]}', x=dtype)
    assert caught.value.code is Code.UNIMPLEMENTED
    assert caught.value.message == f"Conversion of JSON Value: 1 to type: {name}"
    expected = f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {caught.value.message}"
    assert refusal('{"instances": [1]}', x=dtype) == expected
    assert convert('{"inputs": []}', x=dtype)["x"].shape == (0,)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ('{"instances": [1, 2]}', (2,)),
        ('{"instances": [[1], [2]]}', (2, 1)),
        ('{"instances": [[[1, 2], [3, 4]]]}', (1, 2, 2)),
        ('{"instances": [[], []]}', (2, 0)),
        ('{"instances": [{"x": [1, 2]}]}', (1, 2)),
        ('{"inputs": 1}', ()),
        ('{"inputs": []}', (0,)),
        ('{"inputs": [[], []]}', (2, 0)),
        ('{"inputs": {"x": [1, 2], "unknown": "ignored"}}', (2,)),
    ],
)
def test_shapes(text, shape):
    assert convert(text)["x"].shape == shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"instances": [[1, 2], [3]]}', ELEMENT.format(1) + "Expecting tensor size: 2 but got: 1"),
        (
            '{"instances": [[[1, 2]], [[1], [2]]]}',
            ELEMENT.format(1) + "Expecting shape [1,2] but got: [2,1]",
        ),
        (
            '{"instances": [[[1, 2], [3]]]}',
            ELEMENT.format(0) + "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ('{"inputs": [1, [2]]}', "Encountered list at unexpected level: 1 expected < 1"),
        (
            '{"inputs": [[1], 2]}',
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ('{"inputs": [[1], [2, 3]]}', "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ('{"instances": [1, {"x": 2}]}', "Expecting value/list but got object at item 1 of input list"),
        ('{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1 of input list"),
        (
            '{"instances": [{"z": 1}]}',
            "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: z",
        ),
        (
            '{"instances": [{}]}',
            "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
        ('{"inputs": {"z": 1}}', "Missing named input: x in 'inputs' object."),
        ('{"instances": {"x": 1}}', "Excepting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances' keys to exist "),
        ("{}", "Missing 'inputs' or 'instances' key"),
    ],
)
def test_structure_errors(text, message):
    said = refusal(text)
    assert said == message or (said.startswith("JSON Value: {") and said.endswith(message))


def test_several_inputs_are_named():
    assert "instances is a plain list" in refusal('{"instances": [1]}', a="int32", b="int32")
    assert "inputs is a plain value/list" in refusal('{"inputs": [1]}', a="int32", b="int32")
    said = refusal('{"instances": [{"b": 1}]}', a="int32", b="int32")
    assert said.endswith("keys must be equal to: a,b")
    columns = convert('{"inputs": {"b": [1], "a": [[2], [3]]}}', a="int32", b="int32")
    assert {name: value.shape for name, value in columns.items()} == {"a": (2, 1), "b": (1,)}


def test_base64_objects_where_they_do_not_belong():
    assert "named input: b64" in refusal('{"instances": [{"b64": 5}]}', x="object")
    assert "Missing named input: x" in refusal('{"inputs": {"b64": "QQ==", "x2": 1}}', x="object")
    said = refusal('{"inputs": [{"b64": 5}]}', x="object")
    assert said.endswith("not formatted correctly for base64 data")
    # A key that occurs twice makes two members, so it is no base64 object.
    assert "named input: b64" in refusal('{"instances": [{"b64": "QQ==", "b64": "QQ=="}]}', x="object")


@pytest.mark.parametrize("text", ["QUI=", "QUI", "QUI.", " Q\\nU I ", "QUI= "])
def test_base64_forms(text):
    assert convert(f'{{"inputs": [{{"b64": "{text}"}}]}}', x="object")["x"].tolist() == [b"AB"]


@pytest.mark.parametrize("text", ["QUI*", "Q", "QUI==", "QU=I", "_-8=", "QU\u00e9"])
def test_bad_base64(text):
    assert refusal(f'{{"inputs": [{{"b64": "{text}"}}]}}', x="object") == "Unable to base64 decode"


@given(st.binary())
def test_base64_of_any_bytes(data):
    encoded = base64.b64encode(data).decode()
    for text in (encoded, encoded.rstrip("="), encoded.replace("=", ".")):
        assert decode_base64({"b64": text}) == data


def test_deep_nesting_is_refused():
    assert "dimensions" in refusal('{"inputs": ' + "[" * 5000 + "1" + "]" * 5000 + "}")
    assert convert('{"unknown": ' + "[" * 5000 + "]" * 5000 + ', "inputs": [1]}')["x"].shape == (1,)


@pytest.mark.parametrize(
    ("outputs", "form", "text"),
    [
        ({"y": np.float32([1, 2.5])}, Format.ROW, '{\n    "predictions": [1.0, 2.5\n    ]\n}'),
        ({"y": np.int32([[1], [2]])}, Format.ROW, '{\n    "predictions": [[1], [2]\n    ]\n}'),
        ({"y": np.empty((0, 2), np.int32)}, Format.ROW, '{\n    "predictions": []\n}'),
        (
            {"a": np.array([True]), "b": np.array([[b"x"]], object)},
            Format.ROW,
            '{\n    "predictions": [\n        {\n            "a": true,\n            "b": ["x"]\n        }\n    ]\n}',
        ),
        ({"y": np.array(b"x", object)}, Format.COLUMNAR, '{\n    "outputs": "x"\n}'),
        ({"y": np.int8([1, 2])}, Format.COLUMNAR, '{\n    "outputs": [\n        1,\n        2\n    ]\n}'),
        ({"y": np.empty((2, 0))}, Format.COLUMNAR, '{\n    "outputs": [\n        [],\n        []\n    ]\n}'),
        (
            {"a_bytes": np.array([b"\xff"], object), "b": np.array(1.0)},
            Format.COLUMNAR,
            '{\n    "outputs": {\n        "a_bytes": [\n            {\n                "b64": "/w=="\n'
            '            }\n        ],\n        "b": 1.0\n    }\n}',
        ),
    ],
)
def test_layout_of_answers(outputs, form, text):
    assert from_tensors(outputs, form).decode() == text


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"y": np.float32(1)}, "Tensor name: y has no shape information "),
        (
            {"a": np.zeros(2), "b": np.zeros(3)},
            "Tensor name: b has inconsistent batch size: 3 expecting: 2",
        ),
        ({"y": np.zeros(1, np.float16)}, "Failed to write JSON value for tensor type: half"),
        ({"y": np.zeros(1, np.uint16)}, "Failed to write JSON value for tensor type: uint16"),
    ],
)
def test_answers_that_cannot_be_written(outputs, message):
    outputs = {name: np.asarray(value) for name, value in outputs.items()}
    with pytest.raises(ServingError) as caught:
        from_tensors(outputs, Format.ROW)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"]


@settings(max_examples=150)
@given(
    st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=4, max_side=4))),
    st.sampled_from(list(Format)),
)
def test_any_array_survives_the_round_trip(array, form):
    answer = json.loads(from_tensors({"x": array}, form))["predictions" if form is Format.ROW else "outputs"]
    request = json.dumps({form.value: answer})
    back = convert(request, x=array.dtype)["x"]
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["x", "y", "b64"]), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300)
@given(json_values, st.sampled_from([*DTYPES, "object", "float16"]), st.sampled_from(list(Format)))
def test_any_request_gives_arrays_or_a_client_error(value, dtype, form):
    body = json.dumps({form.value: value}).encode()
    try:
        tensors, _ = to_tensors(parse_object(body), {"x": np.dtype(dtype)})
    except ServingError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED), error
    else:
        assert tensors["x"].dtype == dtype
