"""Shards of remote datasets, kept on the local disk: fetched whole, checked, shared between processes, bounded.

    t2vdata-<sha256>.tar         a whole shard: its bytes had this hash when they were written
    t2vdata-<sha256>.tar.part    a shard that is being fetched, at its full size from the start
    t2vdata-<sha256>.tar.lock    held by the one who fetches it
    t2vdata.lock                 held while room is made

Locks are ``flock``s, which end with the process that holds them, however it ends. No other file is ever touched.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from t2vdata import storage
from t2vdata.errors import RequestError, ShardError, StorageError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.download import check_not_stopped, steady_blocks
from t2vdata.loading.locks import locked, try_lock, unlock

MODES = ("shards", "ranges")

_OURS = re.compile(r"t2vdata-[0-9a-f]{64}\.tar(|\.part|\.lock)")
# How often room is looked for while others fetch.
_POLL_SECONDS = 0.02
_FULL = "make room there, lower max_bytes, or give CacheSpec another folder"


def default_folder() -> str:
    """Return the cache folder of this user: $XDG_CACHE_HOME/t2vdata, or ~/.cache/t2vdata."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return os.path.join(base if os.path.isabs(base) else str(Path.home() / ".cache"), "t2vdata")


@dataclass(frozen=True)
class CacheSpec:
    """How the shards of a remote dataset are fetched and kept."""

    folder: str | None = None
    """Where shards are kept; None is ``default_folder()``."""
    max_bytes: int = 50 * 10**9
    """What all shards in the folder may take together; the least recently used go first."""
    mode: str = "shards"
    """``shards`` fetches whole shards into the folder; ``ranges`` keeps nothing and asks for each read by itself."""
    fetch_ahead: int = 2
    """How many shards are fetched at once in the background."""
    retries: int = 5
    """How often in a row a broken fetch is taken up again without a byte of progress."""
    back_off_seconds: float = 0.5
    """The wait before the first retry; it doubles with each, up to 30 seconds."""
    timeout_seconds: float = 60.0
    """How long a server may stay silent before the connection counts as broken."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RequestError(f"mode of the cache: expected 'shards' or 'ranges', got {self.mode!r}")
        for name, least in (("max_bytes", 1), ("fetch_ahead", 0), ("retries", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise RequestError(f"{name} of the cache: expected a whole number of at least {least}, got {value!r}")
        if not self.back_off_seconds >= 0:
            raise RequestError(f"back_off_seconds of the cache: expected 0 or more, got {self.back_off_seconds!r}")
        if not self.timeout_seconds > 0:
            raise RequestError(f"timeout_seconds of the cache: expected more than 0, got {self.timeout_seconds!r}")


class Holder(Protocol):
    """A reader that keeps shards of the cache mapped."""

    def last_read(self, path: str) -> float | None:
        """Return when it last read from the shard at ``path``, as of time.time(), or None when it does not hold it."""

    def let_go(self, path: str) -> bool:
        """Give the shard up if nobody uses its bytes; return whether it is given up, or never was held."""


# All readers of this process, since those of several datasets may share a folder.
_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_holders_lock = threading.Lock()


def add_holder(holder: Holder) -> None:
    """Have ``holder`` asked, as long as it lives, before a shard is evicted by this process."""
    with _holders_lock:
        _holders.add(holder)


class ShardCache:
    """A folder of whole shards. Any number of threads and processes may share it.

    A shard that is there has the size that the manifest says, checked each time, and had its hash when it was written and
    flushed to the disk; it is not hashed again.
    """

    def __init__(self, spec: CacheSpec) -> None:
        self._spec = spec
        self.folder = spec.folder or default_folder()
        with self._our_errors():
            os.makedirs(self.folder, exist_ok=True)
            self._sweep()

    def path(self, entry: ShardEntry) -> str:
        """Return where the shard is, or would be."""
        return os.path.join(self.folder, f"t2vdata-{entry.sha256}.tar")

    def open(self, entry: ShardEntry, url: str, *, stop: threading.Event) -> memoryview:
        """Return the bytes of a shard, mapped, fetched from ``url`` if need be.

        Raises ShardError when what is there is not what the manifest promises, StorageError when it cannot be had.
        """
        # Between the fetch and the look another process may have evicted it again.
        while (view := self._find(entry)) is None:
            self.fetch(entry, url, stop=stop, must=True)
        return view

    def fetch(self, entry: ShardEntry, url: str, *, stop: threading.Event, must: bool = False) -> bool:
        """Have the shard in the folder and return True; return False if there is no room and it is not a ``must``.

        One thread of one process fetches, the others wait for it. A ``must`` goes over ``max_bytes`` when this process uses
        all that is there: that is never evicted.
        """
        path = self.path(entry)
        with self._our_errors():
            os.makedirs(self.folder, exist_ok=True)
            with locked(f"{path}.lock", while_waiting=lambda: check_not_stopped(stop, url)):
                if self._is_whole(entry):
                    return True
                part = f"{path}.part"
                try:
                    while not self._reserve(part, entry, must=must):
                        if not must:
                            return False
                        stop.wait(_POLL_SECONDS)
                        check_not_stopped(stop, url)
                    self._fill(part, entry, url, stop)
                    os.replace(part, path)
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
            # Not what we wrote: fetched anew.
            storage.remove(path)
            return None
        self._touch(path)
        return view

    def _is_whole(self, entry: ShardEntry) -> bool:
        path = self.path(entry)
        is_whole = storage.size(path) == entry.num_bytes
        if is_whole:
            # It is wanted soon: others go before it.
            self._touch(path)
        return is_whole

    def _touch(self, path: str) -> None:
        # The time of a shard's last use. It may be gone by now, or the folder read-only.
        with contextlib.suppress(OSError):
            os.utime(path)

    def _fill(self, part: str, entry: ShardEntry, url: str, stop: threading.Event) -> None:
        """Write the shard and check its hash. Raises ShardError when it is another."""
        # Twice: a fetch that was taken up may have joined the beginning of an old object to the end of a new one.
        for _ in range(2):
            digest = hashlib.sha256()
            with open(part, "r+b", buffering=0) as file:
                for block in steady_blocks(url, entry, 0, entry.num_bytes, spec=self._spec, stop=stop):
                    digest.update(block)
                    _write_all(file, block)
                os.fsync(file.fileno())
            if digest.hexdigest() == entry.sha256:
                return
        raise ShardError(
            f"{url} has SHA-256 {digest.hexdigest()}, expected {entry.sha256}: the object has changed since the dataset was "
            "built; copy it again"
        )

    def _reserve(self, part: str, entry: ShardEntry, *, must: bool) -> bool:
        """Make room for a shard and take it with an empty file of its size; return whether there was room."""
        if entry.num_bytes > self._spec.max_bytes:
            raise RequestError(
                f"max_bytes of the cache: {self._spec.max_bytes} bytes cannot hold {entry.name} of {entry.num_bytes}; raise "
                "it, or use mode='ranges'"
            )
        with locked(os.path.join(self.folder, "t2vdata.lock")):
            self._sweep()
            if not self._evict(self._spec.max_bytes - entry.num_bytes):
                # What is being fetched can be evicted when it is there: a must waits for that, and goes over it else.
                is_fetching = next(self._files(".part"), None) is not None
                if is_fetching or not must:
                    return False
            with open(part, "wb") as file:
                file.truncate(entry.num_bytes)
            return True

    def _evict(self, max_bytes: int) -> bool:
        """Remove the least recently used shards until ``max_bytes`` are left; return whether so few are left."""
        with _holders_lock:
            holders = list(_holders)
        total, shards = 0, []
        for path, found in self._files("", ".part"):
            total += found.st_size
            if path.endswith(".tar"):
                read = [at for holder in holders if (at := holder.last_read(path)) is not None]
                shards.append((max(read, default=found.st_mtime), path, found.st_size))
        for _, path, num_bytes in sorted(shards):
            if total <= max_bytes:
                break
            if all(holder.let_go(path) for holder in holders):
                Path(path).unlink(missing_ok=True)
                total -= num_bytes
        return total <= max_bytes

    def _sweep(self) -> None:
        """Remove what fetches that were killed have left."""
        for path in {path.rpartition(".")[0] for path, _ in self._files(".part", ".lock")}:
            lock = try_lock(f"{path}.lock")
            if lock is not None:
                Path(f"{path}.part").unlink(missing_ok=True)
                unlock(f"{path}.lock", lock)

    def _files(self, *endings: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield path and status of our files in the folder: whole shards for the ending ''."""
        with os.scandir(self.folder) as files:
            for file in files:
                if (found := _OURS.fullmatch(file.name)) and found[1] in endings:
                    # Another process may have removed it since.
                    with contextlib.suppress(FileNotFoundError):
                        yield file.path, file.stat(follow_symlinks=False)

    @contextlib.contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            why = _FULL if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "give CacheSpec another folder"
            raise StorageError(f"cannot keep shards in {self.folder}: {error.strerror or error}; {why}") from error


def _write_all(file: IO[bytes], block: bytes) -> None:
    # Unbuffered files write what fits: all of it, but on a disk that is nearly full.
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]
