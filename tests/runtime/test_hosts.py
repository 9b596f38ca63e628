"""Names a server answers to."""

import pytest

from lae_tf.runtime.hosts import ANY, KnownHosts


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8501", "localhost.", "127.0.0.1:1", "[::1]:8501", "192.168.0.7", "box.lan", "Box.Lan.:80"],
)
def test_own_names(host):
    assert host in KnownHosts(["Box.lan"])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8501",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "lan",
        "[",
        "",
        "::1:80:x",
    ],
)
def test_foreign_names(host):
    assert host not in KnownHosts(["box.lan"])
    assert host in KnownHosts(["box.lan", ANY])
