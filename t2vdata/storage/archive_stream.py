"""Read an archive from start to end, local or at a URL, decompressing it if it is gzipped."""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Generator, Iterator

from t2vdata import storage
from t2vdata.errors import DamagedError
from t2vdata.storage.resuming import resumed_blocks

# Passed to zlib, and taken from it, at a time: an archive that unpacks to a thousand times its size needs no memory.
_CHUNK = 1 << 18


class ArchiveStream:
    """The unpacked bytes of an archive, from start to end.

    The first bytes decide whether it is gzipped, not the name: at least one official file says .tar.gz and is not.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0
        """Offset of the next byte, in the unpacked archive."""
        self._source = _Source(path)
        self._unzipped: Iterator[bytes] | None = None
        self._buffer = b""
        self._is_open = False

    @property
    def is_gzipped(self) -> bool:
        self._open()
        return self._unzipped is not None

    def read(self, num_bytes: int) -> bytes:
        """Return the next bytes, fewer at the end. Raises DamagedError."""
        self._open()
        chunks: list[bytes] = []
        while num_bytes > 0 and (chunk := self._next_chunk(num_bytes)):
            chunks.append(chunk)
            num_bytes -= len(chunk)
        return b"".join(chunks)

    def chunks(self, num_bytes: int) -> Iterator[bytes]:
        """Yield the next ``num_bytes`` bytes in chunks. Raises DamagedError when there are fewer."""
        self._open()
        while num_bytes > 0:
            chunk = self._next_chunk(min(num_bytes, _CHUNK))
            if not chunk:
                raise DamagedError(f"{self.path} ends before byte {self.position + num_bytes}")
            num_bytes -= len(chunk)
            yield chunk

    def skip(self, num_bytes: int) -> None:
        """Skip bytes. Raises DamagedError when there are fewer."""
        if num_bytes and not self.is_gzipped and num_bytes > len(self._buffer):
            # All but the last one, which proves that the others exist.
            self._source.skip(num_bytes - 1 - len(self._buffer))
            self.position += num_bytes - 1
            self._buffer, num_bytes = b"", 1
        for _ in self.chunks(num_bytes):
            pass

    def close(self) -> None:
        self._source.close()
        self._unzipped = None

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._buffer = next(self._source, b"")
            if self._buffer.startswith(b"\x1f\x8b"):
                self._unzipped, self._buffer = _unzip(self.path, _prepend(self._buffer, self._source)), b""

    def _next_chunk(self, max_bytes: int) -> bytes:
        if not self._buffer:
            self._buffer = next(self._unzipped if self._unzipped is not None else self._source, b"")
        chunk, self._buffer = self._buffer[:max_bytes], self._buffer[max_bytes:]
        self.position += len(chunk)
        return chunk


class SharedStream:
    """Keeps the last archive stream open, for reading files of a gzipped archive in their order.

    The next file, or the next shard, often continues where the last one ended; otherwise the archive is read again from its
    beginning. One reader at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream: ArchiveStream | None = None

    @contextlib.contextmanager
    def at(self, path: str, offset: int) -> Iterator[ArchiveStream]:
        """Yield the stream of the archive at ``path``, at an offset. Raises DamagedError when the archive ends before it."""
        with self._lock:
            stream, self._stream = self._stream, None
            if stream is not None and (stream.path != path or stream.position > offset):
                stream.close()
                stream = None
            stream = stream or ArchiveStream(path)
            try:
                stream.skip(offset - stream.position)
                yield stream
            except BaseException:
                stream.close()
                raise
            self._stream = stream


def file_blocks(
    path: str, start: int = 0, end: int | None = None, *, stop: threading.Event | None = None
) -> Generator[bytes, None, None]:
    """Yield the bytes of a local file or URL from ``start`` to ``end``, in blocks. Raises as ``storage.blocks``."""
    if storage.is_url(path):
        yield from storage.blocks(path, start, end, stop=stop)
        return
    with storage.reading(path), storage.open_read(path) as file:
        file.seek(start)
        while (end is None or start < end) and (block := file.read(_CHUNK if end is None else min(_CHUNK, end - start))):
            start += len(block)
            yield block


class _Source:
    """The stored bytes of a file, in blocks; a broken connection to a web server is opened again where it broke."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._position = 0
        self._blocks: Generator[bytes, None, None] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._blocks is None:
            # One broken connection must not waste gigabytes. ``file_blocks`` waits for stores already.
            is_web = self._path.startswith(("http://", "https://"))
            self._blocks = (resumed_blocks if is_web else file_blocks)(self._path, self._position)
        block = next(self._blocks)
        self._position += len(block)
        return block

    def skip(self, num_bytes: int) -> None:
        self.close()
        self._position += num_bytes

    def close(self) -> None:
        if self._blocks is not None:
            self._blocks.close()
        self._blocks = None


def _prepend(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _unzip(path: str, source: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of a gzip file, which may consist of several members. Raises DamagedError."""
    inflate, is_inside = zlib.decompressobj(31), False
    try:
        for block in source:
            for first in range(0, len(block), _CHUNK):
                packed = block[first : first + _CHUNK]
                while packed:
                    is_inside = True
                    if data := inflate.decompress(packed, _CHUNK):
                        yield data
                    packed = inflate.unconsumed_tail
                    if inflate.eof:
                        # Files may be padded with zeros.
                        packed = inflate.unused_data.lstrip(b"\0")
                        inflate, is_inside = zlib.decompressobj(31), False
        while data := inflate.decompress(b"", _CHUNK):
            yield data
    except zlib.error as error:
        raise DamagedError(f"{path} is a damaged gzip file: {error}") from error
    if is_inside and not inflate.eof:
        raise DamagedError(f"{path} is cut short")
