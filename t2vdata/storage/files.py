"""Files and object stores behind one door: local paths directly, URLs through ``remote`` and ``upload``.

What is written appears whole under its name or not at all, here and there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import mmap
import os
import secrets
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

from t2vdata.errors import RequestError, ScratchError, StorageError
from t2vdata.storage import remote, upload

# Written aside under this ending and renamed when whole; a build sweeps what a killed one left.
ASIDE = ".t2vdata-aside"

Answer = TypeVar("Answer")


def is_url(path: str) -> bool:
    """Return whether ``path`` is a URL such as s3://bucket/key; ``pipe:`` and other shell forms are neither."""
    return "://" in path


def join(folder: str, name: str) -> str:
    """Return the path of ``name`` in ``folder``, a local path or a URL."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def open_read(path: str) -> IO[bytes]:
    """Open a local file or URL for reading bytes.

    Raises FileNotFoundError or NotADirectoryError when it is not there, StorageError when it cannot be read.
    """
    try:
        return remote.open_read(path) if is_url(path) else open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, StorageError):
        raise
    except OSError as error:
        raise StorageError(_sentence(error, path)) from error


def read_bytes(path: str) -> bytes:
    """Return the whole content of a local file or URL."""
    if is_url(path):
        return b"".join(remote.blocks(path))
    with open_read(path) as file:
        return file.read()


def blocks(url: str, start: int = 0, end: int | None = None) -> Generator[bytes, None, None]:
    """Yield the bytes of a file behind a URL from ``start`` on, in blocks; a store that is away is waited for at each.

    A web server is not: it is gone with its file, while a store that is away would be so for all of them, and comes back.
    Raises as ``remote.blocks``, and StoreAwayError.
    """
    if url.startswith(("http://", "https://")):
        yield from remote.blocks(url, start, end)
        return
    while end is None or start < end:
        stop = start + remote.BLOCK if end is None else min(start + remote.BLOCK, end)
        block = patiently(functools.partial(_joined, url, start, stop))
        if block:
            yield block
        start += len(block)
        if start < stop:
            return


def _joined(url: str, start: int, end: int) -> bytes:
    return b"".join(remote.blocks(url, start, end))


def copy_here(url: str, path: str) -> None:
    """Write the file behind a URL to a local path, waiting for a store that is away. Raises as ``blocks``."""
    with scratch_errors(url, "while it is read"), open(path, "wb") as file:
        for block in blocks(url):
            file.write(block)


def files_below(folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield (path below the folder, bytes where they are told) of every file anywhere in a URL: see ``remote.files_below``."""
    return remote.files_below(folder)


def read_range(path: str, offset: int, size: int, *, timeout_seconds: float = remote.TIMEOUT_SECONDS) -> bytes:
    """Return ``size`` bytes from ``offset``, in a single read. Raises StorageError when the file is shorter."""
    if is_url(path):
        data = b"".join(remote.blocks(path, offset, offset + size, timeout_seconds=timeout_seconds))
    else:
        with open_read(path) as file:
            file.seek(offset)
            data = file.read(size)
    if len(data) != size:
        raise StorageError(f"{path} ends at byte {offset + len(data)}, before {offset + size}; is it cut short? run verify")
    return data


@contextlib.contextmanager
def fetched(url: str, *, max_bytes: int) -> Iterator[IO[bytes]]:
    """Give a file behind a URL as a nameless local one, fetched whole; one over ``max_bytes`` is read there, where it is.

    Raises as ``open_read``.
    """
    num_bytes = size(url)
    if num_bytes is None:
        raise FileNotFoundError(f"no file at {url}")
    if num_bytes > max_bytes:
        with open_read(url) as file:
            yield file
        return
    with scratch(url, "while it is read") as file:
        for block in remote.blocks(url):
            file.write(block)
        file.seek(0)
        yield file


def map_file(path: str) -> memoryview:
    """Return the bytes of a local file, mapped into memory until the last view of them goes.

    A file that is shortened while it is mapped ends the process that reads there (SIGBUS).
    """
    with open(path, "rb") as file:
        # An empty file cannot be mapped.
        is_empty = os.fstat(file.fileno()).st_size == 0
        return memoryview(b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def patiently(work: Callable[[], Answer]) -> Answer:
    """Return what ``work`` returns, called again as long as an object store that it reads is away or busy.

    Builds wait so for minutes, and then raise StoreAwayError; whoever reads a dataset is told at once.
    """
    return upload.patiently(work)


def exists(path: str) -> bool:
    """Return whether there is a file or folder at ``path``."""
    return bool(remote.ask(path, lambda system: system.exists(path))) if is_url(path) else os.path.exists(path)


def is_folder(path: str) -> bool:
    """Return whether there is a folder at ``path``."""
    return bool(remote.ask(path, lambda system: system.isdir(path))) if is_url(path) else os.path.isdir(path)


def size(path: str) -> int | None:
    """Return the size of a file in bytes, or None when it is not there."""
    try:
        if not is_url(path):
            return os.stat(path).st_size
        told = remote.size(path)
        return sum(map(len, remote.blocks(path))) if told is None else told
    except (FileNotFoundError, NotADirectoryError):
        return None


def list_names(folder: str) -> list[str]:
    """Return the names in a folder, sorted; none when it is not there."""
    if is_url(folder):
        return sorted(_told_sizes(folder))
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(_sentence(error, folder)) from error


def sizes(folder: str) -> dict[str, int]:
    """Return {name: bytes} of the files in a folder, by one listing of it; none when it is not there."""
    if is_url(folder):
        return {name: told for name, told in _told_sizes(folder).items() if told is not None}
    found: dict[str, int] = {}
    # One that is removed meanwhile is not there.
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file():
                    found[entry.name] = entry.stat().st_size
    return found


def _told_sizes(folder: str) -> dict[str, int | None]:
    """Return {name: bytes, or None for a folder} of what a store lists."""
    try:
        entries = remote.ask(folder, lambda system: system.ls(folder, detail=True))
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
    with open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def written_whole(path: str, *, patient: bool = True) -> Iterator[IO[bytes]]:
    """Open ``path``, a local path or a URL, for writing so that it appears whole, or not at all.

    What is written goes to a file aside, is flushed to the disk, and renamed when the block ends; when it raises, the file
    aside is removed and ``path`` stays as it was. For a URL the file aside is a nameless one in the folder of temporary
    files (``TMPDIR``), which goes with its process however that ends, and is uploaded when the block ends; a ``patient``
    writer waits for a store that is away.
    """
    if is_url(path):
        with scratch(path, "until it is uploaded") as file:
            yield file
            upload.put(file, path, patient=patient)
        return
    # Nobody else's: not that of a process which lost its parent, nor that of another machine on the same disk.
    aside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(4)}{ASIDE}")
    try:
        # Samples are small; a large buffer saves a system call for each.
        with open(aside, "wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(_sentence(error, path)) from error
    finally:
        # After the rename there is nothing left here. A disk that refuses this too must not hide why it refused before.
        with contextlib.suppress(OSError):
            Path(aside).unlink(missing_ok=True)


@contextlib.contextmanager
def scratch(url: str, why: str) -> Iterator[IO[bytes]]:
    """Give a nameless file for what is at a URL: nothing is left of it, however this process ends. Raises ScratchError."""
    try:
        file = tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115
    except OSError as error:
        raise _refused(url, why, error) from error
    with scratch_errors(url, why), file:
        yield file


@contextlib.contextmanager
def scratch_errors(url: str, why: str) -> Iterator[None]:
    """Raise ScratchError where the folder of temporary files refuses."""
    try:
        yield
    except (StorageError, FileNotFoundError):
        # What is to be read is not there: that is no matter of the folder.
        raise
    except OSError as error:
        raise _refused(url, why, error) from error


def _refused(url: str, why: str, error: OSError) -> ScratchError:
    return ScratchError(
        f"cannot keep {url} in {tempfile.gettempdir()} {why}: {error.strerror or error}; make room there, or set TMPDIR to "
        "another folder"
    )


def write_whole(path: str, data: bytes, *, patient: bool = True) -> None:
    """Write a small file whole, or not at all: see ``written_whole``."""
    with written_whole(path, patient=patient) as file:
        file.write(data)


def create(url: str, data: bytes) -> bool:
    """Write a small file to a store unless there is one; return whether it was written: see ``upload.create``."""
    return upload.create(url, data)


def make_folder(folder: str) -> None:
    """Make a local folder and its parents; nothing happens when it is there, or for a URL, where files make their folders."""
    if folder.startswith(("http://", "https://")):
        raise RequestError(f"cannot write to {folder}: http takes no files; use a folder, or a store such as s3://bucket/name")
    if is_url(folder):
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise StorageError(_sentence(error, folder)) from error


def sweep(folder: str) -> None:
    """Remove what a killed build left aside: files in a local folder, parts of uploads anywhere below a URL."""
    if is_url(folder):
        upload.abandon(folder)
        return
    for name in list_names(folder):
        if name.startswith(".") and name.endswith(ASIDE):
            remove(os.path.join(folder, name))


def remove(path: str, *, patient: bool = True) -> None:
    """Remove one file of ours; nothing happens when it is not there. Waits for a store that is away, if ``patient``."""
    if is_url(path):
        upload.remove([path], patient=patient)
        return
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(_sentence(error, path)) from error


def remove_all(paths: Sequence[str]) -> None:
    """Remove files of ours, all local or all of one store; those that are not there are passed over."""
    if paths and is_url(paths[0]):
        upload.remove(paths)
        return
    for path in paths:
        remove(path)


def remove_folder(folder: str) -> None:
    """Remove an empty local folder of ours; nothing happens when it is not there. In stores, folders are only names."""
    if is_url(folder):
        return
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(_sentence(error, folder)) from error


def _sentence(error: OSError, path: str) -> str:
    """Say what an OSError means to the user, with the path and the next move."""
    folder = os.path.dirname(path) or "."
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            why = "file size limit reached" if error.errno == errno.EFBIG else "no space left"
            return f"{why} while writing {path}; make room and run the same command again, whole shards are kept"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return f"no permission for {path}; choose another --out, or give yourself access to {folder}"
        case errno.ENOTDIR | errno.EEXIST:
            return f"{path} is, or lies under, a file; expected a folder: choose another --out"
        case errno.EISDIR:
            return f"{path} is a folder; expected a file"
        case _:
            return f"{path}: {error.strerror or error}"
