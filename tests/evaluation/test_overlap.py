"""Copies are found by content alone, whatever their names, and files that cannot be read are none."""

from __future__ import annotations

from lae_tf.evaluation.overlap import find_copies


def test_copies_are_found_by_content(tmp_path) -> None:  # type: ignore[no-untyped-def]
    contents = {"a": b"12345", "b": b"12345", "c": b"54321", "d": b"123", "copy": b"12345", "near": b"12354", "e": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()

    def files(*names: str) -> list[str]:
        return [str(tmp_path / name) for name in names]

    found = find_copies(files("copy", "near", "gone", "folder", "e"), files("gone", "a", "b", "c", "d", "folder"))
    assert found == {str(tmp_path / "copy"): str(tmp_path / "a")}
