"""Downloads that retry and resume."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from t2vdata.errors import RequestError, ShardError, StorageError, TransientError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.spec import CacheSpec
from t2vdata.storage import remote

# Longer delays would leave a machine idle long after the server is back.
_MAX_DELAY_SECONDS = 30.0


def download_blocks(
    url: str, entry: ShardEntry, start: int, end: int, *, spec: CacheSpec, stop: threading.Event
) -> Iterator[bytes]:
    """Yield the bytes of the shard at ``url`` from ``start`` to ``end`` in blocks of a few MiB at most.

    A broken download resumes at the byte reached, up to ``spec.retries`` times in a row without a byte of progress. Then raises
    StorageError if the server cannot be reached, ShardError if the shard is missing or too short. ``stop`` cancels it.
    """
    offset, failures = start, 0
    while offset < end:
        offset_before = offset
        try:
            for block in remote.blocks(url, offset, end, timeout_seconds=spec.timeout_seconds):
                offset += len(block)
                yield block
                check_not_stopped(stop, url)
            problem: StorageError | ShardError = ShardError(
                f"{url} ends at byte {offset}, expected {entry.num_bytes} bytes: the object was cut short or has changed; "
                "copy it again"
            )
        except FileNotFoundError as error:
            raise ShardError(
                f"no shard {entry.name}: {error}; expected {entry.num_bytes} bytes there: copy it again"
            ) from error
        except TransientError as error:
            problem = StorageError(f"{error} (at byte {offset} of {entry.num_bytes})")
            problem.__cause__ = error
        if offset < end:
            failures = 1 if offset > offset_before else failures + 1
            if failures > spec.retries:
                attempts = "1 attempt" if failures == 1 else f"{failures} attempts"
                raise type(problem)(f"{problem}; gave up after {attempts} in a row without progress") from problem.__cause__
            stop.wait(min(spec.back_off_seconds * 2 ** (failures - 1), _MAX_DELAY_SECONDS))
            check_not_stopped(stop, url)


def check_not_stopped(stop: threading.Event, url: str) -> None:
    """Raise RequestError if the reader was closed in the meantime."""
    if stop.is_set():
        raise RequestError(f"the reader of {url} was closed while it was reading; open another")
