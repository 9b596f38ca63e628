"""Imports TensorFlow as the commands use it: without the lines that its C++ side writes, and with memory kept."""

from __future__ import annotations

import os
import sys
import tempfile

from lae_tf.runtime.allocator import keep_freed_memory


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
