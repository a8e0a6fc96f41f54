"""Files behind URLs: bytes in blocks, through fsspec, with errors that say what to do. The back room of ``storage``.

Nothing here is retried beyond what a file system does by itself; ``TransientError`` says when another try makes sense.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import re
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import IO, Any, TypeVar

from t2vdata.errors import RequestError, StorageError, TransientError

# A request asks for this much at most, where a request is a block: 20 ms of latency then cost little, and memory stays small.
BLOCK = 4 << 20
# What a read takes from a line. aiohttp keeps twice as much, and drops it when the line breaks.
_PIECE = 1 << 18
# How long a server may stay silent.
TIMEOUT_SECONDS = 60.0

Answer = TypeVar("Answer")


def blocks(url: str, start: int = 0, end: int | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[bytes]:
    """Yield the bytes of a file from ``start`` until ``end`` or its own end, in blocks; fewer when it ends earlier.

    ``timeout_seconds`` of silence end an http(s) request; other stores keep their own limit (S3: 60 seconds).
    Raises FileNotFoundError, TransientError, StorageError or RequestError.
    """
    if end is not None and end <= start:
        return iter(())
    return _http_blocks(url, start, end, timeout_seconds) if _is_http(url) else _store_blocks(url, start, end)


def size(url: str) -> int | None:
    """Return the size of a file in bytes, or None when the server does not tell. Raises FileNotFoundError."""
    if not _is_http(url):
        return int(ask(url, lambda system: system.size(url)))
    # Some servers refuse HEAD, or answer it without the size that they send with the body.
    return _http_size(url, "HEAD") or _http_size(url, "GET")


def open_read(url: str) -> IO[bytes]:
    """Open a file for reading, also at any place in it. Raises FileNotFoundError when it is not there."""
    num_bytes = size(url)
    if num_bytes is None:
        return io.BytesIO(b"".join(blocks(url)))
    return io.BufferedReader(_File(url, num_bytes), BLOCK)


def files_below(folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield (path below the folder, bytes) of every file anywhere in it; of http(s), whose listings are pages, bytes are None.

    A store is asked once for each thousand names, a web server once for each folder. Folders of the first level are listed one
    by one, as what a store says of a file takes a kilobyte until it is dropped. Raises FileNotFoundError, TransientError,
    StorageError or RequestError.
    """
    if _is_http(folder):
        yield from _linked(f"{folder.rstrip('/')}/")
        return
    own: str = ask(folder, lambda system: system._strip_protocol(folder)).rstrip("/")
    for entry in ask(folder, lambda system: system.ls(own, detail=True)):
        name = entry["name"].rstrip("/")
        if entry["type"] != "directory":
            found = {} if name == own else {name: entry}
        elif name == own:
            continue
        else:
            # Of a folder that is gone by now, nothing is found.
            found = ask(folder, functools.partial(_found, folder=name))
        for path, told in found.items():
            if told["type"] == "file":
                yield path[len(own) :].strip("/"), told["size"]


def _found(system: Any, *, folder: str) -> dict[str, Any]:
    return dict(system.find(folder, detail=True))


def _linked(top: str) -> Iterator[tuple[str, None]]:
    """Yield the files that the pages of a web server's folders link to, and of the folders below them."""
    folders = [top]
    while folders:
        folder = folders.pop()
        for entry in ask(folder, functools.partial(_links, folder=folder)):
            name = str(entry["name"])
            below = name.removeprefix(folder)
            # Some pages link to themselves, in another order.
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


def ask(url: str, question: Callable[[Any], Answer], *, doing: str = "read") -> Answer:
    """Return what the file system of a URL answers, with its errors as ours."""
    with _our_errors(url, doing):
        import fsspec

        # Listings are not kept: other processes write there too.
        options = {} if _is_http(url) else {"use_listings_cache": False}
        return question(fsspec.core.url_to_fs(url, **options)[0])


class _File(io.RawIOBase):
    """A file behind a URL; each read is a request."""

    def __init__(self, url: str, num_bytes: int) -> None:
        self._url = url
        self._num_bytes = num_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._num_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        for block in blocks(self._url, self._at, min(self._at + len(view), self._num_bytes)):
            view[filled : filled + len(block)] = block
            filled += len(block)
        self._at += filled
        return filled


def _store_blocks(url: str, start: int, end: int | None) -> Iterator[bytes]:
    """Yield blocks from an object store, a request each."""
    while end is None or start < end:
        stop = start + BLOCK if end is None else min(start + BLOCK, end)
        block = ask(url, functools.partial(_store_range, url=url, start=start, stop=stop))
        if block:
            yield block
        start += len(block)
        if start < stop:
            return


def _store_range(system: Any, *, url: str, start: int, stop: int) -> bytes:
    try:
        return bytes(system.cat_file(url, start=start, end=stop))
    except OSError as error:
        # S3 has a range that begins at the end, or after it, for an error.
        if error.errno == errno.EINVAL and "range" in str(error):
            return b""
        raise


# http(s): one request streams it all. fsspec's own reading takes the whole body of a server without ranges for the range.


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


class _Response:
    """The answer to an HTTP request, its body still on the line."""

    def __init__(self, url: str, method: str, headers: dict[str, str], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = url
        self._system = ask(url, lambda system: system)
        with _our_errors(url):
            answer = self._run(self._send, method, headers, timeout_seconds)
        self._answer = answer
        self.status: int = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.why = f"HTTP {answer.status} {answer.reason or ''}".rstrip()

    def read(self) -> bytes:
        """Return what has arrived of the body; nothing at its end."""
        with _our_errors(self._url):
            block: bytes = self._run(self._answer.content.read, _PIECE)
            return block

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else end it."""

        async def close() -> None:
            self._answer.close()

        self._run(close)

    async def _send(self, method: str, headers: dict[str, str], timeout_seconds: float) -> Any:
        import aiohttp

        session = await self._system.set_session()
        # No limit for the whole: a large shard on a slow line takes its time.
        limit = aiohttp.ClientTimeout(total=None, sock_connect=timeout_seconds, sock_read=timeout_seconds)
        options = {"allow_redirects": True, "timeout": limit, **self._system.kwargs}
        # In a compressed body the bytes have other places.
        options["headers"] = {**options.get("headers", {}), "Accept-Encoding": "identity", **headers}
        return await session.request(method, self._system.encode_url(self._url), **options)

    def _run(self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        from fsspec.asyn import sync

        return sync(self._system.loop, work, *arguments)


def _http_size(url: str, method: str) -> int | None:
    with contextlib.closing(_Response(url, method, {})) as response:
        # Whatever HEAD is refused with, GET gives the reason.
        if method == "HEAD" and response.status >= 400:
            return None
        _check_status(response, url)
        text = response.headers.get("Content-Length", "")
        # The length of a compressed body is not the file's.
        is_plain = response.headers.get("Content-Encoding", "identity") == "identity"
        return int(text) if is_plain and text.isdecimal() else None


def _http_blocks(url: str, start: int, end: int | None, timeout_seconds: float) -> Iterator[bytes]:
    is_range = start > 0 or end is not None
    headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if is_range else {}
    with contextlib.closing(_Response(url, "GET", headers, timeout_seconds)) as response:
        if response.status == 416:
            return  # It ends at ``start`` or before.
        _check_status(response, url)
        skip = start - _first_byte(response, url, start)
        left = None if end is None else end - start
        while left != 0 and (block := response.read()):
            part = block[skip:] if left is None else block[skip : skip + left]
            skip = max(0, skip - len(block))
            if part:
                yield part
            left = None if left is None else left - len(part)


def _first_byte(response: _Response, url: str, start: int) -> int:
    """Return the place in the file of a body's first byte, ``start`` or before: 0 where a server does not know ranges."""
    if response.status != 206:
        return 0
    text = response.headers.get("Content-Range", "")
    found = re.match(r"bytes (\d+)-", text)
    if found is None or int(found[1]) > start:
        raise StorageError(f"{url}: expected a Content-Range from byte {start}, got {text!r}; is a proxy in the way?")
    return int(found[1])


def _check_status(response: _Response, url: str) -> None:
    """Raise what a response that brings no file means."""
    status, why = response.status, response.why
    if status < 400:
        return
    if status in (404, 410):
        raise FileNotFoundError(f"no file at {url} ({why})")
    if status in (401, 403):
        raise StorageError(f"no permission for {url} ({why}); give fsspec your credentials, or make the file readable")
    if status >= 500 or status in (408, 425, 429):
        raise TransientError(f"cannot read {url}: {why}")
    raise StorageError(f"cannot read {url}: {why}; expected a file there")


@contextlib.contextmanager
def _our_errors(url: str, doing: str = "read") -> Iterator[None]:
    """Map whatever a store's library raises: each has exceptions of its own, which we must not need to import."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise _meaning(error, url, doing) from error


def _meaning(error: Exception, url: str, doing: str) -> Exception:
    """Return what an error of fsspec, or of a library under it, means here."""
    name, text = type(error).__name__, str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return FileNotFoundError(f"no file at {url}: {text}")
    if isinstance(error, ImportError):
        extra = "; pip install 't2vdata[remote]'" if _is_http(url) or url.startswith("s3") else ""
        return RequestError(f"cannot open {url}: {text}{extra}")
    if isinstance(error, PermissionError) or "Credential" in name:
        return StorageError(f"no permission for {url}: {text}; give fsspec your credentials (S3: AWS_ACCESS_KEY_ID ...)")
    # InvalidURL of aiohttp is a ValueError too.
    if isinstance(error, ValueError):
        return RequestError(f"cannot open {url}: {text}")
    return TransientError(f"cannot {doing} {url}: {text if isinstance(error, OSError) else f'{name}: {text}'}")
