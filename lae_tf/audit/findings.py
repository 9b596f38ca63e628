"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_FILES_KEPT = 100


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        severity: ``fault`` (training or measuring on this data misleads) or ``warning`` (look at it).
        check: kind of check: manifest, files, balance, masks, labels, duplicates, crops or give-aways.
        message: what was found, what that means, what to do, in one or two sentences.
        files: tuples of files concerned, the clearest first: one file each, or two that belong together; at most 100.
        count: how many such tuples there are.
    """

    severity: Literal["fault", "warning"]
    check: str
    message: str
    files: tuple[tuple[str, ...], ...] = ()
    count: int = 0


def finding(
    severity: Literal["fault", "warning"], check: str, message: str, files: Iterable[tuple[str, ...]] = ()
) -> Finding:
    """Return a finding that counts all the files it concerns and keeps the first of them."""
    every = tuple(files)
    return Finding(severity, check, message, every[:_FILES_KEPT], len(every))


def counted(number: int, noun: str) -> str:
    """Return for example "1 pair", "2 pairs" or "no pairs"."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
