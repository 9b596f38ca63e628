"""The SavedModel that scores a pool: of an export, or of a run, which is exported for the time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lae_tf.errors import UsageError
from lae_tf.export.exporting import versions
from lae_tf.export.signatures import write_saved_model
from lae_tf.training.run import Run


@contextlib.contextmanager
def saved_model(source: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Give the SavedModel of an export or of a run, and a digest of its weights.

    Args:
        source: a run; a version folder of an export (``OUT/lae/1``), or a folder of versions (``OUT/lae``), whose
            highest is taken. A run is exported to a temporary folder, which is removed afterwards.

    Raises:
        UsageError: neither.
    """
    path = Path(source)
    if (path / "config.yaml").is_file():
        run = Run.open(path)
        model = run.load_model()
        with tempfile.TemporaryDirectory(prefix="lae-tf-") as folder:
            write_saved_model(model, Path(folder))
            yield folder, _digest([run.model_path])
        return
    if numbers := versions(path):
        path = path / str(numbers[-1])
    if not (path / "saved_model.pb").is_file():
        raise UsageError(f"{source}: neither a run (config.yaml) nor an export (saved_model.pb, or numbered versions).")
    yield str(path), _digest(sorted((path / "variables").iterdir()))


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
