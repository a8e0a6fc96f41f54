"""Waiting for servers that are away: how often and how long an operation is repeated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from t2vdata.errors import StoreAwayError, TransientError

# How long a build waits for an unavailable store: longer than a restart, shorter than a night.
PATIENCE_SECONDS = 180.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again after a TransientError, and when to give up. Pauses double from the first to the longest."""

    num_retries: int | None = None
    """How often in a row without progress; None has no limit."""
    first_pause_seconds: float = 0.1
    max_pause_seconds: float = 10.0
    patience_seconds: float = PATIENCE_SECONDS
    """No attempt starts later than this after the last progress."""


# The manifest, the index and single clips of a dataset: somebody is looking at the screen.
READING = RetryPolicy(num_retries=3, first_pause_seconds=0.2, patience_seconds=60.0)


class Failures:
    """The failures of an operation since its last progress."""

    def __init__(self, policy: RetryPolicy, stop: threading.Event | None = None) -> None:
        self._policy = policy
        self._stop = stop
        self.num_in_a_row = 0
        self._since = time.monotonic()

    def progressed(self) -> None:
        """Start to count again."""
        self.num_in_a_row = 0
        self._since = time.monotonic()

    def may_retry(self) -> bool:
        """Count a failure, then wait, unless ``stop`` is set; return False at once when it is time to give up."""
        policy = self._policy
        pause = min(policy.first_pause_seconds * 2 ** min(self.num_in_a_row, 20), policy.max_pause_seconds)
        self.num_in_a_row += 1
        if policy.num_retries is not None and self.num_in_a_row > policy.num_retries:
            return False
        if time.monotonic() + pause > self._since + policy.patience_seconds:
            return False
        if self._stop is None:
            time.sleep(pause)
        else:
            self._stop.wait(pause)
        return True


def retry(operation: Callable[[], Answer], patience_seconds: float, *, stop: threading.Event | None = None) -> Answer:
    """Return what ``operation`` returns; repeat it while the store is unavailable or busy, with growing pauses.

    Raises StoreAwayError after ``patience_seconds``, and what ``operation`` raises once ``stop`` is set. With 0 seconds it
    runs once, and TransientError propagates.
    """
    if patience_seconds <= 0:
        return operation()
    failures = Failures(RetryPolicy(patience_seconds=patience_seconds), stop)
    while True:
        try:
            return operation()
        except TransientError as error:
            if not failures.may_retry():
                raise StoreAwayError(
                    f"{error}; gave up after {patience_seconds:.0f} s; run the same command again, finished shards are kept"
                ) from error


def retry_reading(operation: Callable[[], Answer]) -> Answer:
    """Return what ``operation`` returns; repeat it a few times while the store is unavailable or busy (``READING``)."""
    failures = Failures(READING)
    while True:
        try:
            return operation()
        except TransientError:
            if not failures.may_retry():
                raise
