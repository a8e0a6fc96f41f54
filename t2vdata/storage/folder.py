"""`Folder`: a local folder or one in an object store; all operations wait equally long for an unavailable store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO, TypeVar

from t2vdata.storage import atomic_write, files, paths, upload
from t2vdata.storage.retry import retry

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Folder:
    """A folder and how long to wait for its store: a build waits for minutes, a reader not at all.

    >>> out = Folder("s3://bucket/out", patience_seconds=180)
    >>> out.write("manifest.json", data)
    >>> out.below(".t2vdata-build", "reports").list_names()
    """

    url: str
    """Local path or URL."""
    patience_seconds: float = 0.0
    """How long each operation is repeated while the store is unavailable; then it raises StoreAwayError."""

    def __str__(self) -> str:
        return self.url

    @property
    def is_remote(self) -> bool:
        return paths.is_url(self.url)

    def join(self, *names: str) -> str:
        """Return the path or URL of a name below the folder."""
        return paths.join(self.url, *names)

    def below(self, *names: str) -> Folder:
        """Return a folder below this one, with the same patience."""
        return replace(self, url=self.join(*names))

    def impatient(self) -> Folder:
        """Return the same folder without patience: an operation fails at once when the store is unavailable."""
        return replace(self, patience_seconds=0.0)

    def retry(self, operation: Callable[[], Answer]) -> Answer:
        """Return what ``operation`` returns, repeated while the store is unavailable: for code that opens files itself."""
        return retry(operation, self.patience_seconds)

    def read_bytes(self, name: str, *, max_bytes: int | None = None) -> bytes:
        """Return the content of a file. Raises FileNotFoundError or NotADirectoryError when it does not exist.

        Raises StorageError if it is a FIFO or a device, or has more than ``max_bytes``.
        """
        files.check_regular(self.join(name))
        return self.retry(lambda: files.read_bytes(self.join(name), max_bytes=max_bytes))

    def read_first_line(self, name: str) -> bytes:
        """Return the first line of a file. Raises as ``read_bytes``."""
        return self.retry(lambda: files.read_first_line(self.join(name)))

    def list_names(self) -> list[str]:
        """Return the names in the folder, sorted; an empty list if it does not exist."""
        return self.retry(lambda: files.list_names(self.url))

    def sizes(self) -> dict[str, int]:
        """Return {name: bytes} of the files in the folder, from one listing; empty if it does not exist."""
        return self.retry(lambda: files.sizes(self.url))

    def exists(self, *names: str) -> bool:
        """Return whether the folder, or a file or folder below it, exists."""
        return self.retry(lambda: files.exists(self.join(*names)))

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if it does not exist."""
        return self.retry(lambda: files.size(self.join(name)))

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file, in hexadecimal."""
        return self.retry(lambda: files.sha256(self.join(name)))

    def make(self) -> None:
        """Create the folder and its parents if they do not exist. Raises RequestError for an http(s) URL."""
        atomic_write.make_folder(self.url)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing: it appears complete when the block ends, and stays as it was on an error."""
        with atomic_write.written_whole(self.join(name), patience_seconds=self.patience_seconds) as file:
            yield file

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, complete or not at all."""
        atomic_write.write_whole(self.join(name), data, patience_seconds=self.patience_seconds)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file to a store unless it exists; return whether it was written. See ``upload.create``."""
        return self.retry(lambda: upload.create(self.join(name), data))

    def remove(self, *names: str) -> None:
        """Remove those of the files that exist."""
        self.retry(lambda: atomic_write.remove_all([self.join(name) for name in names]))

    def remove_itself(self) -> None:
        """Remove the folder if it is local and holds no files of others. In stores, folders are only names."""
        atomic_write.remove_folder(self.url)

    def sweep(self) -> None:
        """Remove what a killed build left unfinished: temporary files here, or parts of uploads anywhere below a URL."""
        self.retry(lambda: atomic_write.sweep(self.url))
