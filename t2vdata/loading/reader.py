"""Read bytes at (shard, offset): from local files, from shards downloaded into a cache, or by range requests."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

from t2vdata import storage
from t2vdata.errors import RequestError, ShardError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.cache import ShardCache, add_holder
from t2vdata.loading.download import download_blocks
from t2vdata.loading.mappings import Mappings, make_room
from t2vdata.loading.prefetch import Prefetcher
from t2vdata.loading.shard_failures import REMEMBER_SECONDS
from t2vdata.loading.spec import CacheSpec


class Reader(Protocol):
    """Reads parts of shards; several threads may read at once. Usable only in the process that opened it."""

    def read(self, shard: int, offset: int, size: int) -> memoryview | bytes:
        """Return ``size`` bytes from ``offset`` of a shard, an index into the shards that the reader was opened with.

        Raises ShardError if the shard is missing, damaged or too short, StorageError if it cannot be reached.
        """

    def prefetch(self, shards: Sequence[int]) -> None:
        """Set the shards that are read next, in this order, in place of those set before; returns at once."""

    def close(self) -> None:
        """Release files and threads. Views returned earlier stay valid; reading again raises RequestError."""


def open_reader(
    folder: str, shards: Sequence[ShardEntry], *, cache: CacheSpec | None = None, since: float | None = None
) -> Reader:
    """Open the shards of a dataset in a local folder or at a URL; ``cache`` applies to URLs.

    ``since`` is when the loader was opened (time.time()), if this is one of several readers: see shard_failures.py.
    """
    if not storage.is_url(folder):
        return MappedShards(folder, shards)
    spec = CacheSpec() if cache is None else cache
    if spec.mode == "ranges":
        return RemoteRanges(folder, shards, spec)
    return CachedShards(folder, shards, spec, since=since)


class MappedShards:
    """Shards in a local folder, each memory-mapped when first read: reads copy nothing. See ``Mappings`` for their number.

    Truncating a mapped shard kills the process (SIGBUS), as with any mapped file; builds never do that.
    """

    def __init__(self, folder: str, shards: Sequence[ShardEntry]) -> None:
        self._folder = folder
        self._shards = tuple(shards)
        self._mappings = Mappings(len(self._shards))
        self._lock = threading.Lock()
        self._closed = False

    def read(self, shard: int, offset: int, size: int) -> memoryview:
        view = self._mappings.views[shard]
        if view is None:
            view = self._map(shard)
        self._mappings.was_read[shard] = 1
        end = offset + size
        if not 0 <= offset <= end <= len(view):
            raise _beyond(self._folder, self._shards[shard], offset, size)
        return view[offset:end]

    def prefetch(self, shards: Sequence[int]) -> None:
        """Do nothing, because the kernel reads ahead."""

    def close(self) -> None:
        with self._lock:
            self._closed = True
            # A mapping lives as long as its last view, which a thread may still be decoding.
            self._mappings.clear()

    def _map(self, shard: int) -> memoryview:
        with self._lock:
            if self._closed:
                raise _closed(self._folder)
            view = self._mappings.views[shard]
            if view is None:
                make_room()
                view = self._mapped(self._shards[shard])
                self._mappings.add(shard, view)
            return view

    def _mapped(self, entry: ShardEntry) -> memoryview:
        path = os.path.join(self._folder, entry.name)
        try:
            view = storage.map_file(path)
        except (FileNotFoundError, NotADirectoryError):
            raise ShardError(
                f"no shard {path}, expected {entry.num_bytes} bytes; see what else is missing with `t2vdata verify "
                f"{self._folder}`"
            ) from None
        if len(view) != entry.num_bytes:
            raise ShardError(
                f"{path} has {len(view)} bytes, expected {entry.num_bytes}; see what else is wrong with `t2vdata verify "
                f"{self._folder}`"
            )
        return view


class CachedShards:
    """Shards at a URL, downloaded whole into a cache folder and mapped there; those read next download in the background."""

    def __init__(self, folder: str, shards: Sequence[ShardEntry], spec: CacheSpec, *, since: float | None = None) -> None:
        self._folder = folder
        self._shards = tuple(shards)
        self._cache = ShardCache(spec, since=since)
        self._shard_at = {self._cache.path(entry): shard for shard, entry in enumerate(self._shards)}
        self._mappings = Mappings(len(self._shards))
        # Weak references to the mappings: a view that is being decoded keeps one alive after ours is gone.
        self._mapped: list[Callable[[], object | None]] = [_nothing] * len(self._shards)
        self._read_at = [0.0] * len(self._shards)
        self._locks = [threading.Lock() for _ in self._shards]
        self._stop = threading.Event()
        download = functools.partial(_download, self._cache, self._folder, self._shards, self._stop)
        self._prefetcher = Prefetcher(download, spec.fetch_ahead)
        # Also when the reader is dropped without close, or when the process exits.
        self._finish = weakref.finalize(self, _finish, self._stop, self._prefetcher)
        self._process = os.getpid()
        add_holder(self)

    def read(self, shard: int, offset: int, size: int) -> memoryview:
        view = self._mappings.views[shard]
        if view is None:
            view = self._map(shard)
        self._mappings.was_read[shard] = 1
        self._read_at[shard] = time.time()
        end = offset + size
        if not 0 <= offset <= end <= len(view):
            raise _beyond(self._folder, self._shards[shard], offset, size)
        return view[offset:end]

    def prefetch(self, shards: Sequence[int]) -> None:
        self._check_usable()
        self._prefetcher.schedule([shard for shard in shards if self._mappings.views[shard] is None])

    def close(self) -> None:
        self._finish()
        self._mappings.clear()

    def last_read(self, path: str) -> float | None:
        """Return when this reader last read a shard of the cache, None if it is not mapped here."""
        shard = self._shard_at.get(path)
        return None if shard is None or self._mapped[shard]() is None else self._read_at[shard]

    def release(self, path: str) -> bool:
        """Unmap a shard of the cache; return False if its bytes are in use."""
        shard = self._shard_at.get(path)
        if shard is None:
            return True
        # The holder of the lock is about to map the shard, and may be waiting for the cache.
        if not self._locks[shard].acquire(blocking=False):
            return False
        try:
            self._mappings.drop(shard)
            return self._mapped[shard]() is None
        finally:
            self._locks[shard].release()

    def _map(self, shard: int) -> memoryview:
        self._check_usable()
        with self._locks[shard]:
            view = self._mappings.views[shard]
            if view is None:
                self._prefetcher.take(shard)
                make_room()
                entry = self._shards[shard]
                view = self._cache.open(entry, storage.join(self._folder, entry.name), stop=self._stop)
                self._mapped[shard] = weakref.ref(view.obj)
                self._read_at[shard] = time.time()
                self._mappings.add(shard, view)
            return view

    def _check_usable(self) -> None:
        if self._stop.is_set():
            raise _closed(self._folder)
        # Its threads were not forked, so a lock that one of them held would never be released here.
        if os.getpid() != self._process:
            raise RequestError(f"the reader of {self._folder} was opened before a fork; open one in each process")


class RemoteRanges:
    """Shards at a URL, not cached: each read is a request."""

    def __init__(self, folder: str, shards: Sequence[ShardEntry], spec: CacheSpec) -> None:
        self._folder = folder
        self._shards = tuple(shards)
        self._spec = spec
        self._stop = threading.Event()
        self._missing: dict[int, tuple[float, ShardError]] = {}
        """When a shard was missing, and the error; see shard_failures.py."""

    def read(self, shard: int, offset: int, size: int) -> bytes:
        entry = self._shards[shard]
        if self._stop.is_set():
            raise _closed(self._folder)
        if not 0 <= offset <= offset + size <= entry.num_bytes:
            raise _beyond(self._folder, entry, offset, size)
        at, missing = self._missing.get(shard, (0.0, None))
        if missing is not None and time.monotonic() - at < REMEMBER_SECONDS:
            raise ShardError(str(missing))
        url = storage.join(self._folder, entry.name)
        try:
            return b"".join(download_blocks(url, entry, offset, offset + size, spec=self._spec, stop=self._stop))
        except ShardError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                self._missing[shard] = (time.monotonic(), error)
            raise

    def prefetch(self, shards: Sequence[int]) -> None:
        """Do nothing: nothing is cached."""

    def close(self) -> None:
        self._stop.set()


def _download(cache: ShardCache, folder: str, shards: Sequence[ShardEntry], stop: threading.Event, shard: int) -> None:
    cache.download(shards[shard], storage.join(folder, shards[shard].name), stop=stop)


def _finish(stop: threading.Event, prefetcher: Prefetcher) -> None:
    stop.set()
    prefetcher.close()


def _nothing() -> None:
    return None


def _beyond(folder: str, entry: ShardEntry, offset: int, size: int) -> ShardError:
    return ShardError(
        f"cannot read bytes {offset} to {offset + size} of {entry.name}, which has {entry.num_bytes}: the index does not fit "
        f"the shard; see what is wrong with `t2vdata verify {folder}`"
    )


def _closed(folder: str) -> RequestError:
    return RequestError(f"the reader of {folder} is closed; open another")
