"""What a user did wrong, said in one sentence each."""

from __future__ import annotations

from collections.abc import Sequence


class LAEError(Exception):
    """A failure the user can act on: the message names what was found, what was expected and what to do.

    The command line prints the message without a traceback and exits with ``exit_code``.
    """

    exit_code = 1


class UsageError(LAEError):
    """The request itself is wrong: an option, a config key, a path that does not exist (exit code 2)."""

    exit_code = 2


class MissingExtraError(LAEError):
    """A feature needs packages of an extra that is not installed."""

    def __init__(self, feature: str, extra: str):
        super().__init__(f"{feature} needs the extra '{extra}': pip install 'lae-tf[{extra}]'")


class ProblemsError(LAEError):
    """Several problems found in one input; all are listed, not only the first.

    Args:
        subject: what was read, for example the manifest's path.
        problems: one sentence each.
    """

    shown = 20

    def __init__(self, subject: str, problems: Sequence[str]):
        self.problems = list(problems)
        lines = [f"  {problem}" for problem in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"  ... and {len(self.problems) - self.shown} more")
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{subject}: {count}", *lines]))


class ManifestError(ProblemsError):
    """A manifest that breaks the data contract."""


class ImageError(LAEError):
    """An image file that cannot be used: not an image, truncated, or too large."""


class VideoError(LAEError):
    """A video file that cannot be used: not a video, damaged, or cut off."""
