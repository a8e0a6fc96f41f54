"""A bounded local cache of the shards of remote datasets, verified and shared between processes.

    t2vdata-<sha256>.tar         a whole shard: its bytes had this hash when they were written
    t2vdata-<sha256>.tar.part    a shard being downloaded, at its full size from the start
    t2vdata-<sha256>.tar.lock    held by the process that downloads it
    t2vdata-<sha256>.tar.bad     a note that the object is missing or wrong, see shard_failures.py
    t2vdata.lock                 held during eviction

Locks are ``flock``s, which end with the process that holds them, however it ends. No other file is ever touched. A folder
that cannot be written to is read: only a shard that it lacks is an error.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from t2vdata import storage
from t2vdata.errors import RequestError, ShardError, StorageError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.download import download_blocks
from t2vdata.loading.locks import locked, try_lock, unlock
from t2vdata.loading.shard_failures import REMEMBER_SECONDS, ShardFailures
from t2vdata.loading.spec import CacheSpec
from t2vdata.storage.resuming import check_not_stopped

_FILE_NAMES = re.compile(r"t2vdata-[0-9a-f]{64}\.tar(|\.part|\.lock|\.bad)")
# How often to look for free space while others download.
_POLL_SECONDS = 0.02
_FREE_SPACE = "free space there, lower max_bytes, or give CacheSpec another folder"
_OTHER_FOLDER = "give CacheSpec another folder, or set XDG_CACHE_HOME"


def default_folder() -> str:
    """Return the user's cache folder: $XDG_CACHE_HOME/t2vdata, or ~/.cache/t2vdata.

    Raises StorageError for a user without a home folder. A folder of temporary files would not do: it is others' too.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore relative paths.
    if os.path.isabs(base):
        return os.path.join(base, "t2vdata")
    try:
        home = Path.home()
    except RuntimeError as error:
        raise StorageError(
            "no folder for the cache of remote shards: this user has no home folder; name one with CacheSpec(folder=...) or "
            "XDG_CACHE_HOME"
        ) from error
    return str(home / ".cache" / "t2vdata")


class Holder(Protocol):
    """A reader that keeps shards of the cache mapped."""

    def last_read(self, path: str) -> float | None:
        """Return when it last read from the shard at ``path`` (time.time()), None if it does not hold it."""

    def release(self, path: str) -> bool:
        """Unmap the shard unless its bytes are in use; return whether it is not mapped any more."""


# All readers of this process: readers of several datasets may share a folder.
_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_holders_lock = threading.Lock()


def add_holder(holder: Holder) -> None:
    """Ask ``holder``, as long as it lives, before this process evicts a shard."""
    with _holders_lock:
        _holders.add(holder)


class ShardCache:
    """A folder of whole shards, which any number of threads and processes may share.

    The size of a cached shard is compared with the manifest on each use. Its hash was verified when it was written and flushed
    to disk, and is not computed again.
    """

    def __init__(self, spec: CacheSpec, *, since: float | None = None) -> None:
        """``since``: when the loader was opened (time.time()), see ``ShardFailures``; default: now."""
        self._spec = spec
        self.folder = os.path.abspath(spec.folder or default_folder())
        self._failures = ShardFailures(time.time() if since is None else since)
        with self._storage_errors():
            os.makedirs(self.folder, exist_ok=True)
            if os.access(self.folder, os.W_OK):
                self._sweep()

    def path(self, entry: ShardEntry) -> str:
        """Return where the shard is or will be cached."""
        return os.path.join(self.folder, f"t2vdata-{entry.sha256}.tar")

    def open(self, entry: ShardEntry, url: str, *, stop: threading.Event) -> memoryview:
        """Return the bytes of a shard, mapped; download it from ``url`` if it is not cached.

        Raises ShardError if the object differs from the manifest, StorageError if it cannot be downloaded or stored.
        """
        with self._storage_errors():
            # Another process may have evicted it right after the download.
            while (view := self._find(entry)) is None:
                self.download(entry, url, stop=stop, required=True)
            return view

    def download(self, entry: ShardEntry, url: str, *, stop: threading.Event, required: bool = False) -> bool:
        """Download the shard into the folder unless it is cached; return False if there is no space and it is not ``required``.

        One thread of one process downloads, the others wait for it. Shards that this process uses are never evicted; if they
        fill the cache, a ``required`` shard exceeds ``max_bytes``.
        """
        path, bad, began = self.path(entry), f"{self.path(entry)}.bad", time.time()
        with self._storage_errors():
            # Before the lock, which a folder that cannot be written to does not have.
            if self._is_whole(entry):
                return True
            os.makedirs(self.folder, exist_ok=True)
            self._failures.check(bad, url, waited_since=began)
            with locked(f"{path}.lock", while_waiting=lambda: check_not_stopped(stop, url)):
                if self._is_whole(entry):
                    return True
                self._failures.check(bad, url, waited_since=began)
                part = f"{path}.part"
                try:
                    while not self._reserve(part, entry, required=required, stop=stop, url=url):
                        if not required:
                            return False
                        stop.wait(_POLL_SECONDS)
                        check_not_stopped(stop, url)
                    self._write_shard(part, entry, url, stop)
                    os.replace(part, path)
                    Path(bad).unlink(missing_ok=True)
                except (ShardError, StorageError) as error:
                    self._failures.remember(bad, url, error)
                    raise
                finally:
                    Path(part).unlink(missing_ok=True)
        return True

    def _find(self, entry: ShardEntry) -> memoryview | None:
        path = self.path(entry)
        try:
            view = storage.map_file(path)
        except FileNotFoundError:
            return None
        if len(view) != entry.num_bytes:
            # Not what we wrote: download it again.
            storage.remove(path)
            return None
        self._touch(path)
        return view

    def _is_whole(self, entry: ShardEntry) -> bool:
        path = self.path(entry)
        is_whole = storage.size(path) == entry.num_bytes
        if is_whole:
            # It is read soon, so evict others first.
            self._touch(path)
        return is_whole

    def _touch(self, path: str) -> None:
        # Records the last use. The shard may be gone by now, or the folder read-only.
        with contextlib.suppress(OSError):
            os.utime(path)

    def _write_shard(self, part: str, entry: ShardEntry, url: str, stop: threading.Event) -> None:
        """Write the shard and verify its hash. Raises ShardError if it differs."""
        # Twice: a resumed download may have joined the start of an old object to the end of a new one.
        for _ in range(2):
            digest = hashlib.sha256()
            with open(part, "r+b", buffering=0) as file:
                for block in download_blocks(url, entry, 0, entry.num_bytes, spec=self._spec, stop=stop):
                    digest.update(block)
                    _write_all(file, block)
                os.fsync(file.fileno())
            if digest.hexdigest() == entry.sha256:
                return
        raise ShardError(
            f"{url} has SHA-256 {digest.hexdigest()}, expected {entry.sha256}: the object has changed since the dataset was "
            "built; copy it again"
        )

    def _reserve(self, part: str, entry: ShardEntry, *, required: bool, stop: threading.Event, url: str) -> bool:
        """Evict until a shard fits, and reserve its space with an empty file of its size; return False if it does not fit."""
        if entry.num_bytes > self._spec.max_bytes:
            raise RequestError(
                f"max_bytes of the cache: {self._spec.max_bytes} bytes cannot hold {entry.name} of {entry.num_bytes}; raise "
                "it, or use mode='ranges'"
            )
        with locked(os.path.join(self.folder, "t2vdata.lock"), while_waiting=lambda: check_not_stopped(stop, url)):
            self._sweep()
            if not self._evict(self._spec.max_bytes - entry.num_bytes):
                # A shard that is being downloaded can be evicted once it is complete: a required shard waits for that. If
                # there is none, it exceeds the limit.
                is_downloading = next(self._files(".part"), None) is not None
                if is_downloading or not required:
                    return False
            with open(part, "wb") as file:
                file.truncate(entry.num_bytes)
            return True

    def _evict(self, max_bytes: int) -> bool:
        """Remove the least recently used shards until at most ``max_bytes`` are left; return whether that succeeded."""
        with _holders_lock:
            holders = list(_holders)
        total, shards = 0, []
        for path, status in self._files("", ".part"):
            total += status.st_size
            if path.endswith(".tar"):
                times = [seconds for holder in holders if (seconds := holder.last_read(path)) is not None]
                shards.append((max(times, default=status.st_mtime), path, status.st_size))
        for _, path, num_bytes in sorted(shards):
            if total <= max_bytes:
                break
            if all(holder.release(path) for holder in holders):
                Path(path).unlink(missing_ok=True)
                total -= num_bytes
        return total <= max_bytes

    def _sweep(self) -> None:
        """Remove the partial files of downloads that were killed, and old notes of bad shards."""
        for path, status in self._files(".bad"):
            if time.time() - status.st_mtime > REMEMBER_SECONDS:
                Path(path).unlink(missing_ok=True)
        for path in {path.rpartition(".")[0] for path, _ in self._files(".part", ".lock")}:
            lock = try_lock(f"{path}.lock")
            if lock is not None:
                Path(f"{path}.part").unlink(missing_ok=True)
                unlock(f"{path}.lock", lock)

    def _files(self, *endings: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield path and status of the cache's files with these endings; whole shards have the ending ''."""
        with os.scandir(self.folder) as files:
            for file in files:
                if (match := _FILE_NAMES.fullmatch(file.name)) and match[1] in endings:
                    # Another process may have removed it since.
                    with contextlib.suppress(FileNotFoundError):
                        yield file.path, file.stat(follow_symlinks=False)

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            advice = _FREE_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else _OTHER_FOLDER
            raise StorageError(f"cannot store shards in {self.folder}: {error.strerror or error}; {advice}") from error


def _write_all(file: IO[bytes], block: bytes) -> None:
    # An unbuffered write may be partial on a disk that is nearly full.
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]
