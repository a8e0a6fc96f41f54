"""Locks between processes: lock files that are released even when their holder dies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Interval between attempts at a held lock: much shorter than a download.
_POLL_SECONDS = 0.01


@contextlib.contextmanager
def locked(path: str, *, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file at ``path``; while waiting for it, call ``while_waiting``, which may raise."""
    while (lock := try_lock(path)) is None:
        # A blocking flock could not be cancelled.
        time.sleep(_POLL_SECONDS)
        while_waiting()
    try:
        yield
    finally:
        unlock(path, lock)


def try_lock(path: str) -> int | None:
    """Return a descriptor that holds the lock file at ``path``, or None while another thread or process holds it."""
    import fcntl

    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have removed the file that is locked now.
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
    """Release a lock and remove its file."""
    import fcntl

    Path(path).unlink(missing_ok=True)
    # A forked child may hold a copy of the descriptor: closing ours alone would not release the lock.
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
