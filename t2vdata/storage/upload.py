"""Files into object stores: whole under their name, or not at all. The other back room of ``storage``.

A file of a few MiB is one request. A larger one goes up in parts, which become an object when all are there; a writer that
was killed leaves parts that are no object, and ``abandon`` has the store forget them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, TypeVar

from t2vdata.errors import StorageError, StoreAwayError
from t2vdata.storage import remote

# Of a multipart upload. S3 asks for 5 MiB at least and takes 10,000 parts: of 16 MiB, an object of 156 GiB.
PART = 16 << 20
_MAX_PARTS = 10_000
# How long a build waits for a store that is away: longer than a restart, shorter than a night.
PATIENCE_SECONDS = 180.0
_MAX_WAIT_SECONDS = 10.0
# Stores without folders: there is nothing to make, and some libraries would make a bucket of the user's instead.
_WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")

Answer = TypeVar("Answer")


def patiently(work: Callable[[], Answer]) -> Answer:
    """Return what ``work`` returns; try again as long as the store is away or busy.

    Raises StoreAwayError after ``PATIENCE_SECONDS``.
    """
    wait = 0.1
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except remote.TransientError as error:
            if time.monotonic() + wait > deadline:
                raise StoreAwayError(
                    f"{error}; gave up after {PATIENCE_SECONDS:.0f} s; run the same command again, whole shards are kept"
                ) from error
        time.sleep(wait)
        wait = min(2 * wait, _MAX_WAIT_SECONDS)


def put(file: IO[bytes], url: str, *, patient: bool = True) -> None:
    """Upload an open file, all of it, in place of what is at ``url``. Waits for a store that is away, if ``patient``."""
    num_bytes = file.seek(0, os.SEEK_END)

    def once() -> None:
        _make_parent(url)
        file.seek(0)
        _tell(url, lambda system: _put(system, file, url, num_bytes))

    patiently(once) if patient else once()


def create(url: str, data: bytes) -> bool:
    """Write a small file unless there is one; return whether it was written. Waits for a store that is away.

    Of two who try at once, one is told True by a store that has conditional writes, as S3 has; by others both may be.
    """

    def once(system: Any) -> bool:
        try:
            system.pipe_file(url, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            # What s3fs makes of HTTP 412.
            if error.errno == errno.EINVAL and "pre-condition" in str(error):
                return False
            raise
        return True

    def with_parent() -> bool:
        _make_parent(url)
        return _tell(url, once)

    return patiently(with_parent)


def remove(urls: Sequence[str], *, patient: bool = True) -> None:
    """Remove files of ours; those that are not there are passed over. Waits for a store that is away, if ``patient``."""

    def once(system: Any) -> None:
        paths = [system._strip_protocol(url) for url in urls]
        if len(urls) > 1 and urls[0].startswith(("s3://", "s3a://")):
            # A request for each thousand, which has no objection to those that are not there.
            system.rm(paths)
            return
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(path)

    if urls:
        patiently(lambda: _tell(urls[0], once)) if patient else _tell(urls[0], once)


def abandon(folder: str) -> None:
    """Have the store forget the parts of uploads below ``folder`` that were never completed, where it can list them."""

    def once(system: Any) -> None:
        # Of fsspec's file systems, s3fs can; Google and Azure forget by themselves, after a week.
        if not hasattr(system, "list_multipart_uploads"):
            return
        bucket, _, prefix = system._strip_protocol(folder).partition("/")
        for begun in system.list_multipart_uploads(bucket):
            if begun["Key"].startswith(f"{prefix}/"):
                system.call_s3("abort_multipart_upload", Bucket=bucket, Key=begun["Key"], UploadId=begun["UploadId"])

    patiently(lambda: _tell(folder, once))


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
        # Marked as closed first: the destructor of a file that is not would complete it.
        with contextlib.suppress(AttributeError):
            target.closed = True
        with contextlib.suppress(Exception):
            target.discard()
        raise


def _make_parent(url: str) -> None:
    protocol, _, rest = url.partition("://")
    if protocol not in _WITHOUT_FOLDERS and "/" in rest:
        _tell(url, lambda system: system.makedirs(url.rpartition("/")[0], exist_ok=True))


def _tell(url: str, order: Callable[[Any], Answer]) -> Answer:
    """Do something with the file system of a URL, with its errors as ours."""
    try:
        return remote.ask(url, order, doing="write")
    except FileNotFoundError as error:
        raise StorageError(f"cannot write {url}: {error}; make the bucket first, or choose another --out") from error
