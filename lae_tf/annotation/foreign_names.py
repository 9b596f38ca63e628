"""Names of files as other systems and tools write them: Windows paths, URLs escaped or not, copies renamed.

One text may be read in several ways (is ``%5C`` three letters or a separator?). Readings come in ranks: those of a
later rank count only where none of the earlier ones names a file that is there.

Facts: https://labelstud.io/guide/storage (local files), /guide/tasks (cloud URLs, uploads); CVAT, Roboflow and
Label Studio on Windows write COCO's ``file_name`` in each of these ways.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile
from urllib.parse import unquote, unquote_plus

from lae_tf.data.signatures import is_picture_suffix

_ROOT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/\\]*")  # with the host or bucket, which is no folder
_DRIVE = re.compile(r"/?[A-Za-z]:(?=[\\/])")
_LOCAL_FILE = re.compile(r"^[^?]*/local-files/?\?(?:[^&]*&)*?d[=\\]")
_SUFFIX = re.compile(r"(.+?)(\.[^.]*)?", re.DOTALL)
_COPIES = (
    re.compile(r"[0-9a-f]{8}-(?P<stem>.+)", re.DOTALL),  # uploaded to Label Studio
    re.compile(r"(?P<stem>.+)_(?:jpe?g|png|bmp|gif|webp|tiff?)\.rf\.\w+", re.DOTALL | re.IGNORECASE),  # Roboflow
)


@dataclass(frozen=True)
class Reading:
    """One way to read a name.

    Attributes:
        parts: folders and the file's name without its suffix.
        suffix: with its dot; may be empty.
        anchored: the name begins at a root of another system, so that some of the first folders may be unknown here.
    """

    parts: tuple[str, ...]
    suffix: str
    anchored: bool


def path_readings(name: str) -> Iterator[set[Reading]]:
    """Yield the readings of a path, by rank: as it stands; then with ``\\`` as a separator, and decoded."""
    yield _read([name], backslashes=False)
    yield _read([name, unquote(name)])


def url_readings(url: str) -> Iterator[set[Reading]]:
    """Yield the readings of a URL or path in a task of Label Studio, by rank.

    Many a tool puts a file's name into a URL as it is. So ``&``, ``#`` and ``?`` belong to the name unless it names no
    file with them, and ``%41`` and ``+`` may mean themselves.
    """
    local = _LOCAL_FILE.match(url)
    name = url[local.end() :] if local else url
    yield _read([name, unquote(name), unquote_plus(name)])
    cut = re.split("[&#]" if local else "[?#]", name, maxsplit=1)[0]
    # Without this, "a&b.png" would stand for "a.png".
    yield {one for one in _read([cut, unquote(cut), unquote_plus(cut)]) if is_picture_suffix(one.suffix.lower())}


def original_stems(stem: str) -> list[str]:
    """Return the stems that a copy's stem may have been made from."""
    return [match["stem"] for match in (pattern.fullmatch(stem) for pattern in _COPIES) if match]


def upload_stem(stem: str) -> str:
    """Return what Label Studio makes of a stem when its file is uploaded: spaces become ``_``, other signs go."""
    return re.sub(r"[^\w.-]", "", stem.strip().replace(" ", "_"))


def split_path(path: str, backslashes: bool = False) -> Reading:
    """Split a path; there are no parts where it names no file. Names are composed (NFC): macOS takes them apart."""
    for start in (_ROOT, _DRIVE):
        found = start.match(path)
        path = path[found.end() :] if found else path
    words = re.split(r"[\\/]" if backslashes else "/", unicodedata.normalize("NFC", path))
    named = words[-1] not in ("", ".", "..")
    parts = [word for word in posixpath.normpath("/".join(words)).split("/") if word] if named else []
    anchored = words[0] == "" or parts[:1] == [".."]
    parts = list(dropwhile(lambda word: word == "..", parts))
    if not parts:
        return Reading((), "", anchored)
    stem, suffix = _SUFFIX.fullmatch(parts[-1]).groups("")  # type: ignore[union-attr]
    return Reading((*parts[:-1], stem), suffix, anchored)


def _read(texts: Iterable[str], backslashes: bool = True) -> set[Reading]:
    kinds = (False, True) if backslashes else (False,)
    return {reading for text in texts for kind in kinds if (reading := split_path(text, kind)).parts}
