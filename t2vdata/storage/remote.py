"""Reading files at URLs, through fsspec: bytes in blocks, sizes and listings.

Nothing here is retried beyond what a file system does by itself; a TransientError may be retried.
"""

from __future__ import annotations

import errno
import functools
import io
import threading
import urllib.parse
from collections.abc import Iterator
from typing import IO, Any

from t2vdata.storage import http
from t2vdata.storage.filesystem import ask, is_http
from t2vdata.storage.http import TIMEOUT_SECONDS
from t2vdata.storage.waiting import result_of

__all__ = ["BLOCK", "TIMEOUT_SECONDS", "blocks", "files_below", "open_read", "size"]

# Maximum bytes per request to a store: 20 ms of latency cost little, and memory stays small.
BLOCK = 4 << 20


def blocks(
    url: str,
    start: int = 0,
    end: int | None = None,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    stop: threading.Event | None = None,
) -> Iterator[bytes]:
    """Yield the bytes of a file from ``start`` until ``end`` or its own end, in blocks; fewer when it ends earlier.

    ``timeout_seconds`` of silence end an http(s) request; other stores keep their own limit (S3: see filesystem.py).
    Raises FileNotFoundError, TransientError, StorageError or RequestError, and StoppedError soon after ``stop`` is set.
    """
    if end is not None and end <= start:
        return iter(())
    return http.blocks(url, start, end, timeout_seconds, stop) if is_http(url) else _store_blocks(url, start, end, stop)


def size(url: str) -> int | None:
    """Return the size of a file in bytes, or None when the server does not say. Raises FileNotFoundError."""
    return http.size(url) if is_http(url) else int(ask(url, lambda system: system.size(url)))


def open_read(url: str) -> IO[bytes]:
    """Open a file for reading, with seeking. Raises FileNotFoundError when it does not exist."""
    num_bytes = size(url)
    if num_bytes is None:
        return io.BytesIO(b"".join(blocks(url)))
    return io.BufferedReader(_SeekableFile(url, num_bytes), BLOCK)


def files_below(folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield (path below the folder, size in bytes) of every file below a folder; for http(s) the size is None.

    This takes a request per thousand names of a store, or per folder of a web server, whose listings are pages. Folders of the
    first level are listed separately, since each entry of a listing takes a kilobyte of memory. Raises FileNotFoundError,
    TransientError, StorageError or RequestError.
    """
    if is_http(folder):
        yield from _linked(f"{folder.rstrip('/')}/")
        return
    own: str = ask(folder, lambda system: system._strip_protocol(folder)).rstrip("/")
    for entry in ask(folder, lambda system: system.ls(own, detail=True)):
        name = entry["name"].rstrip("/")
        if entry["type"] != "directory":
            entries = {} if name == own else {name: entry}
        elif name == own:
            continue
        else:
            # Empty for a folder that has been removed meanwhile.
            entries = ask(folder, functools.partial(_find, folder=name))
        for path, info in entries.items():
            if info["type"] == "file":
                yield path[len(own) :].strip("/"), info["size"]


def _find(system: Any, *, folder: str) -> dict[str, Any]:
    return dict(system.find(folder, detail=True))


def _linked(top: str) -> Iterator[tuple[str, None]]:
    """Yield the files that the listing pages of a web server link to, in a folder and the folders below it."""
    folders = [top]
    while folders:
        folder = folders.pop()
        for entry in ask(folder, functools.partial(_links, folder=folder)):
            name = str(entry["name"])
            below = name.removeprefix(folder)
            # Some pages link to themselves, sorted differently.
            if below in (name, "") or below.startswith(("?", "#", ".")):
                continue
            if entry["type"] == "directory":
                folders.append(name)
            else:
                yield urllib.parse.unquote(name.removeprefix(top)), None


def _links(system: Any, *, folder: str) -> list[dict[str, Any]]:
    try:
        return list(system.ls(folder, detail=True))
    except Exception as error:
        if getattr(error, "status", None) in (401, 403):
            raise PermissionError(str(error)) from error
        raise


class _SeekableFile(io.RawIOBase):
    """A file at a URL; each read is a request."""

    def __init__(self, url: str, num_bytes: int) -> None:
        self._url = url
        self._num_bytes = num_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._num_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        for block in blocks(self._url, self._position, min(self._position + len(view), self._num_bytes)):
            view[filled : filled + len(block)] = block
            filled += len(block)
        self._position += filled
        return filled


def _store_blocks(url: str, start: int, end: int | None, stop: threading.Event | None) -> Iterator[bytes]:
    """Yield blocks from an object store, one request each."""
    while end is None or start < end:
        block_end = start + BLOCK if end is None else min(start + BLOCK, end)
        block = ask(url, functools.partial(_store_range, url=url, start=start, end=block_end, stop=stop))
        if block:
            yield block
        start += len(block)
        if start < block_end:
            return


def _store_range(system: Any, *, url: str, start: int, end: int, stop: threading.Event | None) -> bytes:
    try:
        if getattr(system, "async_impl", False) and not system.asynchronous:
            return bytes(result_of(system.loop, _cat_file, system, url, start, end, stop=stop))
        return bytes(system.cat_file(url, start=start, end=end))
    except OSError as error:
        # S3 rejects a range that begins at the end of the file or after it.
        if error.errno == errno.EINVAL and "range" in str(error):
            return b""
        raise


async def _cat_file(system: Any, url: str, start: int, end: int) -> Any:
    return await system._cat_file(url, start=start, end=end)
