""":predict, :classify and :regress over HTTP, on real SavedModels."""

import base64
import gzip
import io
import json
import math
import zlib

import numpy as np
import pytest
from PIL import Image

PNG = {"b64": "iVBORw0KGgo="}  # a signature and no image


def png(width: int, height: int) -> dict:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (10, 20, 30)).save(file, "PNG")
    return {"b64": base64.b64encode(file.getvalue()).decode()}


def test_row_and_columnar(server):
    row = server.post({"instances": [1, 2]})
    assert (row.status, row.headers["content-type"]) == (200, "application/json")
    assert row.body == b'{\n    "predictions": [2.5, 3.0\n    ]\n}'
    assert server.post({"inputs": {"x": [1, 2]}}).json == {"outputs": [2.5, 3.0]}
    assert server.post({"instances": [{"x": 1}]}).json == {"predictions": [2.5]}


def test_content_type_and_other_keys_are_ignored(server):
    body = b'{"instances": [1], "signature_name": "", "parameters": {"a": [1, {}]}} trailing'
    answer = server.ask("POST", "/v1/models/half:predict", body, {"Content-Type": "text/plain"})
    assert answer.json == {"predictions": [2.5]}


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        *((dtype, [0, 1, 100]) for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")),
        ("float32", [0.1, 16777217.0]),
        ("float64", [0.1, 1e-300]),
        ("bool", [True, False]),
        ("string", ["h\u00e9", "\0", ""]),
    ],
)
def test_every_dtype_is_carried(server, dtype, values):
    for request, key in (({"instances": values}, "predictions"), ({"inputs": values}, "outputs")):
        answer = server.post(request, f"echo_{dtype}")
        expected = np.float32(values).astype(float).tolist() if dtype == "float32" else values
        got = answer.json[key]
        assert (np.float32(got).tolist() if dtype == "float32" else got) == expected, answer.body
        assert [type(item) for item in got] == [type(item) for item in values]


def test_scalars_and_high_ranks_are_carried(server):
    assert server.post({"inputs": 7}, "echo_int32").json == {"outputs": 7}
    assert server.post({"inputs": "a"}, "echo_string").json == {"outputs": "a"}
    assert server.post({"inputs": [[[[1]]]]}, "echo_int64").json == {"outputs": [[[[1]]]]}
    assert server.post({"inputs": []}, "echo_float32").json == {"outputs": []}


def test_half_is_read_and_written_by_nobody(server):
    assert server.post({"inputs": [1]}, "echo_float16").status == 501
    assert server.post({"instances": [1]}, "echo_float16").status == 400


def test_numbers_are_rendered_as_documented(server):
    text = server.post({"instances": [0]}, "numbers").body.decode()
    expected = "[3.0, 0.2, 9e+06, 16777216.0, 0.123456702, NaN, Infinity, -Infinity]"
    assert text == f'{{\n    "predictions": [{expected}\n    ]\n}}'


def test_several_inputs_and_outputs(server):
    rows = server.post({"instances": [{"a": [1, 2], "b": 3}, {"b": 4, "a": [5, 6]}]}, "two")
    assert rows.json == {"predictions": [{"b": 3, "sum": 3.0}, {"b": 4, "sum": 11.0}]}
    columns = server.post({"inputs": {"a": [[1, 2]], "b": [3, 4]}}, "two")
    assert columns.json == {"outputs": {"b": [3, 4], "sum": [3.0]}}


def test_only_outputs_named_bytes_are_base64(server):
    (item,) = (server.post({"instances": [{"b64": "/w=="}]}, "encoded").body,)
    assert b'"y": "\xff"' in item and b'"b64": "/w=="' in item
    plain = server.post({"instances": ["text"]}, "encoded").json
    assert plain == {"predictions": [{"y": "text", "y_bytes": {"b64": "dGV4dA=="}}]}


def test_outputs_without_a_common_batch(server):
    assert server.post({"inputs": [1, 2]}, "total").json == {"outputs": 3.0}
    scalar = server.post({"instances": [1, 2]}, "total")
    assert (scalar.status, scalar.error) == (400, "Tensor name: y has no shape information ")
    uneven = server.post({"instances": [1, 2]}, "uneven")
    assert (uneven.status, uneven.error) == (
        400,
        "Tensor name: z has inconsistent batch size: 1 expecting: 2",
    )
    assert server.post({"inputs": [1, 2]}, "uneven").json == {"outputs": {"y": [1.0, 2.0], "z": [1.0]}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" ", "JSON Parse error: The document is empty. at offset: 1"),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (b"3", "JSON Value: 3 Is not object"),
        (b'{"instances": [1,]}', "JSON Parse error: Invalid value. at offset: 17"),
        (b'{"signature_name": "none"}', 'Serving signature name: "none" not found in signature def'),
        (b"{}", "Missing 'inputs' or 'instances' key"),
    ],
)
def test_bad_bodies(server, body, message):
    answer = server.post(body)
    assert (answer.status, answer.error) == (400, message)
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.startswith(b'{\n    "error": "')


def test_signature_name_must_be_a_string(server):
    answer = server.post({"instances": [1], "signature_name": None})
    assert answer.status == 400
    assert answer.error.endswith("not formatted correctly. 'signature_name' key must be a string value.")


def test_signature_without_inputs(server):
    answer = server.post({"inputs": 1}, "__saved_model_init_op")
    assert answer.error == "Failed to get input map for signature: __saved_model_init_op"


def test_checks_come_in_the_documented_order(server):
    unknown = "/v1/models/nothing"
    assert server.post(b"{", target=unknown).status == 400
    assert server.post(b'{"signature_name": 1}', target=unknown).status == 400
    missing = server.post({"instances": "x"}, "nothing", target=unknown)
    assert (missing.status, missing.error) == (404, "Servable not found for request: Latest(nothing)")
    assert server.post({}, "none").error == 'Serving signature name: "none" not found in signature def'
    assert server.post(b'{"examples": 1}', verb="classify", target=unknown).status == 400
    assert server.post({"examples": [{}]}, verb="classify", target=unknown).status == 404


def test_graph_errors_are_the_clients(server):
    answer = server.post({"instances": [-1]}, "picky")
    assert answer.status == 400 and "not positive" in answer.error
    assert server.post({"inputs": [[1, 2]]}, "two").status == 400
    assert server.post({"inputs": {"a": [1], "b": [1]}}, "two").status == 400


def test_gzip_bodies(server):
    body = json.dumps({"instances": [1]}).encode()
    headers = {"Content-Encoding": "gzip"}

    def send(data):
        return server.ask("POST", "/v1/models/half:predict", data, headers)

    assert send(gzip.compress(body)).json == {"predictions": [2.5]}
    too_large = gzip.compress(b" " * (100 * 2**20 + 1), 1)
    for damaged in (body, gzip.compress(body)[:-9], zlib.compress(body), too_large):
        assert send(damaged).error == "JSON Parse error: The document is empty"


def test_images_over_the_pixel_limit_are_refused(limited):
    assert limited.post({"instances": [png(100, 100)]}, "pixels").json == {"predictions": [20.0]}
    answer = limited.post({"instances": [png(10, 10), png(101, 100)]}, "pixels")
    assert answer.status == 400
    assert "Image 1 of input image_bytes has 101 x 100 pixels" in answer.error
    # Other strings are not images, whatever they hold.
    assert limited.post({"inputs": [png(101, 100)]}, "encoded").status == 200
    assert limited.post({"instances": [PNG]}, "pixels").status == 400
    assert limited.post({"instances": ["no image"]}, "pixels").status == 400
    # A checksum that is wrong does not hide the size: TensorFlow's decoder reads over it.
    damaged = bytearray(base64.b64decode(png(101, 100)["b64"]))
    damaged[29:33] = b"nope"
    answer = limited.post({"instances": [{"b64": base64.b64encode(damaged).decode()}]}, "pixels")
    assert answer.status == 400 and "101 x 100 pixels" in answer.error


def test_a_jpeg_whose_size_pillow_does_not_find_is_refused_too(limited):
    """A marker without a length before the frame header: Pillow gives up, libjpeg passes over it."""

    def jpeg(width, height, hidden_by=b"\xff\x01"):
        buffer = io.BytesIO()
        Image.new("RGB", (width, height)).save(buffer, "JPEG")
        data = buffer.getvalue()
        at = data.index(b"\xff\xc0")
        return {"b64": base64.b64encode(data[:at] + hidden_by + data[at:]).decode()}

    assert limited.post({"instances": [jpeg(100, 100)]}, "pixels").status == 200
    answer = limited.post({"instances": [jpeg(101, 100)]}, "pixels")
    assert answer.status == 400 and "101 x 100 pixels" in answer.error
    answer = limited.post({"instances": [jpeg(101, 100, b"\xff\x01" * 10_000)]}, "pixels")
    assert answer.status == 400 and "has more than 10000 markers before its size" in answer.error


def test_more_images_than_a_request_may_have_are_refused(limited):
    answer = limited.post({"instances": [png(1, 1)] * 257}, "pixels")
    assert answer.status == 400 and "has 257 images; this server accepts 256 a request" in answer.error


def test_bodies_over_the_limit_are_refused(limited):
    answer = limited.post(b'{"instances": [' + b"1," * 100_000 + b"1]}")
    assert answer.status == 413 and "larger than 100000 bytes" in answer.error
    packed = gzip.compress(b'{"instances": [' + b"1," * 100_000 + b"1]}")
    answer = limited.ask("POST", "/v1/models/half:predict", packed, {"Content-Encoding": "gzip"})
    assert answer.status == 413 and "larger than 100000 bytes" in answer.error


def test_a_slow_run_ends_with_504(limited):
    answer = limited.post({"inputs": [8000]}, "slow")  # 0.27 TFLOP: longer than 0.3 s on two fast cores too
    assert (answer.status, answer.error) == (504, "Timed out waiting for notification")
    # The two workers are busy until the runs are over.
    assert limited.post({"instances": [0.5]}, "").status in (200, 504)


def test_infinite_numbers_come_and_go(server):
    (value,) = server.post(b'{"instances": [-Inf]}').json["predictions"]
    assert value == -math.inf
    assert server.post(b'{"instances": [1e999]}').error.startswith("JSON Parse error: Number too big")


class TestExamples:
    def test_classify(self, server):
        answer = server.post({"examples": [{"x": 0.25}, {"x": [0.5]}]}, "classes", "classify")
        expected = '[[["low", 0.75], ["high", 0.25]], [["low", 0.5], ["high", 0.5]]\n    ]'
        assert answer.body.decode() == f'{{\n    "results": {expected}\n}}'

    def test_labels_alone_have_score_zero(self, server):
        answer = server.post({"examples": [{}]}, "labels", "classify")
        assert answer.json["results"][0][0][1] == 0.0

    def test_regress(self, server):
        answer = server.post({"examples": [{"x": 0.25}, {"x": 2.0}]}, "value", "regress")
        assert answer.body == b'{\n    "results": [0.25, 2.0]\n}'

    def test_context_belongs_to_every_example(self, server):
        body = {"context": {"x": 0.5}, "examples": [{}, {"x": 2.0}]}
        assert server.post(body, "value", "regress").json == {"results": [0.5, 2.0]}

    def test_whole_numbers_are_no_floats(self, server):
        assert server.post({"examples": [{"x": 2}]}, "value", "regress").status == 400

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
            ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
            ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
            ({"examples": [{"x": {"a": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
            (
                {"examples": [{"x": [1.0, 2]}]},
                "Unexpected element type in feature: x expecting type: float",
            ),
            (
                {"examples": [{"x": [True, "a"]}]},
                "Unexpected element type in feature: x expecting type: int64",
            ),
            ({"examples": [{"x": 2**63}]}, "Feature: x has uint64 element. Only int64 is supported."),
            ({"examples": [{"x": {"b64": "*"}}]}, "Unable to base64 decode"),
        ],
    )
    def test_bad_examples(self, server, body, message):
        answer = server.post(body, "value", "regress")
        assert (answer.status, answer.error) == (400, message)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({}, "When method is classify, key 'examples' is expected and was not found"),
            ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
            ({"examples": []}, "'examples' value is an empty array"),
        ],
    )
    def test_bad_lists(self, server, body, message):
        assert server.post(body, "", "classify").error.endswith(message)

    def test_signatures_that_do_not_fit(self, server):
        body = {"examples": [{"x": 1.0}]}
        unknown = server.post(body, "none", "classify")
        assert unknown.error == "No signature was found with the name: none"
        assert "No classification inputs" in server.post(body, "", "classify").error
        assert server.post(body, "two", "classify").error == "Expected one input Tensor."
        assert server.post(body, "classes", "regress").error == "Expected one output Tensor."
        assert "at least one of" in server.post(body, "value", "classify").error
