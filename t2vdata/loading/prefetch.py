"""Download the next shards in background threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from t2vdata.errors import T2VError


class Prefetcher:
    """Downloads scheduled shards in order; at most ``limit`` wait to be taken."""

    def __init__(self, download: Callable[[int], None], limit: int) -> None:
        self._download = download
        self._limit = limit
        self._changed = threading.Condition()
        self._scheduled: list[int] = []
        self._held: set[int] = set()
        """Being downloaded, or downloaded and not taken."""
        self._threads: list[threading.Thread] = []
        self._closed = False

    def schedule(self, shards: Sequence[int]) -> None:
        """Set the shards that are read next, in place of those set before."""
        with self._changed:
            self._held.intersection_update(shards)
            self._scheduled = [shard for shard in dict.fromkeys(shards) if shard not in self._held]
            self._start_threads()
            self._changed.notify_all()

    def take(self, shard: int) -> None:
        """Mark a shard as being read from now on."""
        with self._changed:
            if shard in self._scheduled:
                self._scheduled.remove(shard)
            self._held.discard(shard)
            self._changed.notify_all()

    def close(self) -> None:
        """Start no more downloads; one in progress ends by itself."""
        with self._changed:
            self._closed = True
            self._scheduled = []
            self._changed.notify_all()

    def _start_threads(self) -> None:
        while self._scheduled and len(self._threads) < self._limit and not self._closed:
            # A daemon: a slow server must not keep a process from ending. The next process removes the partial files.
            thread = threading.Thread(target=self._work, name="t2vdata-prefetch", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (shard := self._next()) is not None:
            # Whoever reads the shard asks for it again, and gets the error of that: this server may be back by then.
            with contextlib.suppress(T2VError):
                self._download(shard)

    def _next(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._scheduled and len(self._held) < self._limit))
            if self._closed:
                return None
            shard = self._scheduled.pop(0)
            self._held.add(shard)
            return shard
