"""``lae-tf serve`` as a process of its own: start, swap, kill, restart, end."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import threading
from contextlib import closing

import pytest
from saved_models import save_model
from serve_process import Process

BATCHING = "max_batch_size { value: 16 } batch_timeout_micros { value: 0 } num_batch_threads { value: 2 }"


@pytest.fixture
def start(tmp_path):
    processes = []

    def start_one(*arguments, files=None):
        log = tmp_path / f"log{len(processes)}"
        processes.append(Process(*arguments, "--rest-api-port", 0, log=log, files=files))
        return processes[-1]

    yield start_one
    for process in processes:
        process.child.kill()
        process.child.wait()


def publish(source, base, version):
    """Copy a version under another name and rename it into place, as an exporter does."""
    shutil.copytree(source, base / f".{version}")
    os.replace(base / f".{version}", base / str(version))


def test_versions_swap_under_load_and_a_damaged_one_is_left_out(start, models_dir, tmp_path):
    base = tmp_path / "out" / "half"
    base.mkdir(parents=True)
    publish(models_dir / "half" / "1", base, 1)
    (tmp_path / "batching.txt").write_text(BATCHING)
    process = start(tmp_path / "out", "--batching-parameters-file", tmp_path / "batching.txt")
    assert process.facts["models"] == [{"name": "half", "versions": [1]}]
    assert process.facts["host"] == "127.0.0.1" and process.facts["url"].endswith(str(process.facts["port"]))
    answers, done = [], threading.Event()

    def load():
        while not done.is_set():
            status, document = process.predict()
            answers.append((status, document["predictions"][0]))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    publish(models_dir / "half" / "2", base, 2)
    process.wait_for(lambda: process.states().get("2") == "AVAILABLE" and process.states()["1"] == "END")
    damaged = base / ".3"
    shutil.copytree(models_dir / "half" / "2", damaged)
    (damaged / "saved_model.pb").write_bytes((damaged / "saved_model.pb").read_bytes()[:1000])
    os.replace(damaged, base / "3")
    process.wait_for(lambda: process.states().get("3") == "END")
    done.set()
    for thread in threads:
        thread.join()
    assert process.states() == {"3": "END", "2": "AVAILABLE", "1": "END"}
    assert set(answers) == {(200, 1.5), (200, 2.5)}
    assert process.predict() == (200, {"predictions": [2.5]})
    # Killed in mid-load, it serves again, on the same port, the newest version that loads.
    port = process.facts["port"]
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    again = start(base, "--rest-api-port", port, "--model-name", "half")
    assert again.predict() == (200, {"predictions": [2.5]})
    # The answer is sent before the log is written.
    again.wait_for(lambda: '"target": "/v1/models/half:predict"' in again.log.read_text())
    (line,) = [json.loads(line) for line in again.log.read_text().splitlines() if line.startswith("{")]
    assert (line["method"], line["status"], line["code"]) == ("POST", 200, "OK")
    assert line["bytes_in"] == len('{"instances": [1]}') and "instances" not in again.log.read_text()


def test_what_is_in_flight_is_finished(start, models_dir, tmp_path):
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }')
    process = start(models_dir / "half", "--no-access-log", "--monitoring-config-file", tmp_path / "monitoring")
    answers = []
    body = {"signature_name": "slow", "inputs": [1500]}
    thread = threading.Thread(target=lambda: answers.append(process.ask("POST", "/v1/models/half:predict", body)))

    def is_running():
        with closing(http.client.HTTPConnection("127.0.0.1", process.facts["port"])) as connection:
            connection.request("GET", "/metrics")
            return b"requests_in_progress 2" in connection.getresponse().read()

    thread.start()
    while not is_running():
        assert not answers, "the request was over before it could be seen"
    assert process.end() == 0
    thread.join()
    assert answers == [(200, {"outputs": [1500.0]})]


def test_half_sent_heads_shut_nobody_out(start, models_dir):
    """More of them than the system lets the server open files for, and one line in its log."""
    process = start(models_dir / "half", "--no-access-log", files=320)
    held = [socket.create_connection(("127.0.0.1", process.facts["port"])) for _ in range(400)]
    for connection in held:
        with contextlib.suppress(OSError):  # it may be closed already
            connection.sendall(b"GET /v1/models/half HTTP/1.1\r\n")
    for _ in range(5):
        assert process.predict() == (200, {"predictions": [2.5]})
    for connection in held:
        connection.close()
    said = process.log.read_text()
    assert said.count("all 128 connections are taken") == 1 and "Traceback" not in said


def test_the_server_ends_while_a_body_is_read(start, models_dir):
    process = start(models_dir / "half", "--no-access-log", "--rest-api-timeout-in-ms", 3000)
    body = b'{"instances": [' + b"[-NaN]," * 5_000_000
    with closing(http.client.HTTPConnection("127.0.0.1", process.facts["port"], timeout=60)) as connection:
        connection.request("POST", "/v1/models/half:predict", body)
        assert process.predict() == (200, {"predictions": [2.5]})
        assert process.end() == 0
    assert "Traceback" not in process.log.read_text()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", process.facts["port"]), timeout=1)


def test_foreign_hosts_are_refused_unless_told(start, models_dir):
    process = start(models_dir / "half", "--demo", "--allowed-host", "box.lan")
    for host, status in (("evil.example", 421), ("box.lan:1", 200), ("127.0.0.1", 200), ("localhost:8501", 200)):
        for target in ("/demo", "/v1/models/half"):
            with closing(http.client.HTTPConnection("127.0.0.1", process.facts["port"], timeout=30)) as connection:
                connection.request("GET", target, headers={"Host": host})
                assert connection.getresponse().status == status


def test_several_models_from_a_config_file(start, models_dir, tmp_path):
    config = tmp_path / "models.config"
    both = "".join(
        f'config {{ name: "{name}" base_path: "{models_dir}/half" model_platform: "tensorflow" {policy} }}'
        for name, policy in (
            ("newest", 'version_labels { key: "stable" value: 2 }'),
            ("half", "model_version_policy { specific { versions: 1 } }"),
        )
    )
    config.write_text(f"model_config_list {{ {both} }}")
    process = start("--model-config-file", config)
    assert process.predict() == (200, {"predictions": [1.5]})
    path = "/v1/models/newest/labels/stable:predict"
    assert process.ask("POST", path, {"instances": [1]}) == (200, {"predictions": [2.5]})


@pytest.fixture
def refuse(lae_tf_command):
    def run(*arguments):
        code, out, err = lae_tf_command("serve", *arguments)
        assert not out
        return code, err.strip()

    return run


def test_a_taken_port_is_one_sentence(refuse, models_dir):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = refuse(models_dir, "--rest-api-port", port)
    assert code == 1 and "\n" not in err
    assert err.startswith(f"Error: Cannot listen on 127.0.0.1 port {port}: Address already in use")


def test_directories_that_hold_no_model(refuse, models_dir, tmp_path):
    for arguments, said in (
        ([tmp_path / "nothing"], "is not a directory"),
        ([tmp_path], "No model found"),
        ([models_dir / "half" / "1"], f"give the directory above it ({models_dir / 'half'})"),
        ([], "Give EXPORT_DIR"),
        ([tmp_path, "--model-config-file", "x"], "not both"),
        ([models_dir, "--port", "8501"], "for the REST API say --rest-api-port 8501"),
    ):
        code, err = refuse(*arguments)
        assert code == 2 and said in err and "\n" not in err
    for name in ("a", "b"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "saved_model.pb").write_bytes(b"damaged")
    code, err = refuse(tmp_path)
    assert code == 2 and "several models (a, b)" in err


def test_a_damaged_model_is_told(tmp_path, models_dir):
    from lae_tf.errors import LAEError
    from lae_tf.serving.engine.model_manager import ModelManager
    from lae_tf.serving.launch import find_model

    save_model(tmp_path / "m" / "1", 1.0)
    for file in (tmp_path / "m" / "1" / "variables").iterdir():
        file.unlink()
    with pytest.raises(LAEError, match="Model 'm' cannot be served: version 1: "):
        ModelManager([find_model(tmp_path, None)]).start(0)
