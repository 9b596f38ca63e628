"""Imports TensorFlow as the commands use it: without the lines that its C++ side writes, and with memory kept.

Keras also imports what it finds installed of Matplotlib, pandas and scikit-learn, for wrappers that no command uses,
and that takes nearly as long as all the rest. A command gets to its first score without them; one that needs them
itself imports them as ever.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from lae_tf.runtime.allocator import keep_freed_memory

_OPTIONAL = ("matplotlib", "pandas", "sklearn")


def import_tensorflow(keep_memory: bool = True) -> None:
    """Import TensorFlow and Keras; what they write to standard error is shown only if the import fails.

    Args:
        keep_memory: keep what one step frees for the next one; a server that runs for weeks gives it back.
    """
    if keep_memory:
        keep_freed_memory()
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            with _taken_for_missing(_OPTIONAL):
                import keras  # noqa: F401
                import tensorflow  # noqa: F401
        except BaseException:
            os.dup2(kept, 2)
            said.seek(0)
            sys.stderr.write(said.read().decode("utf-8", "replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def _taken_for_missing(names: tuple[str, ...]) -> Iterator[None]:
    """Let imports of these packages fail meanwhile, if they were not imported before."""
    hidden: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(hidden)  # None is Python's own mark of a module that is not there
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
