"""Content credentials (C2PA): what a file itself says of where it comes from, signed by whoever says it.

``valid`` means that the file is what was signed, not that the signer tells the truth or is who it says: no list of
trusted signers is asked. Nothing is fetched from the network. Most files have no credentials, and whoever wants to be
rid of them removes them, so that their absence says nothing.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lae_tf.errors import MissingExtraError

_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_GENERATED = "/trainedAlgorithmicMedia"
# Actions of the specification that change what a picture shows; opening, converting and publishing do not.
_EDITS = {
    *("c2pa.addedText", "c2pa.adjustedColor", "c2pa.color_adjustments", "c2pa.cropped", "c2pa.deleted"),
    *("c2pa.drawing", "c2pa.edited", "c2pa.enhanced", "c2pa.filtered", "c2pa.placed", "c2pa.removed"),
    *("c2pa.orientation", "c2pa.resized", "c2pa.unknown"),
}


@dataclass(frozen=True)
class Credentials:
    """What a file's credentials say.

    Attributes:
        present: whether it has any; where not, all others are None.
        valid: whether they belong to this very file, unchanged since it was signed.
        generated: whether they say that a trained algorithm made the picture, or what it was made from.
        edited: whether they name an edit.
        issuer: the organisation in the signer's certificate; None where it has none.
    """

    present: bool
    valid: bool | None = None
    generated: bool | None = None
    edited: bool | None = None
    issuer: str | None = None


def credentials_readable() -> bool:
    """Whether the extra ``c2pa`` is installed."""
    return importlib.util.find_spec("c2pa") is not None


def read_credentials(path: str) -> Credentials:
    """Read the credentials in an image file.

    Raises:
        MissingExtraError: the extra ``c2pa`` is not installed.
        OSError: the file cannot be read.
    """
    try:
        from c2pa import C2paError, Context, Reader
    except ImportError:
        raise MissingExtraError("reading content credentials", "c2pa") from None
    with open(path, "rb") as file:
        try:
            reader = Reader.try_create(file, context=Context.from_dict(_SETTINGS))
            if reader is None:
                return Credentials(present=False)
            with reader:
                store, state = json.loads(reader.json()), reader.get_validation_state()
        except C2paError.NotSupported:  # a format that holds no credentials
            return Credentials(present=False)
        except (C2paError, ValueError, RecursionError):  # there, but damaged
            return Credentials(present=True, valid=False)
    return _said(store, state)


def _said(store: dict[str, Any], state: str | None) -> Credentials:
    manifests = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest"), {})
    actions = list(_actions(manifests, active))
    made = [one for one in actions if one.get("action") == "c2pa.created"]
    return Credentials(
        present=True,
        valid=state in ("Valid", "Trusted"),
        generated=any(str(one.get("digitalSourceType", "")).endswith(_GENERATED) for one in made),
        edited=any(one.get("action") in _EDITS for one in actions),
        issuer=(active.get("signature_info") or {}).get("issuer"),
    )


def _actions(manifests: dict[str, Any], manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the actions of a manifest, and of those of the files that the picture was made from, one by one."""
    waiting, seen = [manifest], set()
    while waiting:
        current = waiting.pop()
        for assertion in current.get("assertions", ()):
            if assertion.get("label", "").startswith("c2pa.actions"):
                yield from assertion["data"].get("actions", ())
        for part in current.get("ingredients", ()):
            label = part.get("active_manifest")
            if part.get("relationship") == "parentOf" and label in manifests and label not in seen:
                seen.add(label)
                waiting.append(manifests[label])
