"""Keeps clients that only hold connections open from shutting the others out.

uvicorn waits for a request's head, and for a client to read its answer, as long as the client likes. Here both have
their time, and where all connections are taken, a new one gets the place of the one that has let the server wait
longest, among those of the address that has the most: clients that ask at once are never it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

BACKLOG = 64  # connections that are accepted in one go, before any of them can be refused
QUEUE = 1024  # that the system keeps waiting meanwhile
_RESERVED_FILES = 128  # for models, processes and what else the server opens
_LOG_PAUSE = 10.0  # seconds between two lines about the same thing
# What a connection is at: the client sends a head, a body, the rest of a body that is answered already, or nothing,
# or the server prepares its answer.
_HEAD, _BODY, _REST, _IDLE, _ANSWER = "head", "body", "rest", "idle", "answer"


@dataclass(frozen=True)
class ConnectionLimits:
    """What connections may take.

    Attributes:
        connections: open at one time.
        head_seconds: for a request's head to arrive, and for the rest of a body that was refused.
        answer_seconds: for a client to take what was written to it.
    """

    connections: int = 1024
    head_seconds: float = 10.0
    answer_seconds: float = 30.0


def allow_files(connections: int) -> int:
    """Let this process open files for so many connections; return how many it has files for.

    Returns:
        ``connections``, or less where the system allows fewer, at least 1.
    """
    if sys.platform == "win32":
        return connections
    import resource

    needed = connections + BACKLOG + _RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - BACKLOG - _RESERVED_FILES)
    return connections


class Connections:
    """The connections of a server.

    Args:
        limits: what they may take.
    """

    def __init__(self, limits: ConnectionLimits):
        self.limits = limits
        self._open: set[Connection] = set()
        self._said: dict[str, tuple[float, int]] = {}

    def protocol(self, **given: Any) -> Connection:
        """Make the protocol of a new connection; for ``uvicorn.Config(http=...)``."""
        return Connection(self, **given)

    def add(self, connection: Connection) -> None:
        """Take a connection in, in the place of another where all are taken, or refuse it."""
        self._open.add(connection)
        if len(self._open) <= self.limits.connections:
            return
        taken = Counter(each.peer for each in self._open)
        waiting = [each for each in self._open if each.waiting_since is not None and each is not connection]
        # All others are being answered: the new one has to go.
        worst = max(waiting, key=lambda each: (taken[each.peer], -(each.waiting_since or 0)), default=connection)
        worst.drop(f"all {self.limits.connections} connections are taken")

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)

    def report(self, peer: str, reason: str) -> None:
        """Say in the log that a connection was closed: at once the first, then how many more every ten seconds."""
        last, more = self._said.get(reason, (-_LOG_PAUSE, 0))
        now = time.monotonic()
        if now - last < _LOG_PAUSE:
            self._said[reason] = (last, more + 1)
            return
        self._said[reason] = (now, 0)
        others = f", and {more} before it" if more else ""
        logger.warning("Closed a connection of %s%s: %s.", peer, others, reason)


class Connection(H11Protocol):
    """One connection; ``waiting_since`` is the time from which the server waits for its client, None if it does not.

    Args:
        connections: to which it belongs.
        given: what uvicorn gives a protocol.
    """

    def __init__(self, connections: Connections, **given: Any):
        super().__init__(**given)
        self._connections = connections
        self._phase = _ANSWER
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self.waiting_since: float | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self._enter(_HEAD)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        self._enter(_ANSWER)
        self._stop_unread()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        their_state = self.conn.their_state
        if their_state is h11.IDLE:
            self._enter(_HEAD)
        elif their_state is h11.SEND_BODY:
            self._enter(_REST if self.cycle.response_complete else _BODY)
        else:
            self._enter(_ANSWER)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        their_state = self.conn.their_state
        self._enter(_REST if their_state is h11.SEND_BODY else _IDLE if their_state is h11.IDLE else _ANSWER)
        self._watch_unread()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch_unread()

    def drop(self, reason: str) -> None:
        """Close the connection at once."""
        self._connections.report(self.peer, reason)
        self._connections.remove(self)
        self.transport.abort()

    def _enter(self, phase: str) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        self.waiting_since = None if phase == _ANSWER else self.loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if phase in (_HEAD, _REST):
            seconds = self._connections.limits.head_seconds
            self._timer = self.loop.call_later(seconds, self.drop, f"no complete request within {seconds:g} seconds")

    def _watch_unread(self) -> None:
        """Give the client its time to read, anew whenever it has read."""
        self._stop_unread()
        if self.transport.get_write_buffer_size():
            seconds = self._connections.limits.answer_seconds
            reason = f"its answer was not read within {seconds:g} seconds"
            self._unread = self.loop.call_later(seconds, self.drop, reason)

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
