"""Threads that fetch what is read next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence


class Ahead:
    """Fetches the shards that are wanted, in their order, and holds at most ``limit`` that nobody has taken yet."""

    def __init__(self, fetch: Callable[[int], None], limit: int) -> None:
        self._fetch = fetch
        self._limit = limit
        self._changed = threading.Condition()
        self._wanted: list[int] = []
        self._held: set[int] = set()
        """Being fetched, or fetched and not taken."""
        self._failed: dict[int, Exception] = {}
        self._threads: list[threading.Thread] = []
        self._closed = False

    def want(self, shards: Sequence[int]) -> None:
        """Say what is read next, in place of what was said before."""
        with self._changed:
            self._held.intersection_update(shards)
            self._wanted = [shard for shard in dict.fromkeys(shards) if shard not in self._held]
            for shard in shards:
                self._failed.pop(shard, None)
            self._start()
            self._changed.notify_all()

    def taken(self, shard: int) -> None:
        """Say that a shard is read from now on. Raises what its fetch raised, if it did."""
        with self._changed:
            if shard in self._wanted:
                self._wanted.remove(shard)
            self._held.discard(shard)
            self._changed.notify_all()
            if (error := self._failed.pop(shard, None)) is not None:
                raise error

    def close(self) -> None:
        """Fetch nothing more; a fetch under way ends by itself."""
        with self._changed:
            self._closed = True
            self._wanted = []
            self._changed.notify_all()

    def _start(self) -> None:
        while self._wanted and len(self._threads) < self._limit and not self._closed:
            # A daemon: a slow server must not keep a process from ending. What it leaves aside is swept by the next.
            thread = threading.Thread(target=self._work, name="t2vdata-ahead", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (shard := self._next()) is not None:
            try:
                self._fetch(shard)
            except Exception as error:
                # For the one who reads the shard.
                with self._changed:
                    self._failed[shard] = error

    def _next(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._wanted and len(self._held) < self._limit))
            if self._closed:
                return None
            shard = self._wanted.pop(0)
            self._held.add(shard)
            return shard
