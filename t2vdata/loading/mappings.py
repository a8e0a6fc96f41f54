"""The mapped shards of a reader, and a limit for the process, where each mapping may keep a file descriptor."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque

from t2vdata import storage

# Mapping a shard again takes 10 to 100 microseconds: little for the worker processes that decode video, the only ones whose
# mappings keep descriptors (see ``storage.mappings_keep_descriptors``).
_MAX_MAPPINGS = 256
# Linux allows 65,530 mappings.
_MAX_MAPPINGS_WITHOUT_DESCRIPTOR = 16_384
# Share of the process's open files; the rest is for the trainer.
_SHARE = 4


class Mappings:
    """The mapped shards of one reader, by their index; safe for several threads.

    Mapping more than the process may keep drops the mapping that was not read for longest, roughly. A view of it that another
    thread still reads from stays valid, since it keeps the memory mapped.
    """

    def __init__(self, num_shards: int) -> None:
        self.views: list[memoryview | None] = [None] * num_shards
        """To be read without a lock."""
        self.was_read = bytearray(num_shards)
        """Set an entry to 1 when its shard is read."""

    def add(self, shard: int, view: memoryview) -> None:
        self.was_read[shard] = 1
        self.views[shard] = view
        _limit.count(self, shard)

    def drop(self, shard: int) -> None:
        self.views[shard] = None

    def clear(self) -> None:
        for shard in range(len(self.views)):
            self.views[shard] = None
        _limit.forget(self)


def make_room() -> None:
    """Drop mappings until the process may map another shard."""
    _limit.make_room()


class _Limit:
    """Counts the mappings of all readers, oldest first, and gives those that were read lately a second chance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mapped: deque[tuple[weakref.ref[Mappings], int]] = deque()

    def count(self, mappings: Mappings, shard: int) -> None:
        with self._lock:
            self._mapped.append((weakref.ref(mappings), shard))

    def forget(self, mappings: Mappings) -> None:
        with self._lock:
            self._mapped = deque(entry for entry in self._mapped if entry[0]() not in (mappings, None))

    def make_room(self) -> None:
        most = max_mappings()
        with self._lock:
            num_chances = len(self._mapped)
            while len(self._mapped) >= most:
                reference, shard = self._mapped.popleft()
                mappings = reference()
                if mappings is None or mappings.views[shard] is None:
                    continue
                if mappings.was_read[shard] and num_chances > 0:
                    num_chances -= 1
                    mappings.was_read[shard] = 0
                    self._mapped.append((reference, shard))
                    continue
                mappings.drop(shard)

    def after_fork(self) -> None:
        # A thread that held the lock was not forked.
        self._lock = threading.Lock()


def max_mappings() -> int:
    """Return how many shards this process may keep mapped."""
    if not storage.mappings_keep_descriptors():
        return _MAX_MAPPINGS_WITHOUT_DESCRIPTOR
    try:
        import resource
    except ImportError:
        return _MAX_MAPPINGS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_MAPPINGS if soft == resource.RLIM_INFINITY else max(1, min(_MAX_MAPPINGS, soft // _SHARE))


# One for the process, as the limit of the operating system is.
_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.after_fork)
