"""Tar archives as releases ship them, gzipped or plain, on a disk or behind a URL: read from front to end, never unpacked.

Nothing of an archive is written under a name that it chooses, and what is no plain file is passed over: links, devices, paths
that climb. Whether it is gzipped is told by its first bytes; at least one official part says .tar.gz and is none.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from t2vdata import storage
from t2vdata.errors import DamagedError, TransientError

ENDINGS = (".tar", ".tar.gz", ".tgz")

_BLOCK = 512
# Of a name that does not fit its header, and of what PAX says of a file.
_MAX_TOLD_BYTES = 1 << 20
# Handed to zlib at a time, and taken from it: an archive that unpacks to a thousand times its size takes no memory.
_PIECE = 1 << 18
# Before a broken line to a web server is taken up again.
_PAUSES_SECONDS = (0.1, 1.0, 5.0)


@dataclass(frozen=True)
class Archive:
    """An archive to be listed."""

    name: str
    """Below the root, with slashes."""
    path: str
    """On this machine, or a URL."""
    num_bytes: int

    def __str__(self) -> str:
        return f"archive {self.path}"


class Member(NamedTuple):
    """A plain file in an archive."""

    name: str
    offset: int
    """Where its content begins in the archive; in the unpacked one where that is gzipped."""
    size: int


@dataclass(frozen=True)
class Contents:
    """What is in an archive."""

    name: str
    num_bytes: int
    is_gzipped: bool = False
    members: list[Member] = field(default_factory=list)
    """Those that are whole, in their order."""
    damage: str | None = None
    """Why there may have been more."""


def contents(archive: Archive, most: int | None = None) -> Contents:
    """Read an archive to its end, or to its first ``most`` files, and return what is in it: what an engine hands to a worker.

    Raises FileNotFoundError, StorageError or StoreAwayError where it cannot be read at all.
    """
    found: list[Member] = []
    damage, is_gzipped = None, False
    with contextlib.closing(Stream(archive.path)) as stream:
        try:
            is_gzipped = stream.is_gzipped
            for member in _members(stream):
                found.append(member)
                if len(found) == most:
                    break
        except DamagedError as error:
            damage = str(error)
    return Contents(archive.name, archive.num_bytes, is_gzipped, found, damage)


class Stream:
    """The bytes of an archive, unpacked, from front to end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.at = 0
        self._source = _Source(path)
        self._unzipped: Iterator[bytes] | None = None
        self._rest = b""
        self._knows = False

    @property
    def is_gzipped(self) -> bool:
        self._look()
        return self._unzipped is not None

    def read(self, num_bytes: int) -> bytes:
        """Return the next bytes, fewer at the end. Raises DamagedError."""
        self._look()
        parts: list[bytes] = []
        while num_bytes > 0 and (piece := self._piece(num_bytes)):
            parts.append(piece)
            num_bytes -= len(piece)
        return b"".join(parts)

    def pieces(self, num_bytes: int) -> Iterator[bytes]:
        """Yield the next bytes, in pieces. Raises DamagedError where there are fewer."""
        self._look()
        while num_bytes > 0:
            piece = self._piece(min(num_bytes, _PIECE))
            if not piece:
                raise DamagedError(f"{self.path} ends before byte {self.at + num_bytes}")
            num_bytes -= len(piece)
            yield piece

    def skip(self, num_bytes: int) -> None:
        """Pass over some bytes. Raises DamagedError where there are fewer."""
        if num_bytes and not self.is_gzipped and num_bytes > len(self._rest):
            # All but the last, which tells that the others are there too.
            self._source.jump(num_bytes - 1 - len(self._rest))
            self.at += num_bytes - 1
            self._rest, num_bytes = b"", 1
        for _ in self.pieces(num_bytes):
            pass

    def close(self) -> None:
        self._source.close()
        self._unzipped = None

    def _look(self) -> None:
        if not self._knows:
            self._knows = True
            self._rest = next(self._source, b"")
            if self._rest.startswith(b"\x1f\x8b"):
                self._unzipped, self._rest = _unzipped(self.path, _with(self._rest, self._source)), b""

    def _piece(self, most: int) -> bytes:
        if not self._rest:
            self._rest = next(self._unzipped if self._unzipped is not None else self._source, b"")
        piece, self._rest = self._rest[:most], self._rest[most:]
        self.at += len(piece)
        return piece


class _Source:
    """The bytes of a file as they are, in blocks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._at = 0
        self._blocks: Generator[bytes, None, None] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for pause in (*_PAUSES_SECONDS, None):
            if self._blocks is None:
                self._blocks = blocks(self._path, self._at)
            try:
                block = next(self._blocks)
            except TransientError:
                # Of a web server: a store was waited for. An archive of gigabytes is not given up for a line that broke.
                self._blocks = None
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                self._at += len(block)
                return block
        raise AssertionError

    def jump(self, num_bytes: int) -> None:
        """Go on so many bytes later."""
        self.close()
        self._at += num_bytes

    def close(self) -> None:
        if self._blocks is not None:
            self._blocks.close()
        self._blocks = None


def blocks(path: str, start: int = 0, end: int | None = None) -> Generator[bytes, None, None]:
    """Yield the bytes of a local file or a URL from one place to another, as ``storage.blocks`` does."""
    if storage.is_url(path):
        yield from storage.blocks(path, start, end)
        return
    with storage.open_read(path) as file:
        file.seek(start)
        while (end is None or start < end) and (block := file.read(_PIECE if end is None else min(_PIECE, end - start))):
            start += len(block)
            yield block


def _with(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _unzipped(path: str, source: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what is in a gzip file, which may be of several parts one after the other. Raises DamagedError."""
    inflate, has_begun = zlib.decompressobj(31), False
    try:
        for block in source:
            for first in range(0, len(block), _PIECE):
                piece = block[first : first + _PIECE]
                while piece:
                    has_begun = True
                    if data := inflate.decompress(piece, _PIECE):
                        yield data
                    piece = inflate.unconsumed_tail
                    if inflate.eof:
                        # Zeros fill a file up.
                        piece = inflate.unused_data.lstrip(b"\0")
                        inflate, has_begun = zlib.decompressobj(31), False
        while data := inflate.decompress(b"", _PIECE):
            yield data
    except zlib.error as error:
        raise DamagedError(f"{path} is no sound gzip file: {error}") from error
    if has_begun and not inflate.eof:
        raise DamagedError(f"{path} is cut short")


def _members(stream: Stream) -> Iterator[Member]:
    """Yield the plain files of an archive, each when it is known to be whole. Raises DamagedError."""
    told: dict[str, str] = {}
    while True:
        begun = stream.at
        header = stream.read(_BLOCK)
        if header == bytes(_BLOCK):
            return
        if len(header) < _BLOCK:
            raise DamagedError(
                f"{stream.path} ends at byte {stream.at}, without an end mark" if begun else f"{stream.path} is empty"
            )
        kind, name, size = _header(stream.path, header, begun)
        size = int(told.get("size", size))
        padding = -size % _BLOCK
        if kind in (b"L", b"x", b"K", b"g"):
            if size > _MAX_TOLD_BYTES:
                raise DamagedError(f"{stream.path}: a name of {size} bytes at byte {begun}")
            content = b"".join(stream.pieces(size))
            stream.skip(padding)
            if kind == b"L":
                told["path"] = content.rstrip(b"\0").decode("utf-8", "replace")
            elif kind == b"x":
                told |= _pax(content)
            continue
        offset = stream.at
        stream.skip(size + padding if _has_content(kind) else 0)
        name, told = told.get("path", name), {}
        if kind in (b"0", b"\0", b"7") and (safe := _safe(name)) is not None:
            yield Member(safe, offset, size)


def _has_content(kind: bytes) -> bool:
    # Links, devices, folders and pipes have none, whatever their header says.
    return kind not in (b"1", b"2", b"3", b"4", b"5", b"6")


def _header(path: str, header: bytes, at: int) -> tuple[bytes, str, int]:
    """Return (kind, name, size) of a header. Raises DamagedError for what is none."""
    expected = sum(header) - sum(header[148:156]) + 8 * 0x20
    try:
        checksum = int(header[148:156].strip(b"\0 ") or b"0", 8)
        size = int.from_bytes(header[125:136]) if header[124] == 0x80 else int(header[124:136].strip(b"\0 ") or b"0", 8)
    except ValueError:
        checksum, size = -1, 0
    if checksum != expected or size < 0:
        raise DamagedError(f"{path}: no tar header at byte {at}")
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return header[156:157], (prefix + b"/" + name if prefix else name).decode("utf-8", "replace"), size


def _pax(content: bytes) -> dict[str, str]:
    """Return the path and the size that PAX tells of the next file: lines such as ``16 path=a/b.mp4``."""
    found: dict[str, str] = {}
    while record := re.match(rb"(\d+) ", content):
        length = int(record[1])
        key, _, value = content[record.end() : length - 1].partition(b"=")
        if key == b"path" or (key == b"size" and value.isdigit()):
            found[key.decode()] = value.decode("utf-8", "replace")
        content = content[max(length, 1) :]
    return found


def _safe(name: str) -> str | None:
    """Return a name without ``./`` before it, or None for one that leads out of its folder."""
    name = re.sub(r"^(\./+)+", "", name)
    return None if not name or name.startswith("/") or "\\" in name or ".." in name.split("/") else name


# A stream is worth keeping: the next shard often goes on where this one ends.
_lock = threading.Lock()
_kept: Stream | None = None


@contextlib.contextmanager
def at(path: str, offset: int) -> Iterator[Stream]:
    """Give the stream of a gzipped archive at a place: the one that this process has open, or one from its beginning.

    One at a time in a process. Raises DamagedError where it ends before.
    """
    global _kept
    with _lock:
        stream, _kept = _kept, None
        if stream is not None and (stream.path != path or stream.at > offset):
            stream.close()
            stream = None
        stream = stream or Stream(path)
        try:
            stream.skip(offset - stream.at)
            yield stream
        except BaseException:
            stream.close()
            raise
        _kept = stream
