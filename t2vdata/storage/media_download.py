"""`Download`: one media file on its way to the decoder, by a background thread, within a budget of bytes."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import IO

from t2vdata import storage
from t2vdata.errors import DecodeError
from t2vdata.storage.archive_stream import SharedStream, file_blocks
from t2vdata.types import MediaRef


@dataclass(frozen=True)
class Limits:
    """How much is downloaded ahead of the decoder."""

    num_ahead: int = 4
    """Files under way or waiting, besides the one being decoded: decoding a clip takes as long as twenty round trips."""
    ahead_bytes: int = 256 << 20
    """Bytes downloaded and not yet decoded, above which only the file that is needed now continues."""
    in_memory_bytes: int = 8 << 20
    """A larger file moves from memory to the disk."""
    ranged_bytes: int = 32 << 20
    """A span of a larger file is read by ranges; up to this size, downloading the whole file takes hardly more requests."""


@dataclass(frozen=True)
class RangedFile:
    """A file too large to download for a span; the needed ranges are read instead."""

    url: str
    num_bytes: int

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end``. Raises as ``storage.blocks``."""
        return b"".join(storage.blocks(self.url, start, end))


class Budget:
    """Limits the bytes that are downloaded and not yet decoded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._num_bytes = 0
        self._urgent: Download | None = None
        self.peak_bytes = 0

    def add(self, download: Download, num_bytes: int) -> bool:
        """Count bytes of a download; return whether it may continue at once."""
        with self._changed:
            # The bytes of a discarded one have been subtracted already.
            if download.is_discarded:
                return False
            self._num_bytes += num_bytes
            download.num_buffered_bytes += num_bytes
            self.peak_bytes = max(self.peak_bytes, self._num_bytes)
            return self._may_continue(download)

    def wait(self, download: Download) -> None:
        """Wait until a download may continue, or is discarded."""
        with self._changed:
            self._changed.wait_for(lambda: download.is_discarded or self._may_continue(download))

    def prioritize(self, download: Download) -> None:
        """Let this download continue regardless of the budget, because it is needed now."""
        with self._changed:
            self._urgent = download
            self._changed.notify_all()

    def discard(self, download: Download) -> None:
        """Mark a download as no longer needed and subtract its bytes."""
        with self._changed:
            download.is_discarded = True
            self._num_bytes -= download.num_buffered_bytes
            download.num_buffered_bytes = 0
            self._changed.notify_all()

    def _may_continue(self, download: Download) -> bool:
        return self._num_bytes < self._max_bytes or download is self._urgent


class Download:
    """A file that is being downloaded, or has been."""

    def __init__(
        self,
        media: MediaRef,
        *,
        has_span: bool,
        max_bytes: int,
        limits: Limits,
        budget: Budget,
        shared_stream: SharedStream,
        after: Download | None,
    ) -> None:
        self._media = media
        self._has_span = has_span
        self._max_bytes = max_bytes
        self._limits = limits
        self._budget = budget
        self._shared_stream = shared_stream
        self._after = after
        """A gzipped archive is read in one direction: the download of the file before this one in the archive."""
        self._done = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._file: IO[bytes] = io.BytesIO()
        self._scratch: contextlib.ExitStack | None = None
        self._ranged: RangedFile | None = None
        self._error: Exception | None = None
        self.num_buffered_bytes = 0
        self.is_discarded = False

    def result(self) -> bytes | str | RangedFile:
        """Wait for the file; return its bytes, the path of its scratch file, or its ranges. Raises what went wrong."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        if self._ranged is not None:
            return self._ranged
        if isinstance(self._file, io.BytesIO):
            return self._file.getvalue()
        path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        if os.path.exists(path):
            return path
        # Only Linux passes a nameless file to another process this way.
        self._file.seek(0)
        return self._file.read()

    def run(self) -> None:
        """Download the file. For a download thread."""
        try:
            if self._after is not None:
                self._after._done.wait()
                self._after = None
            if not self.is_discarded:
                self._run()
        except Exception as error:
            self._error = error
        finally:
            self._done.set()

    def discard(self) -> None:
        """Stop the download and release its bytes."""
        self._budget.discard(self)
        # Ends its wait for a server, so that its thread serves another.
        self._stop.set()
        with self._lock:
            self._file.close()
            if self._scratch is not None:
                self._scratch.close()

    @property
    def _name(self) -> str:
        media = self._media
        return media.path if media.offset is None else f"{media.name} in {media.path}"

    def _run(self) -> None:
        media = self._media
        if media.size_bytes is not None and media.size_bytes > self._max_bytes and not self._has_span:
            raise self._too_large()
        if media.is_gzipped:
            self._read_gzipped()
            return
        if self._has_span and media.offset is None:
            num_bytes = media.size_bytes if media.size_bytes is not None else storage.size(media.path)
            if num_bytes is not None and num_bytes > self._limits.ranged_bytes:
                self._ranged = RangedFile(media.path, num_bytes)
                return
        self._read()

    def _read_gzipped(self) -> None:
        media = self._media
        with self._shared_stream.at(media.path, media.offset or 0) as stream:
            position = 0
            for chunk in stream.chunks(media.size_bytes or 0):
                position += len(chunk)
                self._write(chunk, position)
                if not self._budget.add(self, len(chunk)):
                    self._budget.wait(self)
                if self.is_discarded:
                    return
        self._flush()

    def _read(self) -> None:
        media = self._media
        position = 0
        while not self.is_discarded:
            # While it waits, its connection is closed, as a web server would cut it; the rest is requested afterwards.
            with contextlib.closing(self._blocks(position)) as blocks:
                for block in blocks:
                    position += len(block)
                    if position > self._max_bytes:
                        raise self._too_large()
                    self._write(block, position)
                    if self.is_discarded or not self._budget.add(self, len(block)):
                        break
                else:
                    if media.offset is not None and position != media.size_bytes:
                        raise DecodeError(f"{self._name} ends at byte {position} of {media.size_bytes}")
                    self._flush()
                    return
            self._budget.wait(self)

    def _blocks(self, position: int) -> Generator[bytes, None, None]:
        media = self._media
        if media.offset is None:
            return storage.blocks(media.path, position, stop=self._stop)
        end = media.offset + (media.size_bytes or 0)
        return file_blocks(media.path, media.offset + position, end, stop=self._stop)

    def _too_large(self) -> DecodeError:
        return DecodeError(
            f"{self._name} has over {self._max_bytes // 1_000_000} MB; allow more with --max-file-mb, or download it first"
        )

    def _write(self, block: bytes, position: int) -> None:
        with self._lock:
            if self.is_discarded:
                return
            if position > self._limits.in_memory_bytes and isinstance(self._file, io.BytesIO):
                self._scratch = contextlib.ExitStack()
                disk = self._scratch.enter_context(storage.scratch(self._media.path, "while it is read"))
                disk.write(self._file.getvalue())
                self._file = disk
            with storage.scratch_errors(self._media.path, "while it is read"):
                self._file.write(block)

    def _flush(self) -> None:
        with self._lock, storage.scratch_errors(self._media.path, "while it is read"):
            if not self.is_discarded:
                self._file.flush()


class DownloadThreads:
    """The threads of a process that download, and the archive that they have open.

    They outlive a shard, since file systems of fsspec keep a connection for each thread.
    """

    def __init__(self, num_threads: int) -> None:
        self.shared_stream = SharedStream()
        self._queue: queue.SimpleQueue[Download] = queue.SimpleQueue()
        for index in range(num_threads):
            # Daemons: a thread may wait minutes for a store that is no longer needed.
            threading.Thread(target=self._run, name=f"t2vdata-download-{index}", daemon=True).start()

    def submit(self, download: Download) -> None:
        self._queue.put(download)

    def _run(self) -> None:
        while True:
            self._queue.get().run()
