"""TensorFlow Serving's configuration files: what is read, and what is refused."""

from pathlib import Path

import pytest

from lae_tf.errors import UsageError
from lae_tf.serving.engine.config_files import (
    BatchingParameters,
    ModelConfig,
    VersionPolicy,
    read_batching_parameters,
    read_metrics_path,
    read_model_config,
)


@pytest.fixture
def write(tmp_path):
    def write_text(text: str) -> Path:
        (tmp_path / "config").write_text(text)
        return tmp_path / "config"

    return write_text


def model(fields: str = "") -> str:
    return f'config {{ name: "m" base_path: "/models/m" model_platform: "tensorflow" {fields} }}'


def models(*configs: str) -> str:
    return f"model_config_list {{ {' '.join(configs)} }}"


def test_models(write):
    labels = 'version_labels { key: "stable" value: 1 } version_labels: { key: "canary", value: 2 }'
    policy = "model_version_policy { specific { versions: 1 versions: 2 } }"
    (read,) = read_model_config(write(models(model(labels + policy))))
    assert read == ModelConfig("m", Path("/models/m"), VersionPolicy(specific=(1, 2)), {"stable": 1, "canary": 2})


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", VersionPolicy()),
        ("model_version_policy { }", VersionPolicy()),
        ("model_version_policy { latest { num_versions: 3 } }", VersionPolicy(latest=3)),
        ("model_version_policy: { all: {} }", VersionPolicy(all=True)),
    ],
)
def test_version_policies(write, text, policy):
    assert read_model_config(write(models(model(text))))[0].policy == policy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no model"),
        (models(model(), model()), "a name of its own"),
        (models('config { base_path: "/m" model_platform: "tensorflow" }'), "a name of its own"),
        (models('config { name: "m" base_path: "m" model_platform: "tensorflow" }'), "must be absolute"),
        (models('config { name: "m" base_path: "/m" }'), "model_platform"),
        (models(model("model_version_policy { specific {} }")), "names no versions"),
        (models(model("model_version_policy { all {} latest {} }")), "one of"),
        (models(model("surprise: 1")), "surprise"),
        ("model_config_list {", "cannot be read"),
    ],
)
def test_bad_models(write, text, said):
    with pytest.raises(UsageError, match=said):
        read_model_config(write(text))


def test_batching(write):
    text = """
        max_batch_size { value: 32 }  # comment
        batch_timeout_micros { value: 5000 }
        max_enqueued_batches { value: 100 }
        num_batch_threads { value: 4 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 1 allowed_batch_sizes: 32
        pad_variable_length_inputs: true
    """
    expected = BatchingParameters(32, 5000, 100, 4, (1, 32), False, 32)
    assert read_batching_parameters(write(text)) == expected
    assert read_batching_parameters(write("")) == BatchingParameters()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_size: 32", "cannot be read"),
        ("max_batch_size { value: 0 }", "must be positive"),
        ("batch_timeout_micros { value: -1 }", "must be positive"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", r"must equal max_batch_size \(8\)"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 8]", "increase"),
        ("max_batch_size { value: 8 } max_execution_batch_size { value: 9 }", "must not exceed"),
    ],
)
def test_bad_batching(write, text, said):
    with pytest.raises(UsageError, match=said):
        read_batching_parameters(write(text))


def test_monitoring(write):
    default = "/monitoring/prometheus/metrics"
    assert read_metrics_path(write("prometheus_config { enable: true }")) == default
    assert read_metrics_path(write('prometheus_config { enable: true path: "/m" }')) == "/m"
    assert read_metrics_path(write('prometheus_config { path: "/m" }')) is None
    with pytest.raises(UsageError, match="must begin with '/'"):
        read_metrics_path(write('prometheus_config { enable: true path: "m" }'))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.txt"):
        read_metrics_path(tmp_path / "nothing.txt")
