"""The files that tasks of Label Studio name, in folders of this machine; nothing is fetched from anywhere.

Facts: https://labelstud.io/guide/storage (local files: ``/data/local-files/?d=PATH``, below the document root) and
/guide/tasks (uploads: ``/data/upload/PROJECT/NAME``, below the folder ``media`` of Label Studio's data).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from lae_tf.errors import UsageError

_LOCAL_FILE = re.compile(r"(?:^|/)data/local-files/?$")
_UPLOAD = re.compile(r"(?:^|/)data/(upload/.+)$", re.DOTALL)


class TaskFiles:
    """Finds the files of tasks, and none but those below its folders.

    Args:
        folders: document root of Label Studio, its folder ``media``, or both.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]]):
        self._roots = [os.path.realpath(folder) for folder in folders]

    def find(self, url: object) -> str:
        """Return the path of a file, without links on the way.

        Args:
            url: as a task has it, with or without Label Studio's own address before it.

        Raises:
            UsageError: it is no URL of a local file or an upload, or there is no such file below the folders.
        """
        relative = _relative(url)
        if relative is None:
            raise UsageError(f"'{url}' is neither a local file nor an upload of Label Studio; nothing is fetched")
        for root in self._roots:
            try:
                path = os.path.realpath(os.path.join(root, relative))
                if Path(path).is_relative_to(root) and os.path.isfile(path):
                    return path
            except ValueError:  # a null byte, or half of a character
                break
        raise UsageError(f"'{url}' is no file below {', '.join(self._roots)}")


def _relative(url: object) -> str | None:
    """Return the path of a task's file below its folder, or None where the URL is of no file on a disk."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("", "http", "https"):
            return None
        if _LOCAL_FILE.search(parts.path):
            relative = parse_qs(parts.query).get("d", [""])[0]
        else:
            upload = _UPLOAD.search(parts.path)
            relative = unquote(upload[1]) if upload else ""
    except ValueError:  # too many fields, or brackets that hold no address
        return None
    return relative.lstrip("/") or None
