"""Downloads that resume at the byte they reached."""

from __future__ import annotations

import threading
from collections.abc import Generator

from t2vdata.errors import TransientError
from t2vdata.storage import remote
from t2vdata.storage.filesystem import stopped
from t2vdata.storage.retry import READING, Failures, RetryPolicy

# An attempt that brings less has made no progress: a server may send a byte now and then for ever.
_MIN_PROGRESS_BYTES = 4096


def resumed_blocks(
    url: str,
    start: int = 0,
    end: int | None = None,
    *,
    policy: RetryPolicy = READING,
    timeout_seconds: float = remote.TIMEOUT_SECONDS,
    stop: threading.Event | None = None,
) -> Generator[bytes, None, None]:
    """Yield the bytes of a file from ``start`` until ``end`` or its own end, in blocks of a few MiB at most.

    A broken download resumes at the byte it reached. A file that ends before ``end`` is asked once more for the rest. Raises
    as ``remote.blocks``, TransientError when ``policy`` gives up, and StoppedError soon after ``stop`` is set.
    """
    offset, failures = start, Failures(policy, stop)
    while end is None or offset < end:
        offset_before = offset
        try:
            for block in remote.blocks(url, offset, end, timeout_seconds=timeout_seconds, stop=stop):
                offset += len(block)
                yield block
                check_not_stopped(stop, url)
            if end is None or offset == offset_before:
                return
        except TransientError as error:
            if offset - offset_before >= _MIN_PROGRESS_BYTES:
                failures.progressed()
            if not failures.may_retry():
                size = "" if end is None else f" of {end}"
                attempts = "1 attempt" if failures.num_in_a_row == 1 else f"{failures.num_in_a_row} attempts"
                raise TransientError(
                    f"{error} (at byte {offset}{size}); gave up after {attempts} in a row without progress"
                ) from error
            check_not_stopped(stop, url)


def check_not_stopped(stop: threading.Event | None, url: str) -> None:
    """Raise StoppedError if ``stop`` is set."""
    if stop is not None and stop.is_set():
        raise stopped(url)
