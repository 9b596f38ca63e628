"""The deployment's files by the rules that TensorFlow Serving applies when it starts, and by their own tools."""

import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from lae_tf.errors import UsageError
from lae_tf.export.warmup import MAX_BATCH_SIZE
from lae_tf.serving.deploy import check_deployment, write_deployment
from lae_tf.serving.engine.config_files import read_batching_parameters, read_metrics_path, read_model_config

FILES = {
    "batching_parameters.txt",
    "docker-compose.yml",
    "grafana-dashboard.json",
    "kubernetes.yaml",
    "models.config",
    "monitoring.config",
    "nginx.conf",
    "prometheus.yml",
}
# Flags of tensorflow_model_server that the files may use.
FLAGS = {
    "--allow_version_labels_for_unavailable_models",
    "--batching_parameters_file",
    "--enable_batching",
    "--model_config_file",
    "--model_config_file_poll_wait_seconds",
    "--monitoring_config_file",
    "--rest_api_timeout_in_ms",
}


@pytest.fixture
def models(tmp_path):
    for version in (1, 2):
        (tmp_path / "out" / "lae" / str(version)).mkdir(parents=True)
    return tmp_path / "out" / "lae"


@pytest.fixture
def deployment(tmp_path, models):
    folder = tmp_path / "deploy"
    result = write_deployment(folder, models, 2, "current")
    assert {path.name for path in result["written"]} == FILES == {path.name for path in folder.iterdir()}
    return folder


def compose(folder):
    return yaml.safe_load((folder / "docker-compose.yml").read_text())


def container(folder):
    deployment = next(one for one in kubernetes(folder) if one["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def kubernetes(folder):
    return list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text()))


def flags(folder):
    """The server's flags in compose and Kubernetes, as written and with the commented ones."""
    written = [compose(folder)["services"]["serving"]["command"], container(folder)["args"]]
    for name in ("docker-compose.yml", "kubernetes.yaml"):
        lines = (folder / name).read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if "--model_config_file=" in line)
        found = [re.search(r"- (--\S+)", line) for line in lines[start:]]
        written.append([match.group(1) for match in found if match])
    return [dict(flag.split("=", 1) for flag in one) for one in written]


def test_models_config_serves_both_versions_under_their_labels(deployment, models):
    (config,) = read_model_config(deployment / "models.config")
    assert (config.name, config.base_path) == ("lae", Path("/models/lae"))
    assert config.policy.specific == (1, 2)
    assert config.labels == {"stable": 1, "canary": 2}
    # A label may only point to a version that is served, and that is there.
    assert set(config.labels.values()) <= set(config.policy.specific)
    assert all((models / str(version)).is_dir() for version in config.policy.specific)


def test_batching_parameters_keep_the_start_up_rules(deployment):
    batching = read_batching_parameters(deployment / "batching_parameters.txt")
    assert batching.allowed_batch_sizes == (1, 2, 4, 8, 16, 32)
    assert batching.allowed_batch_sizes[-1] == batching.max_batch_size == MAX_BATCH_SIZE
    assert not batching.enable_large_batch_splitting


def test_metrics_are_scraped_where_they_are_served(deployment):
    path = read_metrics_path(deployment / "monitoring.config")
    (job,) = yaml.safe_load((deployment / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == path == "/monitoring/prometheus/metrics"
    assert job["static_configs"] == [{"targets": ["serving:8501"]}]
    annotations = kubernetes(deployment)[0]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == path


def test_the_server_is_started_with_flags_that_go_together(deployment):
    for used in flags(deployment):
        assert set(used) <= FLAGS
        # Labels at start-up, and a batching file without batching, would be start-up errors.
        assert used["--allow_version_labels_for_unavailable_models"] == "true"
        assert ("--batching_parameters_file" in used) == (used.get("--enable_batching") == "true")
        for flag in used:
            if flag.endswith("_file"):
                folder, name = used[flag].rsplit("/", 1)
                assert folder == "/config"
                assert (deployment / name).is_file()
    assert sum("--enable_batching" in used for used in flags(deployment)) == 2


def test_compose_mounts_read_only_and_limits_every_service(deployment, models):
    services = compose(deployment)["services"]
    serving = services["serving"]
    assert serving["image"] == "tensorflow/serving:2.21.0"
    mounts = {mount["target"]: mount for mount in serving["volumes"]}
    assert (deployment / mounts["/models/lae"]["source"]).resolve() == models.resolve()
    assert mounts["/config"]["source"] == "."
    for service in services.values():
        assert re.fullmatch(r"[\w/.-]+:v?\d+\.\d+\.\d+(-\w+)?", service["image"])
        assert set(service["deploy"]["resources"]["limits"]) >= {"cpus", "memory"}
        binds = [mount for mount in service["volumes"] if isinstance(mount, dict)]
        assert all(mount["read_only"] for mount in binds)
    # Without TLS and passwords, the server is reached from this machine alone.
    assert all(port.startswith("127.0.0.1:") for port in serving["ports"])


def test_kubernetes_is_consistent(deployment):
    workload, service = kubernetes(deployment)
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    pod = workload["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container(deployment)["volumeMounts"]} == volumes
    ports = {port["name"] for port in container(deployment)["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    assert container(deployment)["image"] == compose(deployment)["services"]["serving"]["image"]
    assert {"cpu", "memory"} <= set(container(deployment)["resources"]["limits"])


@pytest.mark.parametrize(
    ("states", "healthy"),
    [(["AVAILABLE"], True), (["END", "AVAILABLE"], True), (["END"], False), (["UNLOADING"], False), ([], False)],
)
def test_the_health_check_looks_for_available(deployment, states, healthy):
    class Status(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/v1/models/lae"
            versions = [{"version": "1", "state": state} for state in states]
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version_status": versions if known else []}).encode())

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Status)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        command = compose(deployment)["services"]["serving"]["healthcheck"]["test"]
        probes = [container(deployment)[name]["exec"]["command"] for name in ("startupProbe", "readinessProbe")]
        assert command == ["CMD", *probes[0]]
        assert probes[0] == probes[1]
        words = [word.replace("8501", str(server.server_port)) for word in probes[0]]
        assert (subprocess.run(words, timeout=20, capture_output=True).returncode == 0) == healthy
    finally:
        server.shutdown()
        server.server_close()


def test_grafana_asks_for_metrics_that_the_server_has(deployment):
    dashboard = json.loads((deployment / "grafana-dashboard.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    metrics = set(re.findall(r":tensorflow:serving:\w+", asked))
    assert metrics == {
        f":tensorflow:serving:{name}" for name in ("request_count", "request_latency_bucket", "runtime_latency_bucket")
    }
    assert "{{status}}" in json.dumps(dashboard)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_grafana_finds_prometheus_and_the_dashboard(deployment):
    document = compose(deployment)
    grafana = document["services"]["grafana"]
    content = {
        Path(use["target"]).parent.name: yaml.safe_load(document["configs"][use["source"]]["content"])
        for use in grafana["configs"]
    }
    (source,) = content["datasources"]["datasources"]
    address = re.fullmatch(r"http://(\w+):9090", source["url"])
    assert (source["type"], source["isDefault"]) == ("prometheus", True) and address[1] in document["services"]
    (provider,) = content["dashboards"]["providers"]
    (mount,) = grafana["volumes"]
    assert Path(mount["target"]).parent == Path(provider["options"]["path"])
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == mount["target"]
    assert (deployment / mount["source"]).is_file() and mount["read_only"]
    assert grafana["ports"] == ["127.0.0.1:3000:3000"]


def location(deployment):
    pattern = re.search(r"location ~ (\S+) \{", (deployment / "nginx.conf").read_text())
    return re.compile(pattern.group(1))


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        ("/v1/models/lae", True),
        ("/v1/models/lae:predict", True),
        ("/v1/models/lae/versions/2:predict", True),
        ("/v1/models/lae/labels/stable:predict", True),
        ("/v1/models/lae/metadata", True),
        ("/v1/models/other:predict", False),
        ("/v1/models/lae2", False),
        ("/monitoring/prometheus/metrics", False),
    ],
)
def test_nginx_lets_this_model_through_and_nothing_else(deployment, path, passes):
    assert bool(location(deployment).search(path)) == passes


def test_nginx_takes_its_configuration(deployment, tmp_path):
    nginx, openssl = shutil.which("nginx"), shutil.which("openssl")
    if not nginx or not openssl:
        pytest.skip("needs nginx and openssl")
    request = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    files = ["-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt")]
    subprocess.run([*request, *files], check=True, capture_output=True)
    # The server's name resolves in the compose network only; the log and pid belong to root.
    text = (deployment / "nginx.conf").read_text().replace("/etc/nginx/tls", str(tmp_path))
    text = text.replace("server serving:8501", "server 127.0.0.1:8501")
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nerror_log {tmp_path}/log;\n{text}")
    done = subprocess.run(
        [nginx, "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "log")],
        capture_output=True,
        text=True,
    )
    # What follows the syntax check, ports and folders of the system, is the machine's affair.
    assert "syntax is ok" in done.stderr


def test_the_first_version_is_stable_and_canary(tmp_path):
    (tmp_path / "lae" / "4").mkdir(parents=True)
    write_deployment(tmp_path / "deploy", tmp_path / "lae", 4, "classic")
    (config,) = read_model_config(tmp_path / "deploy" / "models.config")
    assert config.labels == {"stable": 4, "canary": 4}
    assert config.policy.specific == (4,)
    assert compose(tmp_path / "deploy")["services"]["serving"]["image"] == "tensorflow/serving:2.15.1"


def test_a_new_version_keeps_what_was_edited_and_the_stable_label(deployment, models):
    (deployment / "nginx.conf").write_text("# edited")
    (models / "3").mkdir()
    result = write_deployment(deployment, models, 3, "current")
    assert [path.name for path in result["written"]] == ["models.config"]
    assert {path.name for path in result["kept"]} == FILES - {"models.config"}
    assert (deployment / "nginx.conf").read_text() == "# edited"
    (config,) = read_model_config(deployment / "models.config")
    assert config.labels == {"stable": 1, "canary": 3}
    # A stable version that was deleted gives way to the one before the new one.
    (models / "1").rmdir()
    write_deployment(deployment, models, 3, "current")
    assert read_model_config(deployment / "models.config")[0].labels == {"stable": 2, "canary": 3}


def test_the_config_of_other_models_is_not_overwritten(deployment, models):
    other = (deployment / "models.config").read_text().replace('name: "lae"', 'name: "cat"')
    (deployment / "models.config").write_text(other)
    with pytest.raises(UsageError, match="serves cat"):
        check_deployment(deployment)
    with pytest.raises(UsageError):
        write_deployment(deployment, models, 2, "current")
    assert (deployment / "models.config").read_text() == other
