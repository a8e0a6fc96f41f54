"""The folder of raw files, on this machine or behind a URL: one listing tells what is in it.

A local folder is asked as it is needed. One behind a URL is listed whole, when a build begins, and what is in it is then
known without a further request. Where nothing may be listed, as on most web servers, a dataset's files are asked for by name.
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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from t2vdata import storage
from t2vdata.errors import StorageError, StoreAwayError, TransientError
from t2vdata.storage import patience
from t2vdata.storage.archives import ENDINGS, Archive, Contents
from t2vdata.types import MediaRef

_serials = itertools.count()
_last: Root | None = None


def of(place: str | None, *, anew: bool = False) -> Root:
    """Return a root; one behind a URL as it was when it was listed ``anew``, or first. Raises as ``storage.files_below``."""
    global _last
    place = place or "."
    if anew or _last is None or _last.place != place:
        # Dropped first: a listing of a million files is no small thing.
        _last = None
        _last = Root(place)
    return _last


class Root:
    """A folder of raw files. Names are relative to it, with slashes; "" is the folder itself."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.is_url = storage.is_url(place)
        self._is_web = place.startswith(("http://", "https://"))
        self.why_unlisted: str | None = None
        """Why what is behind the URL cannot be listed; None where it is."""
        self.serial = next(_serials)
        """Another for every listing."""
        self.contents: dict[str, Contents] = {}
        """{archive: what is in it}, as it was learnt."""
        self.is_partly_known = False
        """Whether archives may hold more than is known so far."""
        self._copies: Path | None = None
        self._tree: Mapping[str, Mapping[str, int | None]] = self._listed() if self.is_url else {}

    def why_not(self) -> str | None:
        """Return why there is no such folder, or None."""
        if not self.is_url:
            return None if os.path.isdir(self.place) else f"no folder {self.place} (--root)"
        if self._tree or self.why_unlisted:
            return None
        return f"no folder {self.place} (--root), or nothing is in it; check the bucket, the path and whose credentials you use"

    def has(self, name: str) -> bool:
        """Return whether a file is there: by a request where nothing may be listed."""
        if not self.is_url:
            return os.path.isfile(os.path.join(self.place, name))
        if self.why_unlisted:
            return storage.size(self.path(name)) is not None
        folder, _, own = name.rpartition("/")
        return own in self._tree.get(folder, {})

    def has_folder(self, name: str) -> bool:
        """Return whether a folder is there; taken for there where nothing may be listed."""
        if not self.is_url:
            return os.path.isdir(os.path.join(self.place, name))
        return name in self._tree or self.why_unlisted is not None

    def names(self, folder: str = "") -> list[str]:
        """Return the names of files and folders directly in a folder, sorted; none when it is not there."""
        if not self.is_url:
            try:
                return sorted(os.listdir(os.path.join(self.place, folder)))
            except (FileNotFoundError, NotADirectoryError):
                return []
        inner = f"{folder}/" if folder else ""
        folders = [
            name[len(inner) :] for name in self._tree if name.startswith(inner) and "/" not in name[len(inner) :] and name
        ]
        return sorted([*self._tree.get(folder, {}), *folders])

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield (folder, name) of every file: those of a folder sorted, then those of the folders in it."""
        if self.is_url:
            for folder in sorted(self._tree, key=lambda name: name.split("/") if name else []):
                yield from ((folder, name) for name in sorted(self._tree[folder]))
            return
        for folder, folders, names in os.walk(self.place):
            folders.sort()
            below = os.path.relpath(folder, self.place).replace(os.sep, "/")
            yield from (("" if below == "." else below, name) for name in sorted(names))

    def shown(self, folder: str = "") -> str:
        """Return what to say of what is in a folder."""
        if self.why_unlisted:
            return f"which cannot be listed: {self.why_unlisted}"
        names = self.names(folder)
        return f"found {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else "which is empty"

    def path(self, name: str) -> str:
        """Return the path or URL of a name."""
        if self._is_web:
            # Its names came from links, where "?" and "#" are written so.
            name = urllib.parse.quote(name)
        return storage.join(self.place, name) if name else self.place

    def media(self, name: str) -> MediaRef:
        """Return where a media file is, with what the listing says of it; of a local file, nothing is asked yet."""
        if not self.is_url or self.why_unlisted:
            return MediaRef(self.path(name), name)
        folder, _, own = name.rpartition("/")
        files = self._tree.get(folder, {})
        return MediaRef(self.path(name), name, files.get(own), absent_reason=None if own in files else "no media file")

    @functools.cached_property
    def archives(self) -> list[Archive]:
        """The archives anywhere in the folder, part_2 before part_10. Asks for sizes that no listing has told."""
        names = [f"{folder}/{name}" if folder else name for folder, name in self.files() if name.endswith(ENDINGS)]
        return [
            Archive(name, self.path(name), self.media(name).size_bytes or storage.size(self.path(name)) or 0)
            for name in sorted(names, key=_in_order)
        ]

    def learn(self, contents: Iterable[Contents], *, is_all: bool = True) -> None:
        """Take in what is in the archives."""
        self.contents = {one.name: one for one in contents}
        self.is_partly_known = not is_all
        self.serial = next(_serials)

    def local(self, name: str) -> Path:
        """Return where a file is on this machine; one behind a URL is fetched, once, and removed with this root."""
        if not self.is_url:
            return Path(self.place, name)
        if self._copies is None:
            self._copies = Path(tempfile.mkdtemp(prefix="t2vdata-root-"))
            weakref.finalize(self, shutil.rmtree, self._copies, True)
        copy = self._copies / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            # Aside first: half a file must not be taken for it.
            storage.copy_here(self.path(name), f"{copy}{storage.ASIDE}")
            os.replace(f"{copy}{storage.ASIDE}", copy)
        return copy

    def _listed(self) -> dict[str, dict[str, int | None]]:
        """Return {folder: {name: bytes}} of what is behind the URL."""
        found: dict[str, dict[str, int | None]] = {}
        try:
            # A web server is not waited for: see ``storage.blocks``.
            found = _tree(self.place) if self._is_web else patience.retry(lambda: _tree(self.place), patience.PATIENCE_SECONDS)
        except FileNotFoundError:
            pass
        except (StoreAwayError, TransientError):
            raise
        except StorageError as error:
            self.why_unlisted = str(error)
        if self._is_web and not found:
            self.why_unlisted = self.why_unlisted or "no page of its server names them"
        return found


def _in_order(name: str) -> list[tuple[str, int]]:
    """Return what to sort names with numbers by."""
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]*)([0-9]*)", name)]


def _tree(place: str) -> dict[str, dict[str, int | None]]:
    found: dict[str, dict[str, int | None]] = {}
    for path, num_bytes in storage.files_below(place):
        folder, _, name = path.rpartition("/")
        if folder not in found:
            # And those above it that hold no file of their own.
            for parent in itertools.accumulate(folder.split("/"), "{}/{}".format):
                found.setdefault(parent, {})
        found[folder][name] = num_bytes
    return found
