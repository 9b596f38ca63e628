"""Files of tasks: what Label Studio names below the folders is found, and nothing else is."""

import os

import pytest

from lae_tf.annotation.task_files import TaskFiles
from lae_tf.errors import UsageError


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    for name in ("images/a.png", "images/a b & 100%.png", "upload/3/0123abcd-a.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "secret.png").write_bytes(b"x")
    (root / "inside.png").symlink_to(root / "images" / "a.png")
    (root / "outside.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop.png").symlink_to("loop.png")
    os.mkfifo(root / "pipe.png")
    return root


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/local-files/?d=images/a.png", "images/a.png"),
        ("/data/local-files/?d=/images/a.png", "images/a.png"),
        ("http://localhost:8080/data/local-files/?d=images%2Fa.png", "images/a.png"),
        ("https://example.org/studio/data/local-files?x=1&d=images/a.png#top", "images/a.png"),
        ("/data/local-files/?d=images/a+b%20%26%20100%25.png", "images/a b & 100%.png"),
        ("/data/local-files/?d=images/../images/a.png", "images/a.png"),
        ("/data/local-files/?d=inside.png", "images/a.png"),
        ("/data/upload/3/0123abcd-a.png", "upload/3/0123abcd-a.png"),
        ("http://localhost:8080/data/upload/3/0123abcd%2Da.png?x=1", "upload/3/0123abcd-a.png"),
    ],
)
def test_local_files_and_uploads_are_found(root, url, name):
    assert TaskFiles([root]).find(url) == os.path.realpath(root / name)


def test_folders_are_tried_in_turn(root, tmp_path):
    assert TaskFiles([root, tmp_path]).find("/data/local-files/?d=secret.png") == os.path.realpath(
        tmp_path / "secret.png"
    )


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "images/../../secret.png",
        "..%2Fsecret.png",
        "../root-2/secret.png",  # begins with the name of the root
        "outside.png",
        "up/secret.png",
        "%2Fetc%2Fpasswd",
        "loop.png",
        "pipe.png",
        "images",
        "none.png",
        "",
        "images/a.png%00",
        "\ud800",
        "x" * 5000,
    ],
)
def test_nothing_else_below_the_folders_is_given(root, path):
    with pytest.raises(UsageError):
        TaskFiles([root]).find(f"/data/local-files/?d={path}")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/images/a.png",
        "file:///data/local-files/?d=images/a.png",
        "s3://bucket/data/local-files/?d=images/a.png",
        "/images/a.png",
        "images/a.png",
        "http://[::1/data/local-files/?d=images/a.png",
        "/data/upload/",
        None,
        7,
        ["/data/local-files/?d=images/a.png"],
    ],
)
def test_other_addresses_are_not_fetched(root, url):
    with pytest.raises(UsageError, match="nothing is fetched"):
        TaskFiles([root]).find(url)
