"""What a Ctrl-C does: it ends a command soon, wherever the command is, and says what to type next."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import click

INTERRUPTED = 130  # exit code
_TIMES = 4  # a Ctrl-C that does not surface is sent; then the process ends: what it writes is whole or not there
_next_steps: list[str] = []


def resumable() -> None:
    """Have an interrupted command say that it goes on with ``--resume``."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    _next_steps.append(f"\nGo on with:  {shlex.join(['lae-tf', *arguments, '--resume'])}")


def say_interrupted() -> None:
    """Say what to type next, and that the command was interrupted."""
    click.echo("\n".join([*_next_steps, "Interrupted."]), err=True)


def leave(code: int) -> NoReturn:
    """End the process at once: in order, TensorFlow would finish its step first, for seconds."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def interrupts_kept(insist_after: float) -> Iterator[None]:
    """See to it that a Ctrl-C surfaces, and as KeyboardInterrupt.

    TensorFlow's C++ turns one that falls within it into a SystemError, and Keras cuts its cause off; where Python
    ignores errors, in a destructor for example, or a library does, it is lost and has to come again. Compiling a
    graph takes none at all; such a process is ended.

    Args:
        insist_after: seconds until one that did not surface is sent again.
    """
    interrupted, surfaced = threading.Event(), threading.Event()
    main_thread = threading.get_ident()
    _next_steps.clear()

    def insist() -> None:
        for _ in range(_TIMES):
            if surfaced.wait(insist_after):
                return
            signal.pthread_kill(main_thread, signal.SIGINT)  # unlike interrupt_main, it ends a wait
        if not surfaced.wait(insist_after):
            say_interrupted()
            leave(INTERRUPTED)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if not interrupted.is_set():
            interrupted.set()
            threading.Thread(target=insist, daemon=True).start()
        signal.default_int_handler(signum, frame)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # of a job in the background it may be ignored
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if interrupted.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        surfaced.set()
        signal.signal(signal.SIGINT, before)
