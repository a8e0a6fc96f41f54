"""Writing and removing files, local or at a URL: a file appears complete under its name, or not at all.

Writing repeats its upload while a store is unavailable, for ``patience_seconds`` (default: as long as a build), because its
data took work to make. Removing tries once; ``Folder`` repeats it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from t2vdata.errors import RequestError
from t2vdata.storage import upload
from t2vdata.storage.error_messages import storage_error
from t2vdata.storage.files import list_names
from t2vdata.storage.paths import is_url, join
from t2vdata.storage.retry import PATIENCE_SECONDS, retry
from t2vdata.storage.scratch import scratch

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# The ending of a file that is being written, before it is renamed; a build removes those that a killed build left.
ASIDE = ".t2vdata-aside"


class _AsideFile(io.BufferedWriter):
    """The temporary file of ``path``: its errors are StorageErrors of that path, so that no other error is taken for one."""

    def __init__(self, aside: str, path: str) -> None:
        self._path = path
        with _errors_of(path):
            # Samples are small; a large buffer saves a system call for each.
            super().__init__(io.FileIO(aside, "w"), 1 << 20)

    def write(self, data: ReadableBuffer, /) -> int:
        with _errors_of(self._path):
            return super().write(data)

    def flush(self) -> None:
        with _errors_of(self._path):
            super().flush()

    def sync(self) -> None:
        """Write everything to the disk."""
        self.flush()
        with _errors_of(self._path):
            os.fsync(self.fileno())


@contextlib.contextmanager
def _errors_of(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


@contextlib.contextmanager
def written_whole(path: str, *, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[IO[bytes]]:
    """Open ``path``, local or a URL, for writing: it appears complete when the block ends, and stays as it was on an error.

    A local file is written under a temporary name beside it, flushed to the disk and renamed. For a URL the temporary file
    is a nameless one in ``TMPDIR``, uploaded when the block ends; the upload is repeated for ``patience_seconds``.
    """
    if is_url(path):
        with scratch(path, "until it is uploaded") as file:
            yield file
            retry(lambda: upload.put(file, path), patience_seconds)
        return
    # A random name: a process that lost its parent, or another machine on the same disk, may be writing the same file.
    aside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(4)}{ASIDE}")
    try:
        with _AsideFile(aside, path) as file:
            yield file
            file.sync()
        with _errors_of(path):
            os.replace(aside, path)
    finally:
        # After the rename there is nothing to remove. An error here must not hide the first one.
        with contextlib.suppress(OSError):
            Path(aside).unlink(missing_ok=True)


def write_whole(path: str, data: bytes, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Write a small file, complete or not at all; see ``written_whole``."""
    with written_whole(path, patience_seconds=patience_seconds) as file:
        file.write(data)


def make_folder(folder: str) -> None:
    """Create a local folder and its parents if they do not exist. A URL needs none: stores create folders with files.

    Raises RequestError for an http(s) URL, which cannot be written to.
    """
    if folder.startswith(("http://", "https://")):
        raise RequestError(
            f"cannot write to {folder}: http servers take no files; use a folder, or a store such as s3://bucket/name"
        )
    if is_url(folder):
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error


def sweep(folder: str) -> None:
    """Remove what a killed build left unfinished: temporary files in a local folder, parts of uploads below a URL."""
    if is_url(folder):
        upload.abandon(folder)
        return
    for name in list_names(folder):
        path = join(folder, name)
        if name.startswith(".") and name.endswith(ASIDE) and not os.path.isdir(path):
            remove(path)


def remove(path: str) -> None:
    """Remove one of our files, if it exists."""
    if is_url(path):
        upload.remove([path])
        return
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def remove_all(paths: Sequence[str]) -> None:
    """Remove those of our files that exist; ``paths`` are all local, or all in one store."""
    if paths and is_url(paths[0]):
        upload.remove(paths)
        return
    for path in paths:
        remove(path)


def remove_folder(folder: str) -> None:
    """Remove a local folder of ours, if it exists; it stays if files of others are in it. In stores, folders are only names."""
    if is_url(folder):
        return
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise storage_error(error, folder) from error
