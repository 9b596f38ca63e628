"""Clients that only hold connections open, against a real server with short times."""

import logging
import resource
import select
import socket
import time
from contextlib import closing, suppress

import pytest

from lae_tf.serving.rest import connections
from lae_tf.serving.rest.connections import ConnectionLimits, allow_files

M = "/v1/models/half"
GOOD = b'{"instances": [1]}'


@pytest.fixture(scope="module")
def guarded(start_server):
    limits = ConnectionLimits(connections=8, head_seconds=0.6, answer_seconds=0.6)
    return start_server(connections=limits)


def connect(server):
    return closing(socket.create_connection(("127.0.0.1", server.port), timeout=10))


def rest(connection) -> tuple[float, bytes]:
    """Return how long the server leaves a connection open, and what it sends meanwhile."""
    began = time.monotonic()
    received = bytearray()
    with suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 20):
            received += chunk
    return time.monotonic() - began, bytes(received)


@pytest.mark.parametrize("sent", [b"", b"POST /v1", f"GET {M} HTTP/1.1\r\nHost: a\r\nX".encode()])
def test_a_head_has_its_time(guarded, sent):
    with connect(guarded) as connection:
        connection.sendall(sent)
        seconds, received = rest(connection)
    assert 0.3 < seconds < 5 and not received


def test_a_head_that_comes_byte_by_byte_gets_no_more_time(guarded):
    began = time.monotonic()
    with connect(guarded) as connection, suppress(OSError):
        while time.monotonic() - began < 8:
            connection.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() - began < 5


def test_the_second_head_of_a_connection_has_its_time_too(guarded):
    with connect(guarded) as connection:
        connection.sendall(f"GET {M} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(1)  # idle it may be longer than that
        connection.sendall(b"GET")
        assert 0.3 < rest(connection)[0] < 5


def test_the_rest_of_a_body_that_was_answered_has_its_time(start_server):
    server = start_server(token="secret", connections=ConnectionLimits(head_seconds=0.6))
    with connect(server) as connection:
        connection.sendall(f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n".encode())
        seconds, received = rest(connection)
    assert 0.3 < seconds < 5 and received.startswith(b"HTTP/1.1 401")


def test_clients_that_let_the_server_wait_make_room_for_others(guarded):
    head = f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n".encode()
    held = []
    try:
        for number in range(30):
            held.append(socket.create_connection(("127.0.0.1", guarded.port), timeout=10))
            held[-1].sendall(head[: 30 + 2 * number])
            if number % 5 == 4:
                answer = guarded.ask("POST", f"{M}:predict", GOOD)
                assert (answer.status, answer.json) == (200, {"predictions": [2.5]})
    finally:
        for connection in held:
            connection.close()


def test_a_request_in_progress_is_never_dropped_for_another(guarded):
    body = b'{"signature_name": "slow", "inputs": [300]}'
    head = f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with connect(guarded) as working:
        working.sendall(head + body)
        time.sleep(0.05)
        held = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(20)]
        answer = b""
        while chunk := working.recv(65536):
            answer += chunk
        for connection in held:
            connection.close()
    assert answer.startswith(b"HTTP/1.1 200") and b"300.0" in answer


def test_who_does_not_read_is_dropped(guarded):
    body = b'{"signature_name": "echo_string", "inputs": ["' + b"x" * 12_000_000 + b'"]}'
    head = f"POST {M}:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with connect(guarded) as connection:
        connection.sendall(head + body)
        select.select([connection], [], [], 30)
        time.sleep(3)
        assert len(rest(connection)[1]) < len(body)


def test_the_log_gets_a_line_for_many(guarded, caplog):
    with caplog.at_level(logging.WARNING, logger=connections.__name__):
        for _ in range(5):
            guarded.connections.report("127.0.0.1", "of a reason of its own")
    (record,) = caplog.records
    assert record.getMessage() == "Closed a connection of 127.0.0.1: of a reason of its own."
    assert record.exc_info is None


def test_connections_fit_into_the_files_that_the_system_allows(monkeypatch):
    given = [(256, 256)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: given[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    assert allow_files(1024) == 64  # 256 less 64 for a burst of connections and 128 for the server itself
    given[:] = [(256, 4096)]
    assert allow_files(1024) == 1024 and given[-1] == (1216, 4096)
    given[:] = [(4096, 4096)]
    assert allow_files(1024) == 1024 and len(given) == 1
