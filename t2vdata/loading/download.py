"""Downloads of a shard, or of a part of it, that retry and resume."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from t2vdata.errors import ShardError, StorageError, TransientError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.spec import CacheSpec
from t2vdata.storage.resuming import resumed_blocks
from t2vdata.storage.retry import RetryPolicy

# Longer pauses would leave a machine idle long after the server is back.
_MAX_PAUSE_SECONDS = 30.0
# Limit of the time without progress, however many retries are left. With a last attempt that ends by its timeout, or by those
# of two requests to S3, a training run hears of a dead server within four minutes.
_PATIENCE_SECONDS = 150.0


def download_blocks(
    url: str, entry: ShardEntry, start: int, end: int, *, spec: CacheSpec, stop: threading.Event
) -> Iterator[bytes]:
    """Yield the bytes of the shard at ``url`` from ``start`` to ``end`` in blocks of a few MiB at most.

    A broken download resumes at the byte reached, up to ``spec.retries`` times in a row without progress. Then raises
    StorageError if the server cannot be reached, ShardError if the shard is missing or too short. ``stop`` cancels it.
    """
    policy = RetryPolicy(spec.retries, spec.back_off_seconds, _MAX_PAUSE_SECONDS, _PATIENCE_SECONDS)
    offset = start
    try:
        for block in resumed_blocks(url, start, end, policy=policy, timeout_seconds=spec.timeout_seconds, stop=stop):
            offset += len(block)
            yield block
    except FileNotFoundError as error:
        raise ShardError(f"no shard {entry.name}: {error}; expected {entry.num_bytes} bytes there: copy it again") from error
    except TransientError as error:
        # Nobody repeats it once more.
        raise StorageError(str(error)) from error
    if offset < end:
        raise ShardError(
            f"{url} ends at byte {offset}, expected {entry.num_bytes} bytes: the object was cut short or has changed; copy it "
            "again"
        )
