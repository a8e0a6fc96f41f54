"""Writing to object stores: an object appears complete under its name, or not at all.

A file of a few MiB is one request. A larger one is uploaded in parts, which become an object once all have arrived; a killed
writer leaves parts that never become an object; ``abandon`` discards them. Nothing here is retried; see ``patience``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from typing import IO, Any, TypeVar

from t2vdata.errors import StorageError
from t2vdata.storage.filesystem import ask

# Size of a part in bytes. S3 wants at least 5 MiB and takes 10,000 parts: with 16 MiB, an object of 156 GiB.
PART = 16 << 20
_MAX_PARTS = 10_000
# Stores without folders: some libraries would create a bucket instead.
_WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")

Answer = TypeVar("Answer")


def put(file: IO[bytes], url: str) -> None:
    """Upload all of an open file, replacing what is at ``url``."""
    num_bytes = file.seek(0, os.SEEK_END)
    _make_parent(url)
    file.seek(0)
    _write(url, lambda system: _put(system, file, url, num_bytes))


def create(url: str, data: bytes) -> bool:
    """Write a small file unless one exists; return whether it was written.

    If two processes try at once, only one gets True from a store with conditional writes, such as S3; others may return True
    to both.
    """

    def create_with(system: Any) -> bool:
        try:
            system.pipe_file(url, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            # s3fs raises this for HTTP 412.
            if error.errno == errno.EINVAL and "pre-condition" in str(error):
                return False
            raise
        return True

    _make_parent(url)
    return _write(url, create_with)


def remove(urls: Sequence[str]) -> None:
    """Remove those of our files that exist, all in one store."""

    def remove_with(system: Any) -> None:
        paths = [system._strip_protocol(url) for url in urls]
        if len(urls) > 1 and urls[0].startswith(("s3://", "s3a://")):
            # One request for each thousand; S3 ignores those that do not exist.
            system.rm(paths)
            return
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(path)

    if urls:
        _write(urls[0], remove_with)


def abandon(folder: str) -> None:
    """Discard the parts of uploads below ``folder`` that were never completed, if the store can list them."""

    def abandon_with(system: Any) -> None:
        # Of fsspec's file systems, s3fs can; Google and Azure discard them by themselves, after a week.
        if not hasattr(system, "list_multipart_uploads"):
            return
        bucket, _, prefix = system._strip_protocol(folder).partition("/")
        for started in system.list_multipart_uploads(bucket):
            if started["Key"].startswith(f"{prefix}/"):
                system.call_s3("abort_multipart_upload", Bucket=bucket, Key=started["Key"], UploadId=started["UploadId"])

    _write(folder, abandon_with)


def _put(system: Any, file: IO[bytes], url: str, num_bytes: int) -> None:
    if num_bytes <= PART:
        system.pipe_file(url, file.read())
        return
    part = max(PART, -(-num_bytes // _MAX_PARTS))
    target = system.open(url, "wb", block_size=part, autocommit=False)
    try:
        while block := file.read(part):
            target.write(block)
        target.close()
        target.commit()
    except BaseException:
        # Marked as closed first: otherwise its destructor would complete the upload.
        with contextlib.suppress(AttributeError):
            target.closed = True
        with contextlib.suppress(Exception):
            target.discard()
        raise


def _make_parent(url: str) -> None:
    protocol, _, rest = url.partition("://")
    if protocol not in _WITHOUT_FOLDERS and "/" in rest:
        _write(url, lambda system: system.makedirs(url.rpartition("/")[0], exist_ok=True))


def _write(url: str, operation: Callable[[Any], Answer]) -> Answer:
    """Run an operation on the file system of a URL; map its errors to ours."""
    try:
        return ask(url, operation, doing="write")
    except FileNotFoundError as error:
        raise StorageError(f"cannot write {url}: {error}; create the bucket first, or choose another --out") from error
