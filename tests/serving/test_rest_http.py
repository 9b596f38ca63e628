"""URLs, methods, versions, documents and the HTTP around them."""

import json
import socket
import time

import pytest

from lae_tf.serving.rest.request_body import Limits

M = "/v1/models/half"


def version_2_status() -> dict:
    return {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", f"{M}:predict"),
        ("GET", f"{M}/"),
        ("GET", f"{M}/version/1"),
        ("GET", f"{M}/versions/one"),
        ("GET", f"{M}/versions/1/labels/stable"),
        ("GET", f"{M}/metadata/"),
        ("GET", "/v1/"),
        ("GET", "/v1/other"),
        ("POST", M),
        ("POST", f"{M}/metadata"),
        ("POST", f"{M}:predict?x=1"),
        ("POST", f"{M}:PREDICT"),
        ("POST", f"{M}:forget"),
        ("POST", "/v1/models:predict"),
        ("POST", f"{M}/versions/1/labels/stable:predict"),
        ("PUT", M),
        ("DELETE", M),
        ("PATCH", f"{M}:predict"),
    ],
)
def test_malformed_requests(server, method, target):
    answer = server.ask(method, target, b'{"instances": [1]}' if method == "POST" else None)
    assert (answer.status, answer.error) == (400, f"Malformed request: {method} {target}")
    assert answer.headers["content-type"] == "application/json"


def test_head_is_malformed_and_has_no_body(server):
    answer = server.ask("HEAD", M)
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize("target", ["/", "/healthz", "/v1", "/v2/models/half", "/monitoring/prometheus"])
def test_outside_of_v1_is_not_found_as_html(server, target):
    answer = server.ask("GET", target)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["connection"] == "close"
    assert b"404 Not Found" in answer.body


def test_other_methods_are_not_implemented(server):
    answer = server.ask("TRACE", M)
    assert answer.status == 501 and answer.headers["content-type"].startswith("text/html")


def test_options_depends_on_the_origin(server, start_server):
    for origin, status in (("http://a", 200), ("https://a", 200), ("a", 400), (None, 400)):
        answer = server.ask("OPTIONS", "/v1/any", headers={"Origin": origin} if origin else {})
        assert (answer.status, answer.body) == (status, b"")
        assert "content-type" not in answer.headers
    cors = start_server(cors=True).ask("GET", "/v1/models/none")
    assert cors.status == 404
    assert cors.headers["access-control-allow-origin"] == "*"
    assert cors.headers["access-control-allow-methods"] == "POST, GET"
    assert cors.headers["access-control-allow-headers"] == "Content-Type"
    assert "access-control-allow-origin" not in server.ask("GET", M).headers


def test_status_lists_versions_newest_first(server):
    document = server.ask("GET", M)
    assert document.headers["content-type"] == "application/json"
    versions = document.json["model_version_status"]
    assert versions[0] == version_2_status() and [item["version"] for item in versions] == ["2", "1"]
    assert server.ask("GET", f"{M}/versions/002").json == {"model_version_status": [version_2_status()]}
    for label in ("stable", "unknown"):
        assert server.ask("GET", f"{M}/labels/{label}").json == document.json
    assert server.ask("GET", "/V1/MODELS/half/METADATA").json == document.json


def test_unknown_models_and_versions(server):
    for target, status, message in (
        ("/v1/models/none", 404, "Could not find any versions of model none"),
        (f"{M}/versions/9", 404, "Could not find version 9 of model half"),
        (f"{M}?x=1", 404, "Could not find any versions of model half?x=1"),
        ("/v1/models/none/metadata", 404, "Servable not found for request: Latest(none)"),
        (f"{M}/versions/9/metadata", 404, "Servable not found for request: Specific(half, 9)"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/versions/1", 400, "Missing model name in request."),
        (f"{M}/labels/none/metadata", 400, "Unrecognized servable version label: none"),
        ("/v1/models/none/labels/a/metadata", 400, "Unrecognized servable version label: a"),
        (f"{M}/labels/gone/metadata", 404, "Servable not found for request: Specific(half, 7)"),
    ):
        answer = server.ask("GET", target)
        assert (answer.status, answer.error) == (status, message)


def test_versions_and_labels_choose_the_model(server):
    for target, value in (
        (M, 2.5),
        (f"{M}/versions/1", 1.5),
        (f"{M}/labels/stable", 1.5),
        ("/V1/Models/half", 2.5),
    ):
        assert server.post({"instances": [1]}, target=target).json == {"predictions": [value]}
    assert server.post({"instances": [1]}, target=f"{M}/versions/3").status == 404
    assert server.post({"instances": [1]}, target=f"{M}/labels/none").status == 400


def test_a_version_beyond_int64_has_an_empty_answer(server):
    for version in ("9223372036854775808", "9" * 5000):
        answer = server.ask("GET", f"{M}/versions/{version}")
        assert (answer.status, answer.body) == (400, b"")
    assert server.post({}, target=f"{M}/versions/9223372036854775808").body == b""
    assert server.ask("GET", f"{M}/versions/9223372036854775807").status == 404


def test_names_are_percent_decoded_after_matching(server):
    assert server.ask("GET", "/v1/models/h%61lf").status == 200
    for name, decoded in (("a%2Fb", "a/b"), ("a+b", "a+b"), ("a%", "a%"), ("%zz", "%zz"), ("%22", '"')):
        assert server.ask("GET", f"/v1/models/{name}").error.endswith(f"model {decoded}")
    assert b"model \xff" in server.ask("GET", "/v1/models/%FF").body


def test_metadata_document(server):
    document = server.ask("GET", f"{M}/labels/stable/metadata").json
    assert document["model_spec"] == {"name": "half", "signature_name": "", "version": "1"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "two", "__saved_model_init_op"} <= signatures.keys()
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["inputs"]["x"] == {
        "name": "serving_default_x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }
    shape = signatures["two"]["inputs"]["a"]["tensor_shape"]
    assert [item["size"] for item in shape["dim"]] == ["-1", "2"]
    assert signatures["echo_int8"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_metrics_page(server, start_server):
    page = "/monitoring/prometheus/metrics"
    server.post({"instances": [1]})
    server.post({"instances": ["x"]})
    server.post({"instances": [1]}, target="/v1/models/invented")
    answer = server.ask("POST", page, b"any method")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
    lines = answer.body.decode().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] == ":"}
    ok = ':tensorflow:serving:request_count{model_name="half",status="OK"}'
    refused = ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"}'
    assert counts[ok] >= 1 and counts[refused] >= 1
    series = ':tensorflow:serving:request_latency_{}{{model_name="half",API="Predict",entrypoint="REST"{}}}'
    buckets = [value for name, value in counts.items() if name.startswith(series.format("bucket", ",")[:-1])]
    assert buckets == sorted(buckets) and len(buckets) == 34
    assert counts[series.format("count", "")] == buckets[-1] == counts[series.format("bucket", ',le="+Inf"')]
    assert "invented" not in answer.body.decode()
    assert server.ask("GET", f"{page}?x=1").status == 400
    assert start_server().ask("GET", page).status == 404


def test_a_token_is_asked_for(start_server):
    guarded = start_server(token="secret", metrics_path="/metrics")
    for target in (M, "/metrics", "/"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            answer = guarded.ask("GET", target, headers=headers)
            assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert guarded.ask("GET", M, headers={"Authorization": "Bearer secret"}).status == 200


def test_a_page_of_another_origin_may_send_a_token(start_server):
    """Its browser asks first, and cannot send the token with that question."""
    guarded = start_server(token="secret", cors=True)
    answer = guarded.ask("OPTIONS", f"{M}:predict", headers={"Origin": "http://a"})
    assert answer.status == 200 and "Authorization" in answer.headers["access-control-allow-headers"]
    refused = guarded.ask("GET", M)
    assert refused.status == 401 and refused.headers["access-control-allow-origin"] == "*"


def test_keep_alive_and_absolute_targets(server):
    request = f"GET {M} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    absolute = f"GET http://a{M} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    answers = server.raw(request + absolute)
    assert answers.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "data",
    [b"nonsense\r\n\r\n", b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"],
)
def test_what_is_not_http_is_refused(server, data):
    assert b" 400 " in server.raw(data).split(b"\r\n")[0]


def test_a_client_that_goes_away_does_no_harm(server):
    head = f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + b'{"inst')
    assert server.post({"instances": [1]}).status == 200


def test_a_body_that_does_not_arrive(limited):
    with socket.create_connection(("127.0.0.1", limited.port), timeout=10) as connection:
        began = time.monotonic()
        connection.sendall(f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408") and 0.4 < time.monotonic() - began < 5


def test_chunked_bodies(server):
    body = json.dumps({"instances": [1]}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:])) + b"0\r\n\r\n"
    head = f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert b'"predictions": [2.5' in server.raw(head + chunks)


@pytest.mark.parametrize("limits", [Limits(requests=0), Limits(bytes_held=10)])
def test_more_than_the_server_can_hold_is_refused_for_now(start_server, limits):
    answer = start_server(limits=limits).post({"instances": [1]})
    assert answer.status == 429 and answer.headers["retry-after"] == "1"
    assert "in progress" in answer.error
