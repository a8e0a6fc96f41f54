"""Remembers that a remote shard is bad, so that it is not downloaded again for each of its clips.

A shard that is missing, too short, or has another hash than the manifest says is bad for ``REMEMBER_SECONDS``, for every
process that shares the cache folder and whose loader was open when the shard was found bad. After that it is tried again, and
so it is by a loader that is opened later. A server that cannot be reached says nothing about the shard and is not remembered;
only those who waited for the same download get its error.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable

from t2vdata.errors import ShardError, StorageError

# Long enough for few downloads in a run of days, short enough to notice a repair.
REMEMBER_SECONDS = 1800.0
_MAX_NOTE_BYTES = 1 << 16


class ShardFailures:
    """What went wrong with the shards of a reader, by the path that a note about each has in the cache folder."""

    def __init__(self, since: float, *, now: Callable[[], float] = time.time) -> None:
        """Ignore notes of other processes from before ``since``, when the loader was opened (seconds since 1970)."""
        self._since = since
        self._now = now
        self._failures: dict[str, tuple[float, ShardError | StorageError]] = {}

    def check(self, path: str, url: str, *, waited_since: float) -> None:
        """Raise ShardError for a shard that is known to be bad, or the error of a download since ``waited_since``."""
        at, error = self._failures.get(path, (0.0, None))
        if isinstance(error, StorageError) and at >= waited_since:
            raise type(error)(str(error))
        if not isinstance(error, ShardError):
            at, error = self._noted(path, url)
        if error is not None and self._now() - at < REMEMBER_SECONDS:
            raise ShardError(str(error))

    def _noted(self, path: str, url: str) -> tuple[float, ShardError | None]:
        """Return when another process found a shard bad, and the error."""
        try:
            with open(path, "rb") as file:
                note = json.loads(file.read(_MAX_NOTE_BYTES))
            at, message = float(note["seconds"]), str(note["message"])
            is_ours = note["url"] == url and at >= self._since
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0, None
        return at, ShardError(message) if is_ours else None

    def remember(self, path: str, url: str, error: ShardError | StorageError) -> None:
        """Remember an error, and note it in the cache folder if it is the shard's own."""
        now = self._now()
        self._failures[path] = (now, error)
        if isinstance(error, ShardError):
            # Without the note, other processes find out by themselves.
            with contextlib.suppress(OSError), open(path, "w") as file:
                json.dump({"url": url, "seconds": now, "message": str(error)}, file)
