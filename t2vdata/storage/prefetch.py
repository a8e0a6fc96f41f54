"""Media files behind URLs, fetched a few ahead of the decoder and never all.

A file is fetched whole: into memory, above 8 MiB into a nameless file in the folder of temporary files (``TMPDIR``). Of a clip
that is a span of a file over 32 MiB, only what the decoder reads is fetched, by ranges. While a clip is decoded, the next four
files are on their way; they wait where they are as long as 256 MiB are here that nobody has decoded. Files in archives are
fetched likewise, by their range, or of a gzipped one by streaming it past them, in the order in which they are wanted.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from t2vdata import storage
from t2vdata.errors import DecodeError
from t2vdata.storage import archives
from t2vdata.types import Clip, MediaRef

# Files under way or waiting, beside the one that is decoded: decoding a clip takes as long as twenty round trips to a store.
AHEAD = 4
# Of all files here, before one that is not the next goes on being fetched.
AHEAD_BYTES = 256 << 20
# Of a file, before it moves from memory to the disk.
_IN_MEMORY_BYTES = 8 << 20
# Of a file of which a span is wanted: up to here, to fetch it whole takes few requests more than to look for the span.
RANGED_BYTES = 32 << 20


@dataclass(frozen=True)
class Span:
    """A file too large to be fetched for the span of it that is wanted."""

    url: str
    num_bytes: int

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from one place to another. Raises as ``storage.blocks``."""
        return b"".join(storage.blocks(self.url, start, end))


def is_fetched(clip: Clip) -> bool:
    """Return whether the file of a clip is to be fetched: all but files of their own on this machine."""
    return clip.media is not None and (clip.media.is_in_archive or storage.is_url(clip.media.path))


@contextlib.contextmanager
def ahead(clips: Sequence[Clip]) -> Iterator[None]:
    """Say which clips this thread will want, in order: while one is decoded, the files of the next ones are fetched.

    Nothing is fetched before the first clip is asked for.
    """
    before, _own.line = getattr(_own, "line", None), _Line(clips)
    try:
        yield
    finally:
        _own.line.close()
        _own.line = before


def take(clip: Clip, max_megabytes: int) -> bytes | str | Span:
    """Return the file of a clip, at a URL or in an archive: its bytes, the path of a scratch file that lasts until the next
    call, or a span.

    Raises DecodeError for one of over ``max_megabytes``, and as ``storage.blocks``.
    """
    line: _Line | None = getattr(_own, "line", None)
    if line is None:
        # As if it were the only one. What was fetched goes with the line, so that its bytes are handed out.
        with ahead([clip]):
            found = take(clip, max_megabytes)
            return _read(found) if isinstance(found, str) else found
    return line.take(clip, max_megabytes * 1_000_000)


def content(clip: Clip, max_megabytes: int) -> bytes:
    """Return the bytes of such a file. Raises as ``take``."""
    found = take(clip, max_megabytes)
    return found.read(0, found.num_bytes) if isinstance(found, Span) else _read(found)


def _read(source: bytes | str) -> bytes:
    if isinstance(source, bytes):
        return source
    with storage.open_read(source) as file:
        return file.read()


def _media(clip: Clip) -> MediaRef:
    if clip.media is None:
        raise ValueError(f"clip {clip.key} has no media file")
    return clip.media


class _Own(threading.local):
    line: _Line | None = None


_own = _Own()


class _Line:
    """The files of some clips, in the order in which they are wanted."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self._next = 0
        self._files: dict[tuple[str, int | None, bool], _File] = {}
        self._last_of_stream: _File | None = None
        self._room = threading.Condition()
        self._held = 0
        self._wanted: _File | None = None

    def take(self, clip: Clip, max_bytes: int) -> bytes | str | Span:
        place = next((at for at in range(self._next, len(self._clips)) if self._clips[at].key == clip.key), None)
        if place is not None:
            self._next = place + 1
        wanted = self._begin(clip, max_bytes)
        # The next ones, once each; those before this clip are done with.
        soon = {id(wanted)}
        for at in range(self._next, len(self._clips)):
            if len(soon) > AHEAD:
                break
            if is_fetched(self._clips[at]):
                soon.add(id(self._begin(self._clips[at], max_bytes)))
        for key, file in list(self._files.items()):
            if id(file) not in soon:
                self._drop(self._files.pop(key))
        with self._room:
            self._wanted = wanted
            self._room.notify_all()
        return wanted.source()

    def close(self) -> None:
        while self._files:
            self._drop(self._files.popitem()[1])

    def grow(self, file: _File, num_bytes: int) -> bool:
        """Take in bytes of a file; return whether it may go on."""
        with self._room:
            # What is let go of has been counted out.
            if file.is_dropped:
                return False
            self._held += num_bytes
            file.held += num_bytes
            return self._may_go_on(file)

    def wait(self, file: _File) -> None:
        """Wait until a file may go on, or nobody wants it any more."""
        with self._room:
            self._room.wait_for(lambda: file.is_dropped or self._may_go_on(file))

    def _may_go_on(self, file: _File) -> bool:
        return self._held < AHEAD_BYTES or file is self._wanted

    def _begin(self, clip: Clip, max_bytes: int) -> _File:
        has_span = clip.start_seconds is not None or clip.end_seconds is not None
        media = _media(clip)
        key = (media.path, media.offset, has_span)
        if key not in self._files:
            # A stream goes one way: each of its files after the one before.
            after = self._last_of_stream if media.is_gzipped else None
            file = self._files[key] = _File(self, media, has_span, max_bytes, after)
            if media.is_gzipped:
                self._last_of_stream = file
            _fetcher().put(file)
        return self._files[key]

    def _drop(self, file: _File) -> None:
        with self._room:
            file.is_dropped = True
            self._held -= file.held
            file.held = 0
            self._room.notify_all()
        file.close()


class _File:
    """A file on its way, or here."""

    def __init__(self, line: _Line, media: MediaRef, has_span: bool, max_bytes: int, after: _File | None) -> None:
        self._line = line
        self._after = after
        self._offset, self._is_gzipped = media.offset, media.is_gzipped
        self._name = media.path if media.offset is None else f"{media.name} in {media.path}"
        self._url = media.path
        self._num_bytes = media.size_bytes
        self._has_span, self._max_bytes = has_span, max_bytes
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._file: IO[bytes] = io.BytesIO()
        self._scratch: contextlib.ExitStack | None = None
        self._span: Span | None = None
        self._error: Exception | None = None
        self.held = 0
        self.is_dropped = False

    def source(self) -> bytes | str | Span:
        """Return the file when it is here. Raises what went wrong with it."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        if self._span is not None:
            return self._span
        if isinstance(self._file, io.BytesIO):
            return self._file.getvalue()
        path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        if os.path.exists(path):
            return path
        # Only Linux gives a nameless file to another process so.
        self._file.seek(0)
        return self._file.read()

    def fetch(self) -> None:
        """Fetch it. For a thread of the fetcher."""
        try:
            if self._after is not None:
                self._after._done.wait()
                self._after = None
            if not self.is_dropped:
                self._fetch()
        except Exception as error:
            self._error = error
        finally:
            self._done.set()

    def close(self) -> None:
        """Let go of what is here."""
        with self._lock:
            self._file.close()
            if self._scratch is not None:
                self._scratch.close()

    def _fetch(self) -> None:
        if self._num_bytes is not None and self._num_bytes > self._max_bytes and not self._has_span:
            raise self._too_large()
        if self._is_gzipped:
            with archives.at(self._url, self._offset or 0) as stream:
                at = 0
                for piece in stream.pieces(self._num_bytes or 0):
                    at += len(piece)
                    self._write(piece, at)
                    if not self._line.grow(self, len(piece)):
                        self._line.wait(self)
                    if self.is_dropped:
                        return
            self._flush()
            return
        if self._has_span and self._offset is None:
            num_bytes = self._num_bytes if self._num_bytes is not None else storage.size(self._url)
            if num_bytes is not None and num_bytes > RANGED_BYTES:
                self._span = Span(self._url, num_bytes)
                return
        at = 0
        while not self.is_dropped:
            # A line to a web server that waits too long is cut: the rest is asked for when there is room.
            with contextlib.closing(self._blocks(at)) as blocks:
                for block in blocks:
                    at += len(block)
                    if at > self._max_bytes:
                        raise self._too_large()
                    self._write(block, at)
                    if self.is_dropped or not self._line.grow(self, len(block)):
                        break
                else:
                    if self._offset is not None and at != self._num_bytes:
                        raise DecodeError(f"{self._name} ends at byte {at} of {self._num_bytes}")
                    self._flush()
                    return
            self._line.wait(self)

    def _blocks(self, at: int) -> Generator[bytes, None, None]:
        if self._offset is None:
            return storage.blocks(self._url, at)
        return archives.blocks(self._url, self._offset + at, self._offset + (self._num_bytes or 0))

    def _too_large(self) -> DecodeError:
        return DecodeError(
            f"{self._name} has over {self._max_bytes // 1_000_000} MB; allow more with --max-file-mb, or fetch it first"
        )

    def _write(self, block: bytes, at: int) -> None:
        with self._lock:
            if self.is_dropped:
                return
            if at > _IN_MEMORY_BYTES and isinstance(self._file, io.BytesIO):
                self._scratch = contextlib.ExitStack()
                disk = self._scratch.enter_context(storage.scratch(self._url, "while it is read"))
                disk.write(self._file.getvalue())
                self._file = disk
            with storage.scratch_errors(self._url, "while it is read"):
                self._file.write(block)

    def _flush(self) -> None:
        with self._lock, storage.scratch_errors(self._url, "while it is read"):
            if not self.is_dropped:
                self._file.flush()


class _Fetcher:
    """The threads that fetch for this process. Each keeps a connection to the store, so they are kept too."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[_File] = queue.SimpleQueue()
        for number in range(AHEAD):
            # They end with the process: one may wait minutes for a store that nobody wants any more.
            threading.Thread(target=self._serve, name=f"t2vdata-fetch-{number}", daemon=True).start()

    def put(self, file: _File) -> None:
        self._waiting.put(file)

    def _serve(self) -> None:
        while True:
            self._waiting.get().fetch()


_fetchers: dict[int, _Fetcher] = {}


def _fetcher() -> _Fetcher:
    # By the process: threads do not come along when it is forked.
    if os.getpid() not in _fetchers:
        _fetchers[os.getpid()] = _Fetcher()
    return _fetchers[os.getpid()]
