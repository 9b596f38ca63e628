"""What the files of earlier rounds say: which images were asked for, and which are no fakes."""

from __future__ import annotations

import csv
from pathlib import Path

from lae_tf.errors import UsageError
from lae_tf.files.json_files import read_object

IMPORT_FILE = "import.json"
"""In a round's folder: what its last import did."""


def selected_paths(folder: Path) -> list[str]:
    """Return the paths in a round's selection.csv.

    Raises:
        UsageError: the file is missing or damaged.
    """
    path = folder / "selection.csv"
    try:
        with path.open(newline="", encoding="utf-8") as rows:
            found = [row.get("path") for row in csv.DictReader(rows)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a selection: {error}") from None
    paths = [name for name in found if name]
    if len(paths) < len(found):
        raise UsageError(f"{path}: is damaged; expected a path in each row.")
    return paths


def not_fakes(folder: Path) -> list[str]:
    """Return the paths that a round's annotators judged not to be fakes.

    Raises:
        UsageError: the record of the import is damaged.
    """
    path = folder / IMPORT_FILE
    if not path.is_file():
        return []
    judged = read_object(path).get("not_fake")
    if not isinstance(judged, list) or not all(isinstance(name, str) for name in judged):
        raise UsageError(f"{path}: is damaged; expected a list of paths as 'not_fake'.")
    return judged
