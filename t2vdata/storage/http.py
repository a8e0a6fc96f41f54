"""Reading files from web servers: one request streams the rest of a file.

fsspec's own reading takes the whole body of a server without ranges for the range.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from t2vdata.errors import StorageError, TransientError
from t2vdata.storage.filesystem import ask, mapped_errors
from t2vdata.storage.waiting import result_of

# Bytes that one read takes from a connection. aiohttp buffers twice as much, and drops it when the connection breaks.
_CHUNK = 1 << 18
# Maximum time that a server may send nothing, or take for the header of its answer.
TIMEOUT_SECONDS = 30.0
# A server that sends less, averaged over such a time, counts as broken: a slow modem sends seven times as much.
MIN_BYTES_PER_SECOND = 1000


class _Response:
    """The response to an HTTP request, whose body is read as it arrives."""

    def __init__(
        self,
        url: str,
        method: str,
        headers: dict[str, str],
        timeout_seconds: float = TIMEOUT_SECONDS,
        stop: threading.Event | None = None,
    ) -> None:
        self._url = url
        self._stop = stop
        self._pace = _Pace(timeout_seconds)
        self._system = ask(url, lambda system: system)
        with mapped_errors(url):
            answer = self._run(self._send, method, headers, timeout_seconds)
        self._answer = answer
        self.status: int = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.status_text = f"HTTP {answer.status} {answer.reason or ''}".rstrip()

    def read(self) -> bytes:
        """Return the next bytes of the body that have arrived; empty at its end. Raises TransientError if they trickle."""
        with mapped_errors(self._url):
            began = time.monotonic()
            block: bytes = self._run(self._answer.content.read, _CHUNK)
            if block and self._pace.is_too_slow(len(block), time.monotonic() - began):
                raise TransientError(
                    f"cannot read {self._url}: the server sends less than {MIN_BYTES_PER_SECOND} bytes per second"
                )
            return block

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it."""

        async def close() -> None:
            self._answer.close()

        result_of(self._system.loop, close)

    async def _send(self, method: str, headers: dict[str, str], timeout_seconds: float) -> Any:
        import aiohttp

        session = await self._system.set_session()
        # No limit on the total: a large shard on a slow connection takes its time.
        limit = aiohttp.ClientTimeout(total=None, sock_connect=timeout_seconds, sock_read=timeout_seconds)
        options = {"allow_redirects": True, "timeout": limit, **self._system.kwargs}
        # In a compressed body the bytes have other offsets.
        options["headers"] = {**options.get("headers", {}), "Accept-Encoding": "identity", **headers}
        request = session.request(method, self._system.encode_url(self._url), **options)
        try:
            return await asyncio.wait_for(request, timeout_seconds)
        except aiohttp.ServerTimeoutError:
            raise
        except aiohttp.TooManyRedirects as error:
            raise StorageError(
                f"{self._url} redirects {len(error.history)} times or in a circle; open the address of the file itself"
            ) from error
        except TimeoutError as error:
            raise TimeoutError(f"Timeout: no answer within {timeout_seconds:g} s") from error

    def _run(self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        return result_of(self._system.loop, work, *arguments, stop=self._stop)


class _Pace:
    """Measures whether a server sends enough, over windows of time spent waiting for it."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._num_bytes, self._seconds = 0, 0.0

    def is_too_slow(self, num_bytes: int, seconds: float) -> bool:
        """Count bytes that took some time; return True if a window ends in which too few arrived."""
        self._num_bytes += num_bytes
        self._seconds += seconds
        if self._seconds < self._window_seconds:
            return False
        is_slow = self._num_bytes < MIN_BYTES_PER_SECOND * self._seconds
        self._num_bytes, self._seconds = 0, 0.0
        return is_slow


def size(url: str) -> int | None:
    """Return the size of a file in bytes, or None when the server does not say. Raises FileNotFoundError."""
    # Some servers refuse HEAD, or answer it without the size that they send with the body.
    return _size_by(url, "HEAD") or _size_by(url, "GET")


def _size_by(url: str, method: str) -> int | None:
    with contextlib.closing(_Response(url, method, {})) as response:
        # GET will report the reason.
        if method == "HEAD" and response.status >= 400:
            return None
        _check_status(response, url)
        text = response.headers.get("Content-Length", "")
        # The length of a compressed body is not the file's.
        is_plain = response.headers.get("Content-Encoding", "identity") == "identity"
        return int(text) if is_plain and text.isdecimal() else None


def blocks(
    url: str, start: int, end: int | None, timeout_seconds: float, stop: threading.Event | None = None
) -> Iterator[bytes]:
    """Yield the bytes of a file from ``start`` until ``end`` or its own end, as they arrive. Raises as ``remote.blocks``."""
    is_range = start > 0 or end is not None
    headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if is_range else {}
    with contextlib.closing(_Response(url, "GET", headers, timeout_seconds, stop)) as response:
        if response.status == 416:
            return  # The file ends at ``start`` or before.
        _check_status(response, url)
        num_skipped = start - _first_byte(response, url, start)
        num_left = None if end is None else end - start
        while num_left != 0 and (block := response.read()):
            part = block[num_skipped:] if num_left is None else block[num_skipped : num_skipped + num_left]
            num_skipped = max(0, num_skipped - len(block))
            if part:
                yield part
            num_left = None if num_left is None else num_left - len(part)


def _first_byte(response: _Response, url: str, start: int) -> int:
    """Return the offset in the file of a body's first byte: at most ``start``, and 0 from a server without ranges."""
    if response.status != 206:
        return 0
    text = response.headers.get("Content-Range", "")
    match = re.match(r"bytes (\d+)-", text)
    if match is None or int(match[1]) > start:
        raise StorageError(f"{url}: expected a Content-Range from byte {start}, got {text!r}; a proxy may be in the way")
    return int(match[1])


def _check_status(response: _Response, url: str) -> None:
    """Raise an error for a response without the file."""
    status, text = response.status, response.status_text
    if status < 400:
        return
    if status in (404, 410):
        raise FileNotFoundError(f"no file at {url} ({text})")
    if status in (401, 403):
        raise StorageError(f"no permission for {url} ({text}); give fsspec your credentials, or make the file readable")
    if status >= 500 or status in (408, 425, 429):
        raise TransientError(f"cannot read {url}: {text}")
    raise StorageError(f"cannot read {url}: {text}; expected a file there")
