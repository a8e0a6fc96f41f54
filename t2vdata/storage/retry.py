"""Wait for an unavailable object store: repeat an operation with growing pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from t2vdata.errors import StoreAwayError, TransientError

# How long a build waits for an unavailable store: longer than a restart, shorter than a night.
PATIENCE_SECONDS = 180.0
_MAX_PAUSE_SECONDS = 10.0

Answer = TypeVar("Answer")


def retry(operation: Callable[[], Answer], patience_seconds: float) -> Answer:
    """Return what ``operation`` returns; repeat it while the store is unavailable or busy, with growing pauses.

    Raises StoreAwayError after ``patience_seconds``. With 0 seconds it runs once, and TransientError propagates.
    """
    if patience_seconds <= 0:
        return operation()
    pause = 0.1
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return operation()
        except TransientError as error:
            if time.monotonic() + pause > deadline:
                raise StoreAwayError(
                    f"{error}; gave up after {patience_seconds:.0f} s; run the same command again, finished shards are kept"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_SECONDS)
