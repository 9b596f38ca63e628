"""Status codes: what failed, the HTTP status it becomes, and its text.

Codes and their HTTP statuses are TensorFlow Serving's (model_servers/http_server.cc, ``ToHTTPStatusCode``).
"""

from __future__ import annotations

import enum
import re
from http import HTTPStatus
from typing import Any


class Code(enum.Enum):
    """A canonical status code: its number in google.rpc.Code and its HTTP status."""

    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    @property
    def http_status(self) -> int:
        return self.value[1]


_BY_NUMBER = {code.value[0]: code for code in Code}


class ServingError(Exception):
    """A request or a model version that failed.

    Args:
        code: the canonical code, which decides the HTTP status.
        message: the text of the body's ``error`` key.
    """

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message)

    @property
    def http_status(self) -> int:
        return self.code.http_status


class TooLarge(ServingError):
    """More than this server takes on (HTTP 413, for which TensorFlow has no code).

    Args:
        message: the text of the body's ``error`` key.
        for_now: the same request may be welcome later.
    """

    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, message: str, for_now: bool = False):
        super().__init__(Code.RESOURCE_EXHAUSTED, message)
        self.for_now = for_now

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.for_now)


def invalid(message: str) -> ServingError:
    """Return an INVALID_ARGUMENT error (HTTP 400)."""
    return ServingError(Code.INVALID_ARGUMENT, message)


# What TensorFlow's Python layer wraps around an operation's own message.
_WRAPPING = re.compile(
    r"Graph execution error:|Detected at node .*|<stack traces unavailable>|\d+ root error\(s\) found\.|"
    r"\d+ successful operations\.|\d+ derived errors ignored\.|(?:  )?\(\d+\) \w+:\s*"
)
_OPERATION = re.compile(r" \[Op:\w+\](?: name:.*)?$", re.MULTILINE)


def from_exception(error: Exception) -> ServingError:
    """Name an exception raised while a model was loaded or run.

    TensorFlow's own errors keep their code. ``ValueError`` and ``TypeError`` come from the checks of shapes
    and dtypes that a Python call of a signature makes before the graph runs: INVALID_ARGUMENT.
    """
    if isinstance(error, ServingError):
        return error
    number = getattr(error, "error_code", None)
    if isinstance(number, int):
        return ServingError(_BY_NUMBER.get(number, Code.UNKNOWN), _own_message(str(error)))
    if isinstance(error, (ValueError, TypeError)):
        return invalid(str(error))
    if isinstance(error, MemoryError):
        return ServingError(Code.RESOURCE_EXHAUSTED, "Out of memory")
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def forget_frames(error: BaseException) -> None:
    """Let go of what an error that is dealt with came through.

    Its traceback's frames hold the request's body, and often the error itself: a circle that stays in memory until
    the next collection of garbage.
    """
    pending: list[BaseException | None] = [error]
    while pending:
        known = pending.pop()
        if known is not None and known.__traceback__ is not None:
            known.__traceback__ = None
            pending += [known.__cause__, known.__context__]


def _own_message(text: str) -> str:
    lines = (_WRAPPING.sub("", _OPERATION.sub("", line)).strip() for line in text.splitlines())
    # Several failing nodes repeat one message; the order of the first mention is kept.
    return "\n".join(dict.fromkeys(line for line in lines if line))
