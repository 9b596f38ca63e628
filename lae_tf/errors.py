"""What a user did wrong, said in one sentence each."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LONGEST_LINE = 1000
_MOST_LINES = 200
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shortened(text: str) -> str:
    """Return a line of a message, its middle cut out where it is long, and control characters made visible.

    A message quotes what was found, and files hold whatever their writer liked: a cell of gigabytes, or what
    takes over a terminal.
    """
    if len(text) > _LONGEST_LINE:
        text = f"{text[: _LONGEST_LINE // 2]} ... {text[-_LONGEST_LINE // 4 :]}"
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class LAEError(Exception):
    """A failure the user can act on: the message names what was found, what was expected and what to do.

    The command line prints the message without a traceback and exits with ``exit_code``.
    """

    exit_code = 1

    def __init__(self, message: str = ""):
        lines = message.split("\n", _MOST_LINES)[:_MOST_LINES]
        super().__init__("\n".join(map(shortened, lines)))


class UsageError(LAEError):
    """The request itself is wrong: an option, a config key, a path that does not exist (exit code 2)."""

    exit_code = 2


class MissingExtraError(LAEError):
    """A feature needs packages of an extra that is not installed."""

    def __init__(self, feature: str, extra: str):
        command = f"pip install '.[{extra}]'"
        super().__init__(f"{feature} needs the extra '{extra}': in the folder of lae_tf's sources, run {command}")


class ProblemsError(LAEError):
    """Several problems found in one input; all are listed, not only the first.

    Args:
        subject: what was read, for example the manifest's path.
        problems: one sentence each.
        remedy: a last sentence, what helps with all of them.
    """

    shown = 20

    def __init__(self, subject: str, problems: Sequence[str], remedy: str = ""):
        self.problems = [shortened(problem) for problem in problems]
        lines = [f"  {problem}" for problem in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"  ... and {len(self.problems) - self.shown} more")
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{subject}: {count}", *lines, *([remedy] if remedy else [])]))


class ManifestError(ProblemsError):
    """A manifest that breaks the data contract."""


class ImageError(LAEError):
    """An image file that cannot be used: not an image, truncated, or too large."""


class VideoError(LAEError):
    """A video file that cannot be used: not a video, damaged, or cut off."""
