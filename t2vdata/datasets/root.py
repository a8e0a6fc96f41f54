"""`Root`: the folder of raw files, on this machine or behind a URL.

A local folder is read as needed. A folder behind a URL is listed once, completely; its contents are then known without further
requests. Where listing is not allowed, as on most web servers, files are requested by name.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import tempfile
import urllib.parse
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

from t2vdata import storage
from t2vdata.datasets._walk import walk
from t2vdata.errors import RawDataError, StorageError, StoreAwayError, TransientError
from t2vdata.storage import retry
from t2vdata.storage.archives import ENDINGS, Archive
from t2vdata.types import MediaRef


class Root:
    """A folder of raw files. Names are relative to it, with slashes; "" is the folder itself.

    Methods list a folder behind a URL on first use, and raise as ``storage.files_below`` then.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        """Path or URL."""
        self.is_url = storage.is_url(location)
        self._is_web = location.startswith(("http://", "https://"))
        self._copies: Path | None = None

    def missing(self) -> str | None:
        """Return why there is no such folder, or None."""
        if not self.is_url:
            return None if os.path.isdir(self.location) else f"no folder {self.location} (--root)"
        if self._tree or self.unlisted_reason:
            return None
        return f"no folder {self.location} (--root), or nothing is in it; check the bucket, the path and your credentials"

    @property
    def unlisted_reason(self) -> str | None:
        """Why the folder behind the URL cannot be listed, or None."""
        return self._listing[1]

    def has(self, name: str) -> bool:
        """Return whether a file exists. Sends a request where listing is not allowed."""
        if not self.is_url:
            return os.path.isfile(os.path.join(self.location, name))
        if self.unlisted_reason:
            return storage.size(self.path(name)) is not None
        folder, _, base = name.rpartition("/")
        return base in self._tree.get(folder, {})

    def has_folder(self, name: str) -> bool:
        """Return whether a folder exists; assumed where listing is not allowed."""
        if not self.is_url:
            return os.path.isdir(os.path.join(self.location, name))
        return name in self._tree or self.unlisted_reason is not None

    def names(self, folder: str = "") -> list[str]:
        """Return the names of files and folders directly in a folder, sorted; [] if it does not exist."""
        if not self.is_url:
            try:
                return sorted(os.listdir(os.path.join(self.location, folder)))
            except (FileNotFoundError, NotADirectoryError):
                return []
            except OSError as error:
                raise RawDataError(f"cannot read the folder {self.path(folder)}: {error.strerror}") from None
        prefix = f"{folder}/" if folder else ""
        folders = [
            name[len(prefix) :] for name in self._tree if name.startswith(prefix) and "/" not in name[len(prefix) :] and name
        ]
        return sorted([*self._tree.get(folder, {}), *folders])

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield (folder, name) of every file: the sorted files of a folder, then those of its subfolders, links last."""
        if self.is_url:
            for folder in sorted(self._tree, key=lambda name: name.split("/") if name else []):
                yield from ((folder, name) for name in sorted(self._tree[folder]))
            return
        for folder, names in walk(self.location):
            yield from ((folder, name) for name in names)

    def summary(self, folder: str = "") -> str:
        """Return what a folder holds, for error messages: ``found train, val ...``."""
        if self.unlisted_reason:
            return f"which cannot be listed: {self.unlisted_reason}"
        names = self.names(folder)
        return f"found {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else "which is empty"

    def path(self, name: str) -> str:
        """Return the path or URL of a file or folder."""
        if self._is_web:
            # Names came from links, in which "?" and "#" are quoted.
            name = urllib.parse.quote(name)
        return storage.join(self.location, name) if name else self.location

    def media(self, name: str) -> MediaRef:
        """Return where a media file is, with the size or absence that the listing shows. Local files are not checked yet."""
        if not self.is_url or self.unlisted_reason:
            return MediaRef(self.path(name), name)
        folder, _, base = name.rpartition("/")
        files = self._tree.get(folder, {})
        return MediaRef(self.path(name), name, files.get(base), absent_reason=None if base in files else "no media file")

    @functools.cached_property
    def archives(self) -> list[Archive]:
        """The archives anywhere in the folder, part_2 before part_10. Requests the sizes that the listing lacks."""
        names = [f"{folder}/{name}" if folder else name for folder, name in self.files() if name.endswith(ENDINGS)]
        return [
            Archive(name, self.path(name), self.media(name).size_bytes or storage.size(self.path(name)) or 0)
            for name in sorted(names, key=_natural_order)
        ]

    def local(self, name: str) -> Path:
        """Return the path of a file on this machine. One behind a URL is downloaded once and deleted with this object."""
        if not self.is_url:
            return Path(self.location, name)
        if self._copies is None:
            self._copies = Path(tempfile.mkdtemp(prefix="t2vdata-root-"))
            weakref.finalize(self, shutil.rmtree, self._copies, True)
        copy = self._copies / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            # Downloaded under another name first, so that half a file is never used.
            storage.copy_here(self.path(name), f"{copy}{storage.ASIDE}")
            os.replace(f"{copy}{storage.ASIDE}", copy)
        return copy

    @property
    def _tree(self) -> Mapping[str, Mapping[str, int | None]]:
        return self._listing[0]

    @functools.cached_property
    def _listing(self) -> tuple[dict[str, dict[str, int | None]], str | None]:
        """{folder: {name: size in bytes}} behind the URL, and why it cannot be listed."""
        if not self.is_url:
            return {}, None
        tree: dict[str, dict[str, int | None]] = {}
        reason: str | None = None
        try:
            # Do not wait for a web server that does not answer: see ``storage.blocks``.
            seconds = 0.0 if self._is_web else retry.PATIENCE_SECONDS
            tree = retry.retry(lambda: _list_tree(self.location), seconds)
        except FileNotFoundError:
            pass
        except (StoreAwayError, TransientError):
            raise
        except StorageError as error:
            reason = str(error)
        if self._is_web and not tree:
            reason = reason or "no page of its server names them"
        return tree, reason


def _natural_order(name: str) -> list[tuple[str, int]]:
    """Return the sort key of a name, in which numbers compare by value."""
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]*)([0-9]*)", name)]


def _list_tree(location: str) -> dict[str, dict[str, int | None]]:
    tree: dict[str, dict[str, int | None]] = {}
    for path, num_bytes in storage.files_below(location):
        folder, _, name = path.rpartition("/")
        if folder not in tree:
            # With the folders above it, which may hold no files themselves.
            for parent in itertools.accumulate(folder.split("/"), "{}/{}".format):
                tree.setdefault(parent, {})
        tree[folder][name] = num_bytes
    return tree
