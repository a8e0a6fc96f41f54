"""Bytes from far away that arrive although connections break: what broke is taken up where it stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from t2vdata.errors import RequestError, ShardError, StorageError, TransientError
from t2vdata.format.manifest import ShardEntry
from t2vdata.storage import remote

if TYPE_CHECKING:
    from t2vdata.loading.cache import CacheSpec

# Longer waits would leave a machine idle long after the server is back.
_MAX_WAIT_SECONDS = 30.0


def steady_blocks(
    url: str, entry: ShardEntry, start: int, end: int, *, spec: CacheSpec, stop: threading.Event
) -> Iterator[bytes]:
    """Yield the bytes of the shard at ``url`` from ``start`` until ``end``, all of them, in blocks of a few MiB at most.

    What breaks is taken up at the byte reached, ``spec.retries`` times in a row without a byte of progress. Then raises
    StorageError when the server cannot be reached, ShardError when the shard is not there or ends earlier. ``stop`` ends it.
    """
    at, failures = start, 0
    while at < end:
        before = at
        try:
            for block in remote.blocks(url, at, end, timeout_seconds=spec.timeout_seconds):
                at += len(block)
                yield block
                check_not_stopped(stop, url)
            problem: StorageError | ShardError = ShardError(
                f"{url} ends at byte {at}, expected {entry.num_bytes} bytes: the object was cut short or has changed; "
                "copy it again"
            )
        except FileNotFoundError as error:
            raise ShardError(
                f"no shard {entry.name}: {error}; expected {entry.num_bytes} bytes there: copy it again"
            ) from error
        except TransientError as error:
            problem = StorageError(f"{error} (at byte {at} of {entry.num_bytes})")
            problem.__cause__ = error
        if at < end:
            failures = 1 if at > before else failures + 1
            if failures > spec.retries:
                attempts = "1 attempt" if failures == 1 else f"{failures} attempts"
                raise type(problem)(f"{problem}; gave up after {attempts} in a row that brought nothing") from problem.__cause__
            stop.wait(min(spec.back_off_seconds * 2 ** (failures - 1), _MAX_WAIT_SECONDS))
            check_not_stopped(stop, url)


def check_not_stopped(stop: threading.Event, url: str) -> None:
    """Raise RequestError when the reader that asks was closed meanwhile."""
    if stop.is_set():
        raise RequestError(f"the reader of {url} was closed while it was reading; open another")
