"""Explain an operating system's error to the user, in one sentence."""

from __future__ import annotations

import errno
import os

from t2vdata.errors import StorageError


def storage_error(error: OSError, path: str) -> StorageError:
    """Return a StorageError that says what happened at ``path`` and what to do next."""
    return StorageError(_sentence(error, path))


def read_error(error: OSError, path: str) -> StorageError:
    """Return a StorageError that says why the file at ``path`` could not be read and what to do next."""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            sentence = f"no permission to read {path}; give yourself access to it, or run as its owner"
        case errno.EISDIR:
            sentence = f"{path} is a folder; expected a file"
        case errno.EMFILE | errno.ENFILE:
            sentence = f"cannot open {path}: {error.strerror}; allow more open files with `ulimit -n`"
        case errno.EIO:
            sentence = f"cannot read {path}: {error.strerror}; check the disk, and restore the file from a copy"
        case _:
            sentence = f"cannot read {path}: {error.strerror or error}"
    return StorageError(sentence)


def _sentence(error: OSError, path: str) -> str:
    folder = os.path.dirname(path) or "."
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            why = "file size limit reached" if error.errno == errno.EFBIG else "no space left"
            return f"{why} while writing {path}; make room and run the same command again, finished shards are kept"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return f"no permission for {path}; choose another --out, or give yourself access to {folder}"
        case errno.ENOTDIR | errno.EEXIST:
            return f"{path} is, or lies under, a file; expected a folder: choose another --out"
        case errno.EISDIR:
            return f"{path} is a folder; expected a file"
        case errno.EIO:
            return f"the disk cannot read or write {path} ({error.strerror}); check the disk, or restore the file from a copy"
        case _:
            return f"{path}: {error.strerror or error}"
