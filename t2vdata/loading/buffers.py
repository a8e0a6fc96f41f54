"""Where batches lie: memory that is used again once nobody holds the batch that was in it.

Fresh memory costs a page fault for every 4 KiB, a fifth of the time of loading small clips.
"""

from __future__ import annotations

import math
import mmap
import os
import queue
import tempfile
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BatchMemory:
    """A fixed number of slots of one size, in one file without a name that other processes can map.

    The file is gone when the last process that maps it ends, however it ends.
    """

    def __init__(self, num_slots: int, slot_bytes: int) -> None:
        import numpy as np

        self.slot_bytes = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.num_slots = num_slots
        self.file = _nameless_file()
        os.ftruncate(self.file, self.slot_bytes * num_slots)
        self._map = mmap.mmap(self.file, self.slot_bytes * num_slots)
        self._bytes = np.frombuffer(self._map, np.uint8)
        # The last one back is taken first: its memory is there, and perhaps still in the cache. Slots come back also by the
        # garbage collector, in any thread and at any moment, which these two allow for and a queue with a lock does not.
        self._free: deque[int] = deque()
        self._back: queue.SimpleQueue[None] = queue.SimpleQueue()
        for slot in range(num_slots):
            self.give_back(slot)
        weakref.finalize(self, os.close, self.file).atexit = False

    @property
    def num_free(self) -> int:
        return self._back.qsize()

    def take(self, shape: tuple[int, ...]) -> int:
        """Return the free slot that came back last; wait where all are in use, which the caller sees to be short."""
        if math.prod(shape) > self.slot_bytes:
            raise ValueError(f"a batch of {shape} in slots of {self.slot_bytes} bytes")
        self._back.get()
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        self._free.append(slot)
        self._back.put(None)

    def view(self, slot: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return the memory of a slot as an array of ``shape``."""
        return slot_view(self._bytes, slot, self.slot_bytes, shape)

    def lend(self, slot: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return the memory of a slot; the slot is free again when the array, and all made of it, are gone."""
        array = self.view(slot, shape)
        weakref.finalize(array, self.give_back, slot).atexit = False
        return array


def map_file(file: int, num_bytes: int) -> NDArray[np.uint8]:
    """Return the memory behind a file of ``BatchMemory``, in another process."""
    import numpy as np

    return np.frombuffer(mmap.mmap(file, num_bytes), np.uint8)


def slot_view(memory: NDArray[np.uint8], slot: int, slot_bytes: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the beginning of a slot as an array of ``shape``."""
    view: NDArray[Any] = memory[slot * slot_bytes : slot * slot_bytes + math.prod(shape)].reshape(shape)
    return view


def _nameless_file() -> int:
    """Return the descriptor of a file that no folder lists."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("t2vdata-batches")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
