"""Requests made to break the server: each is refused with a reason of its own, and the others go on."""

import base64
import gzip
import http.client
import io
import json
import socket
import struct
import threading
import time
import zlib
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saved_models import ECHOED

from lae_tf.runtime.hosts import KnownHosts
from lae_tf.serving.rest.request_body import Limits

M = "/v1/models/half"
SIGNATURES = [
    "",
    "two",
    "picky",
    "total",
    "uneven",
    "encoded",
    "pixels",
    "numbers",
    "classes",
    "labels",
    "value",
    "none",
]
SIGNATURES += [f"echo_{dtype.name}" for dtype in ECHOED]
NAMES = ["x", "a", "b", "inputs", "image_bytes", "b64", "", "\udcff", "examples"]

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**30, -0.0, 1e308, float("nan"), float("inf"), 1e-320])
    | st.sampled_from(["", "a", "QQ==", "*", "\x00", "é", "\U0001f600", "\ud800", "Infinity", "iVBORw0KGgo="])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
        | st.builds(lambda value, depth: _nested(value, depth), inner, st.sampled_from([1, 2, 8, 31, 32, 33, 64, 70]))
    ),
    max_leaves=8,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(SIGNATURES) | leaves,
        "instances": values,
        "inputs": values,
        "examples": values,
        "context": values,
    },
)


def _nested(value, depth):
    for _ in range(depth):
        value = [value]
    return value


def _encoded(document, damage):
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    position, byte = damage
    return text if byte is None else text[: position % (len(text) + 1)] + byte + text[position % (len(text) + 1) :]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents,
    st.tuples(st.integers(0), st.none() | st.binary(max_size=2)),
    st.sampled_from(["predict", "regress", "classify"]),
)
def test_whatever_is_sent_is_answered_or_refused(server, document, damage, verb):
    answer = server.post(_encoded(document, damage), verb=verb)
    assert answer.status in (200, 400, 501), (answer.status, answer.body)
    assert answer.status == 200 or list(json.loads(answer.body.decode("utf-8", "replace"))) == ["error"]


@pytest.mark.parametrize("form", ["instances", "inputs"])
@pytest.mark.parametrize("dtype", ["float32", "string"])
def test_ranks(server, form, dtype):
    leaf = 1 if dtype == "float32" else "a"
    for rank in (9, 31, 32):
        assert server.post({form: _nested(leaf, rank)}, f"echo_{dtype}").status == 200
    for rank in (33, 34, 64, 65, 66, 254, 255, 5000):
        body = f'{{"signature_name": "echo_{dtype}", "{form}": {"[" * rank}{json.dumps(leaf)}{"]" * rank}}}'
        answer = server.post(body.encode())
        assert answer.status == 400 and f"has {rank} dimensions; at most 32" in answer.error
        named = (
            f'{{"signature_name": "echo_{dtype}", "instances": [{{"x": {"[" * rank}{json.dumps(leaf)}{"]" * rank}}}]}}'
        )
        assert server.post(named.encode()).status == 400


@pytest.fixture(scope="module")
def hurried(start_server):
    """``half`` with two seconds for each request."""
    return start_server(limits=Limits(timeout_seconds=2.0))


def good_waits_while(server, send) -> float:
    """Return how long the slowest good request waits while another is being answered."""
    done = threading.Event()

    def run():
        send()
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    longest = 0.0
    while not done.is_set():
        began = time.monotonic()
        assert server.post({"instances": [1]}).json == {"predictions": [2.5]}
        longest = max(longest, time.monotonic() - began)
    thread.join()
    return longest


@pytest.mark.parametrize("part", [b"[],", b"[-NaN],", b'{"a":1},', b'"\\u0041",'])
def test_bodies_that_take_long_to_read_end_in_time(hurried, part):
    """As 98 kB that unpack to 99 MB of nested lists, and 20 MB that are no JSON."""
    answers = []
    body = gzip.compress(b'{"instances":[' + part * (20_000_000 // len(part)), 1)

    def send():
        began = time.monotonic()
        answer = hurried.ask("POST", f"{M}:predict", body, {"Content-Encoding": "gzip"})
        answers.append((answer.status, time.monotonic() - began))

    longest = good_waits_while(hurried, send)
    ((status, seconds),) = answers
    assert status in (400, 413, 504) and seconds < 8
    assert longest < 3  # half a minute, were it read in the server itself


def encoded_png(side: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(side // 8 + 1) * side, 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def test_pixels_of_a_request_have_a_budget(server):
    image = {"b64": encoded_png(8000)}
    for count in (5, 16):
        answer = server.post({"instances": [image] * count}, "pixels")
        assert answer.status == 413 and "retry-after" not in answer.headers
        assert answer.error.startswith(f"The images of this request have {count * 64_000_000} pixels together")


def test_pixels_in_progress_have_a_budget(start_server):
    server = start_server(limits=Limits(pixels_held=70_000_000))
    body = json.dumps({"signature_name": "pixels", "instances": [{"b64": encoded_png(8000)}]}).encode()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.post(body))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert server.post({"instances": [{"b64": encoded_png(16)}]}, "pixels").status == 200
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200, 413}
    refused = next(answer for answer in answers if answer.status == 413)
    assert refused.headers["retry-after"] == "1" and "Try again later" in refused.error


def held(server) -> int:
    page = server.ask("GET", "/metrics").body.decode()
    return int(page.split("\n:tensorflow:serving:pixels_held ")[1].split("\n")[0])


def test_decoding_ends_when_the_client_is_gone(start_server):
    server = start_server(metrics_path="/metrics")
    body = json.dumps({"signature_name": "pixels", "instances": [{"b64": encoded_png(4000)}] * 16}).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", f"{M}:predict", body)
        while not held(server):
            time.sleep(0.01)
    began = time.monotonic()
    while held(server):
        time.sleep(0.01)
    stopped = time.monotonic() - began
    began = time.monotonic()
    assert server.post(body).status == 200
    assert stopped < (time.monotonic() - began) / 2


def test_a_request_that_waits_is_dropped_with_its_client(start_server):
    server = start_server(threads=1)
    slow = json.dumps({"signature_name": "slow", "inputs": [800]}).encode()
    head = f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(slow)}\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
    for connection in connections:
        connection.sendall(head + slow)
    time.sleep(0.3)
    for connection in connections:
        connection.close()
    began = time.monotonic()
    assert server.post({"instances": [1]}).status == 200
    waited = time.monotonic() - began
    began = time.monotonic()
    assert server.post(slow).status == 200
    assert waited < 4 * (time.monotonic() - began)  # one that ran already, not all eight


@pytest.fixture(scope="module")
def named(start_server):
    return start_server(hosts=KnownHosts(["box.lan"]), metrics_path="/metrics", token="secret")


@pytest.mark.parametrize("target", [f"{M}:predict", M, "/demo", "/metrics", "/"])
def test_foreign_hosts_are_refused_everywhere(named, target):
    answer = named.ask("POST", target, b"{}", {"Host": "evil.example"})
    assert answer.status == 421 and "does not answer to the name evil.example" in answer.error


@pytest.mark.parametrize("host", ["box.lan", "BOX.LAN:80", "localhost:8501", "127.0.0.1", "[::1]:1"])
def test_own_hosts_are_served(named, host):
    assert named.ask("GET", M, headers={"Host": host, "Authorization": "Bearer secret"}).status == 200


def test_an_old_client_names_no_host(named):
    request = f"GET {M} HTTP/1.0\r\nAuthorization: Bearer secret\r\n\r\n".encode()
    assert named.raw(request).startswith(b"HTTP/1.1 200")


def test_a_picture_of_stripes_is_what_it_seems():
    """The images above are real ones, which Pillow reads."""
    from PIL import Image

    assert Image.open(io.BytesIO(base64.b64decode(encoded_png(16)))).size == (16, 16)
