"""Walk the files below a folder, through links to folders too, each folder once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

from t2vdata.errors import RawDataError


def walk(top: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (folder relative to ``top`` with slashes, its sorted file names): a folder before its subfolders, sorted.

    Folders behind links come last, under the name of the link, unless they were reached already: a link that leads back to a
    folder above it ends there. The top itself is "". Files that macOS writes beside others, such as ``._cat.mp4``, are left
    out. Raises RawDataError for a folder that cannot be read.
    """
    try:
        yield from _walk(top)
    except OSError as error:
        raise RawDataError(f"cannot read the folder {error.filename}: {error.strerror}") from None


def _walk(top: str) -> Iterator[tuple[str, list[str]]]:
    visited = {_identity(parent) for parent in _with_parents(os.path.realpath(top))}
    links: list[str] = [""]
    while links:
        start = links.pop(0)
        real = os.path.join(top, start) if start else top
        if start and _identity(real) in visited:
            continue
        for folder, folders, names in os.walk(real, onerror=_raise):
            visited.add(_identity(folder))
            relative = os.path.relpath(folder, top)
            prefix = "" if relative == "." else f"{relative}/"
            linked = {name for name in folders if os.path.islink(os.path.join(folder, name))}
            links += [f"{prefix}{name}" for name in sorted(linked)]
            own = set(folders) - linked
            folders[:] = sorted(name for name in own if _identity(os.path.join(folder, name)) not in visited)
            yield prefix[:-1], sorted(name for name in names if not name.startswith("._"))


def _raise(error: OSError) -> NoReturn:
    raise error


def _with_parents(folder: str) -> Iterator[str]:
    while True:
        yield folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return
        folder = parent


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
