"""Memory that processes share: an unnamed file, mapped."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from typing import TYPE_CHECKING

from t2vdata.processes import reserve_standard_descriptors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BatchMemory:
    """Memory of a loader, by default in a file of its own; the file is gone when the last process that maps it ends."""

    def __init__(self, num_bytes: int, *, file: int | None = None) -> None:
        self.file = unnamed_file(num_bytes) if file is None else file
        self.bytes = map_memory(self.file, num_bytes)
        weakref.finalize(self, os.close, self.file).atexit = False


def map_memory(file: int, num_bytes: int) -> NDArray[np.uint8]:
    """Return the memory of a file, in this process or another."""
    import numpy as np

    return np.frombuffer(mmap.mmap(file, num_bytes), np.uint8)


def unnamed_file(num_bytes: int) -> int:
    """Return the descriptor of a new file of zeros that is in no folder."""
    # Else it may become the standard input of a worker.
    reserve_standard_descriptors()
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("t2vdata-batches")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, num_bytes)
    return file
