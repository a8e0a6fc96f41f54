"""Reading files, local or at a URL.

``blocks`` and ``copy_here``, which read the raw files of a build, wait for an unavailable store for minutes. ``fetched`` and
``read_range``, which read the index and the clips of a dataset, resume for a minute at most (``retry.READING``). The others
fail at once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
import os
import stat
import sys
import threading
from collections.abc import Generator, Iterator
from typing import IO, Any

from t2vdata.errors import StorageError
from t2vdata.storage import remote, retry
from t2vdata.storage.error_messages import read_error, storage_error
from t2vdata.storage.filesystem import ask
from t2vdata.storage.paths import is_url
from t2vdata.storage.resuming import resumed_blocks
from t2vdata.storage.scratch import scratch, scratch_errors

# Limit of a file at a URL that is read into memory as a whole, such as a manifest (200 bytes for each shard).
MAX_BYTES_IN_MEMORY = 256 << 20
# Since Python 3.13, ``mmap`` can leave the descriptor of a mapped file closed.
_MAP_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
# Limit of a file whose size is counted by downloading it.
_MAX_COUNTED_BYTES = 16 << 30


def open_read(path: str) -> IO[bytes]:
    """Open a local file or URL for reading bytes.

    Raises FileNotFoundError or NotADirectoryError when it does not exist, StorageError when it cannot be read.
    """
    if is_url(path):
        return remote.open_read(path)
    with reading(path):
        return open_regular(path)


def open_regular(path: str) -> IO[bytes]:
    """Open a regular file: a pipe would block, and a device may never end. Raises OSError as ``open``, and StorageError."""
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise StorageError(f"{path} is a {_kind(mode)}; expected a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe would wait for its writer; for a regular file O_NONBLOCK changes nothing.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_regular(path: str) -> None:
    """Raise StorageError unless a local path is a regular file, or nothing: for code that opens files itself.

    Links are followed; URLs are accepted.
    """
    if is_url(path):
        return
    try:
        with reading(path):
            mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        raise StorageError(f"{path} is a {'folder' if stat.S_ISDIR(mode) else _kind(mode)}; expected a regular file")


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "pipe (FIFO)"
    return "socket" if stat.S_ISSOCK(mode) else "device"


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Raise an OSError of reading a local file as StorageError, except that the file does not exist."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, StorageError):
        raise
    except OSError as error:
        raise read_error(error, path) from error


def read_bytes(path: str, *, is_bounded: bool = True, max_bytes: int | None = None) -> bytes:
    """Return the content of a local file or URL. Raises StorageError for a file over ``MAX_BYTES_IN_MEMORY`` at a URL.

    ``max_bytes`` is a lower limit, for local files too.
    """
    if is_url(path):
        blocks = remote.blocks(path)
        return b"".join(_bounded(path, blocks, max_bytes or MAX_BYTES_IN_MEMORY) if is_bounded else blocks)
    with reading(path), open_read(path) as file:
        content = file.read(-1 if max_bytes is None else max_bytes + 1)
    if max_bytes is not None and len(content) > max_bytes:
        raise StorageError(f"{path} has more than {max_bytes} bytes; expected a smaller file there")
    return content


def _bounded(url: str, blocks: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    """Yield blocks. Raises StorageError when there are more than ``max_bytes``: a server may send without end."""
    num_bytes = 0
    for block in blocks:
        num_bytes += len(block)
        if num_bytes > max_bytes:
            raise StorageError(f"{url} sends more than {max_bytes} bytes; expected a smaller file there")
        yield block


def read_first_line(path: str) -> bytes:
    """Return the first line of a local file or URL."""
    if is_url(path):
        # One request for all of it; opening the file would take two.
        return read_bytes(path).split(b"\n", 1)[0]
    with reading(path), open_read(path) as file:
        return file.readline()


def blocks(
    url: str, start: int = 0, end: int | None = None, *, stop: threading.Event | None = None
) -> Generator[bytes, None, None]:
    """Yield the bytes of the file at a URL from ``start`` on, in blocks, waiting for an unavailable store before each.

    It does not wait for web servers: a dead server costs only its own files and may never return, while an unavailable store
    blocks every clip and usually returns. Raises as ``remote.blocks``, and StoreAwayError; StoppedError soon after ``stop``
    is set.
    """
    if url.startswith(("http://", "https://")):
        yield from remote.blocks(url, start, end, stop=stop)
        return
    while end is None or start < end:
        block_end = start + remote.BLOCK if end is None else min(start + remote.BLOCK, end)
        block = retry.retry(functools.partial(_range, url, start, block_end, stop), retry.PATIENCE_SECONDS, stop=stop)
        if block:
            yield block
        start += len(block)
        if start < block_end:
            return


def _range(url: str, start: int, end: int, stop: threading.Event | None) -> bytes:
    return b"".join(remote.blocks(url, start, end, stop=stop))


def copy_here(url: str, path: str) -> None:
    """Download the file at a URL to a local path, waiting for an unavailable store. Raises as ``blocks``."""
    with scratch_errors(url, "while it is read"), open(path, "wb") as file:
        for block in blocks(url):
            file.write(block)


def files_below(folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield (path below the folder, size in bytes if the server lists it) of every file below a URL."""
    return remote.files_below(folder)


def read_range(path: str, offset: int, size: int, *, timeout_seconds: float = remote.TIMEOUT_SECONDS) -> bytes:
    """Return ``size`` bytes from ``offset``, in a single read. Raises StorageError when the file is shorter."""
    if is_url(path):
        data = b"".join(resumed_blocks(path, offset, offset + size, timeout_seconds=timeout_seconds))
    else:
        with reading(path), open_read(path) as file:
            file.seek(offset)
            data = file.read(size)
    if len(data) != size:
        raise StorageError(
            f"{path} ends at byte {offset + len(data)}, before {offset + size}; it may be cut short: run `t2vdata verify`"
        )
    return data


@contextlib.contextmanager
def fetched(url: str, *, max_bytes: int) -> Iterator[IO[bytes]]:
    """Yield the file at a URL, open for reading: a nameless local copy, or the remote file if it exceeds ``max_bytes``.

    Raises as ``open_read``.
    """
    num_bytes = retry.retry_reading(lambda: remote.size(url))
    if num_bytes is not None and num_bytes > max_bytes:
        with open_read(url) as file:
            yield file
        return
    with scratch(url, "while it is read") as file:
        for block in _bounded(url, resumed_blocks(url, 0, num_bytes), max_bytes):
            file.write(block)
        file.seek(0)
        yield file


def map_file(path: str) -> memoryview:
    """Return the bytes of a local file, mapped into memory while any view of them is alive.

    If the file is truncated meanwhile, reading beyond its new end kills the process (SIGBUS). Raises as ``open_read``.
    """
    with reading(path), open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            # An empty file cannot be mapped.
            return memoryview(b"")
        if not _MAP_OPTIONS and not mappings_keep_descriptors():
            return _mapped_by_arrow(path)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, **_MAP_OPTIONS))


def mappings_keep_descriptors() -> bool:
    """Return whether each file that ``map_file`` maps keeps a file descriptor.

    Before Python 3.13, only Arrow can map without. Worker processes have not imported it: that takes 0.3 s and 26 MB in each.
    """
    return not _MAP_OPTIONS and "pyarrow" not in sys.modules


def _mapped_by_arrow(path: str) -> memoryview:
    import pyarrow as pa

    # The buffer stays mapped when its file is closed.
    with pa.memory_map(os.fsencode(path)) as file:
        return memoryview(file.read_buffer()).cast("B")


def exists(path: str) -> bool:
    """Return whether there is a file or folder at ``path``."""
    return bool(ask(path, lambda system: system.exists(path))) if is_url(path) else os.path.exists(path)


def is_folder(path: str) -> bool:
    """Return whether there is a folder at ``path``."""
    return bool(ask(path, lambda system: system.isdir(path))) if is_url(path) else os.path.isdir(path)


def size(path: str) -> int | None:
    """Return the size of a file in bytes, or None if it does not exist."""
    try:
        if not is_url(path):
            return os.stat(path).st_size
        num_bytes = remote.size(path)
        # A web server that does not say: count.
        return sum(map(len, _bounded(path, remote.blocks(path), _MAX_COUNTED_BYTES))) if num_bytes is None else num_bytes
    except (FileNotFoundError, NotADirectoryError):
        return None


def list_names(folder: str) -> list[str]:
    """Return the names in a folder, sorted; an empty list if it does not exist."""
    if is_url(folder):
        return sorted(_listing(folder))
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, folder) from error


def sizes(folder: str) -> dict[str, int]:
    """Return {name: bytes} of the files in a folder, from one listing; empty if it does not exist."""
    if is_url(folder):
        return {name: num_bytes for name, num_bytes in _listing(folder).items() if num_bytes is not None}
    num_bytes_of: dict[str, int] = {}
    # A file removed during the listing does not exist.
    with reading(folder), contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file():
                    num_bytes_of[entry.name] = entry.stat().st_size
    return num_bytes_of


def _listing(folder: str) -> dict[str, int | None]:
    """Return {name: bytes, or None for a folder} as a store lists them."""
    try:
        entries = ask(folder, lambda system: system.ls(folder, detail=True))
    except FileNotFoundError:
        return {}
    # Some stores list the folder itself, as an empty object.
    own = folder.partition("://")[2].strip("/")
    names = {str(entry["name"]).strip("/"): entry for entry in entries}
    return {
        name.rpartition("/")[2]: entry["size"] if entry["type"] == "file" else None
        for name, entry in names.items()
        if name != own
    }


def sha256(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    if is_url(path):
        for block in remote.blocks(path):
            digest.update(block)
        return digest.hexdigest()
    with reading(path), open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
