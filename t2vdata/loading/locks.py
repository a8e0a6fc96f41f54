"""Locks between processes: files that are there while they are held, and free when the holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# How often a lock that another holds is tried: much shorter than a fetch.
_POLL_SECONDS = 0.01


@contextlib.contextmanager
def locked(path: str, *, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file at ``path``; until it is free, ``while_waiting`` is called, and may raise."""
    while (lock := try_lock(path)) is None:
        # Not a blocking flock, which could not be called off.
        time.sleep(_POLL_SECONDS)
        while_waiting()
    try:
        yield
    finally:
        unlock(path, lock)


def try_lock(path: str) -> int | None:
    """Return a descriptor that holds the lock file at ``path``, or None while another thread or process does."""
    import fcntl

    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it before may have removed the file that is locked now.
        if os.path.samestat(os.fstat(lock), os.stat(path)):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def unlock(path: str, lock: int) -> None:
    """Free a lock and remove its file."""
    import fcntl

    Path(path).unlink(missing_ok=True)
    # A forked child may hold a copy of the descriptor: closing ours alone would not free the lock.
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
